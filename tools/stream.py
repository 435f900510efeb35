"""The gateway's event stream as a client keeps it: what was heard, in order, with what it missed while it was away."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from libs.common.clock import stopwatch
from tools.client import Away

CHANNELS = ("orders", "fills", "positions", "funds", "signals", "risk")
RETRY_SECONDS = 0.25
SUBSCRIBE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Heard:
    """One row of a channel as it came (`at` in `stopwatch` seconds): a change, or part of a snapshot (no `event`)."""

    channel: str
    event: str | None
    row: dict[str, Any]
    at: float

    def __str__(self) -> str:
        said = {
            name: self.row[name]
            for name in ("status", "type", "instrument", "quantity", "reason")
            if self.row.get(name)
        }
        return f"{self.event or 'snapshot'} on {self.channel} {said}"


Matches = Callable[[Heard], bool]


def subscription(api_key: str, channels: Sequence[str], since: Mapping[str, int]) -> tuple[str, str]:
    """The two frames with which a client begins."""
    authenticate = {"action": "authenticate", "api_key": api_key}
    subscribe = {"action": "subscribe", "channels": list(channels), "since": dict(since)}
    return orjson.dumps(authenticate).decode(), orjson.dumps(subscribe).decode()


class Stream:
    """`async with Stream(url, api_key)`: connected, signed in, subscribed; stays so when the gateway restarts."""

    def __init__(
        self, url: str, api_key: str, channels: Sequence[str] = CHANNELS, patience: float = SUBSCRIBE_SECONDS
    ) -> None:
        self.url = url
        self.api_key = api_key
        self.channels = channels
        self.patience = patience
        self.heard: list[Heard] = []
        self.reconnects = 0
        self._closed_for = ""
        self._seqs: dict[str, int] = {}
        self._told: set[str] = set()
        self._news = asyncio.Condition()
        self._subscribed = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.resume()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.drop()

    async def resume(self) -> None:
        """Connect (again), and return when every channel was told. Raises Away when our patience ends before."""
        self._told.clear()
        self._reader = asyncio.create_task(self._read_for_ever())
        try:
            async with asyncio.timeout(self.patience):
                await self._subscribed.wait()
        except TimeoutError as error:
            await self.drop()
            untold = ", ".join(each for each in self.channels if each not in self._told)
            said = f"; it said: {self._closed_for}" if self._closed_for else ""
            raise Away(f"{self.url} told nothing of {untold} in {self.patience:g} s{said}") from error

    async def drop(self) -> None:
        """Be away, as a client with no network is."""
        if self._reader:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
        self._subscribed.clear()

    async def until(self, matches: Matches, seconds: float, since: int = 0) -> Heard | None:
        """The first thing heard that matches, also if it came before; None when it did not come in time."""
        n = since
        deadline = stopwatch() + seconds
        async with self._news:
            while True:
                for heard in self.heard[n:]:
                    n += 1
                    if matches(heard):
                        return heard
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), max(0.0, deadline - stopwatch()))
                    continue
                return None

    async def _read_for_ever(self) -> None:
        while True:
            try:
                async with connect(self.url, max_size=None, open_timeout=5, proxy=None) as socket:
                    await self._begin(socket)
                    async for text in socket:
                        await self._take(orjson.loads(text))
            except ConnectionClosed as closed:
                self._closed_for = closed.rcvd.reason if closed.rcvd else ""
            except (OSError, TimeoutError, WebSocketException):
                pass
            self.reconnects += 1
            await asyncio.sleep(RETRY_SECONDS)

    async def _begin(self, socket: ClientConnection) -> None:
        """Sign in, and ask each channel for what came after the last number that we have heard of it."""
        for text in subscription(self.api_key, self.channels, self._seqs):
            await socket.send(text)

    async def _take(self, frame: dict[str, Any]) -> None:
        """A change has one row; a snapshot all rows, or those that changed since the number that we asked from."""
        if "data" not in frame:
            return
        channel, content = frame["channel"], frame["data"]
        rows = content if isinstance(content, list) else [content]
        at = stopwatch()
        async with self._news:
            self.heard += [Heard(channel, frame.get("event"), row, at) for row in rows]
            self._seqs[channel] = frame["seq"]
            self._news.notify_all()
        self._told.add(channel)
        if self._told.issuperset(self.channels):
            self._subscribed.set()
