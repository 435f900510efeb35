"""When each change reached a client of the WebSocket: frames are kept as they come, and read when the clock stopped."""

import asyncio
import contextlib
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import orjson
from websockets.asyncio.client import ClientConnection, connect

from bench.world import World
from libs.common.clock import stopwatch
from tools.stream import subscription


class Watch:
    """One client with the channels that a measurement needs."""

    def __init__(self, world: World, *channels: str) -> None:
        self.world = world
        self.channels = channels
        self.frames: list[tuple[float, str | bytes]] = []
        self._socket: ClientConnection
        self._reader: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._socket = await connect(self.world.stream_url, max_size=None, compression=None, proxy=None)
        for message in subscription(self.world.api_key, self.channels, {}):
            await self._socket.send(message)
        self._reader = asyncio.create_task(self._read())
        await asyncio.sleep(1)
        self.frames.clear()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader
        await self._socket.close()

    def rows(self) -> Iterator[tuple[float, str, dict[str, Any]]]:
        """Every change with the time of its frame and its channel, in the order they came."""
        for at, text in self.frames:
            frame = orjson.loads(text)
            if "data" not in frame:
                continue
            content = frame["data"]
            for row in content if isinstance(content, list) else [content]:
                yield at, frame["channel"], row

    def first_seen(self, channel: str, field: str) -> dict[str, float]:
        """When each value of a field was first seen on a channel: `order_id` on `fills`."""
        seen: dict[str, float] = {}
        for at, name, row in self.rows():
            if name == channel:
                seen.setdefault(row[field], at)
        return seen

    async def _read(self) -> None:
        async for text in self._socket:
            self.frames.append((stopwatch(), text))
