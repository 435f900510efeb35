"""A gateway with a live stream, and what reaches its clients: for the tests of the stream."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import date
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from libs.common import ids
from libs.common.contracts.enums import Exchange
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import Depth, DepthLevel, QuotesConflated, WatchedConflated
from libs.common.contracts.options import ChainConflated, ChainRow
from services.gateway.domain.roles import Identity, Role
from services.gateway.memory.client import Client
from tests.services.gateway.said import quote
from tests.services.gateway.scene import Person, Platform

NIFTY_CHAIN = {"exchange": "NFO", "underlying": "NIFTY", "expiry": "2026-11-24"}


class Reader:
    """A WebSocket client of the test."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def say(self, **frame: object) -> None:
        await self._socket.send(orjson.dumps(frame).decode())

    async def hear(self, kind: str | None = None, channel: str | None = None) -> dict[str, Any]:
        """The next frame (of a kind and channel, passing over others)."""
        async with asyncio.timeout(20):
            while True:
                frame: dict[str, Any] = orjson.loads(await self._socket.recv())
                if kind in (None, frame["type"]) and channel in (None, frame.get("channel")):
                    return frame

    async def silence(self, seconds: float = 0.3) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                raise AssertionError(await self._socket.recv())

    async def ended(self) -> int:
        with contextlib.suppress(ConnectionClosed):
            async with asyncio.timeout(15):
                while True:
                    await self._socket.recv()
        return self._socket.close_code or 0


class Live(Platform):
    """A gateway that listens."""

    url = ""

    @contextlib.asynccontextmanager
    async def reader(self, person: Person | None = None, **subscription: object) -> AsyncIterator[Reader]:
        async with connect(self.url.replace("http", "ws") + "/api/v2/stream") as socket:
            reader = Reader(socket)
            if person:
                await reader.say(action="authenticate", token=person.tokens["access_token"])
                assert (await reader.hear())["type"] == "authenticated"
            if subscription:
                await reader.say(action="subscribe", **subscription)
                assert (await reader.hear())["type"] == "ack"
            yield reader


def quotes(live: Live, ltp: float, *instruments: str) -> QuotesConflated:
    now = live.runtime.clock.now()
    return QuotesConflated(shard="0", at=now, quotes=tuple(quote(InstrumentId(name), ltp, now) for name in instruments))


def watched(live: Live, ltp: float, *instruments: str, depth: bool = False) -> WatchedConflated:
    found = quotes(live, ltp, *instruments)
    depths = tuple(
        Depth(
            instrument=quote.instrument,
            at=quote.at,
            source=quote.source,
            bids=(DepthLevel(price=quote.bid, quantity=10, orders=2),),
            asks=(DepthLevel(price=quote.ask, quantity=20, orders=3),),
        )
        for quote in found.quotes
        if depth
    )
    return WatchedConflated(shard="all", at=found.at, quotes=found.quotes, depths=depths)


def option_chain(live: Live, strikes: Sequence[float], *, atm: float, full: bool = False) -> ChainConflated:
    now = live.runtime.clock.now()
    return ChainConflated(
        chain="NFO:NIFTY:2026-11-24",
        exchange=Exchange.NFO,
        underlying="NIFTY",
        expiry=date(2026, 11, 24),
        expires_at=now,
        minutes_to_expiry=1,
        at=now,
        quoted_at=now,
        market_open=True,
        lot_size=65,
        model=None,
        priced_on=None,
        underlying_price=None,
        spot=None,
        spot_price=None,
        rate=0.065,
        dividend_yield=0.0,
        atm_strike=atm,
        pcr=None,
        pcr_volume=None,
        max_pain=None,
        call_oi=0,
        put_oi=0,
        rows=tuple(ChainRow(strike=strike) for strike in strikes),
        full=full,
    )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


class Stuck:
    """The connection of a client that takes nothing."""

    heard_at = 0.0

    def __init__(self) -> None:
        self.paused_at: float | None = None
        self.written: list[bytes] = []
        self.closed: tuple[int, str] | None = None

    def write(self, frames: bytes) -> None:
        self.written.append(frames)

    def ping(self) -> None: ...

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)


def watcher(live: Live, person: Person) -> tuple[Client, Stuck]:
    outlet = Stuck()
    return live.runtime.memory.hub.join(Identity(person.user_id, Role.TRADER, str(ids.new_id())), outlet), outlet
