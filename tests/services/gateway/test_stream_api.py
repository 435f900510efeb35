"""The WebSocket: snapshots, numbers without gaps, resumption, slow clients."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import asyncpg
import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from libs.common.clock import stopwatch
from libs.common.contracts.enums import FeedSource
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import Quote, QuotesConflated
from libs.common.testing.apps import served
from services.gateway import streams
from services.gateway.app import app
from services.gateway.memory.client import Patience, TooSlow
from tests.services.gateway import said
from tests.services.gateway.scene import Person, Platform, forget_counts


class Reader:
    """A WebSocket client of the test."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def say(self, **frame: object) -> None:
        await self._socket.send(orjson.dumps(frame).decode())

    async def hear(self, kind: str | None = None, channel: str | None = None) -> dict[str, Any]:
        """The next frame (of a kind and channel, passing over others)."""
        async with asyncio.timeout(5):
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


@pytest.fixture
async def live(pool: asyncpg.Pool) -> AsyncIterator[Live]:
    async with served(app) as (url, runtime):
        await forget_counts(runtime.memory.cache)
        live = Live(runtime)
        live.url = url
        yield live
        await live.close()


def quotes(live: Live, ltp: float, *instruments: str) -> QuotesConflated:
    now = live.runtime.clock.now()
    found = tuple(
        Quote(
            instrument=InstrumentId(instrument),
            at=now,
            source=FeedSource.SIMULATED,
            ltp=ltp,
            bid=ltp - 0.05,
            ask=ltp,
            bid_quantity=1,
            ask_quantity=1,
            open=ltp,
            high=ltp,
            low=ltp,
            previous_close=ltp,
            volume=1,
            oi=0,
        )
        for instrument in instruments
    )
    return QuotesConflated(shard="0", at=now, quotes=found)


async def test_an_order_and_its_fill_are_told_with_numbers_that_follow_the_snapshot(live: Live) -> None:
    asha = await live.person("asha")
    before = said.terms(asha.user_id, asha.account_id, at=live.runtime.clock.now())
    await live.project(said.submitted(before), said.accepted(before))
    channels = ["orders", "fills", "positions", "funds"]
    async with live.reader(asha, channels=channels) as reader:
        seqs = {}
        for _ in channels:
            snapshot = await reader.hear("snapshot")
            seqs[snapshot["channel"]] = snapshot["seq"]
            if snapshot["channel"] == "orders":
                assert [row["order_id"] for row in snapshot["data"]] == [str(before.order_id)]
        order = said.terms(asha.user_id, asha.account_id, at=live.runtime.clock.now())
        await live.project(said.submitted(order))
        await live.project(said.accepted(order), said.filled(order), said.position(order), said.funds(order))
        for status in ("SUBMITTED", "FILLED"):
            event = await reader.hear("event", "orders")
            seqs["orders"] += 1
            assert (event["seq"], event["data"]["status"]) == (seqs["orders"], status)
            assert event["data"]["instrument"] == "NSE:SBIN"
            assert event["data"]["price"] == "812.50"
        fill = await reader.hear("event", "fills")
        assert (fill["seq"], fill["data"]["price"]) == (seqs["fills"] + 1, "812.25")
        assert (await reader.hear("event", "positions"))["data"]["quantity"] == 10
        assert (await reader.hear("event", "funds"))["data"]["available"] == "9998375"


async def test_a_fill_reaches_the_client_within_milliseconds_of_its_commit(live: Live) -> None:
    asha = await live.person("asha")
    async with live.reader(asha, channels=["fills"]) as reader:
        await reader.hear("snapshot")
        took = []
        for _ in range(20):
            order = said.terms(asha.user_id, asha.account_id, at=live.runtime.clock.now())
            await live.project(said.submitted(order), said.accepted(order), said.filled(order))
            committed = stopwatch()
            await reader.hear("event", "fills")
            took.append(stopwatch() - committed)
        assert sorted(took)[10] < 0.01


async def test_a_client_that_reconnects_gets_what_it_missed(live: Live) -> None:
    asha = await live.person("asha")
    orders = [said.terms(asha.user_id, asha.account_id, at=live.runtime.clock.now()) for _ in range(5)]
    await live.project(said.submitted(orders[0]))
    async with live.reader(asha, channels=["orders"]) as reader:
        seq = (await reader.hear("snapshot"))["seq"]
    for order in orders[1:]:
        await live.project(said.submitted(order))
    await live.project(said.accepted(orders[2]))
    async with live.reader(asha, channels=["orders"], since={"orders": seq}) as reader:
        missed = await reader.hear("snapshot")
        assert (missed["since"], missed["seq"]) == (seq, seq + 5)
        assert {row["order_id"] for row in missed["data"]} == {str(order.order_id) for order in orders[1:]}
        await live.project(said.accepted(orders[3]))
        assert (await reader.hear("event"))["seq"] == seq + 6
    async with live.reader(asha, channels=["orders"], since={"orders": seq + 6}) as reader:
        nothing = await reader.hear("snapshot")
        assert (nothing["since"], nothing["data"]) == (seq + 6, [])
    async with live.reader(asha, channels=["orders"], since={"orders": 10**9}) as reader:
        assert (await reader.hear("snapshot"))["since"] is None


async def test_numbers_go_on_after_a_restart(live: Live) -> None:
    asha = await live.person("asha")
    order = said.terms(asha.user_id, asha.account_id, at=live.runtime.clock.now())
    await live.project(said.submitted(order))
    async with served(app) as (url, runtime):
        second = Live(runtime)
        second.url = url
        async with second.reader(asha, channels=["orders"]) as reader:
            seq = (await reader.hear("snapshot"))["seq"]
            await second.project(said.accepted(order))
            assert (await reader.hear("event"))["seq"] == seq + 1 == 2


async def test_what_another_instance_projects_reaches_the_client_too(live: Live) -> None:
    asha = await live.person("asha")
    async with served(app) as (url, runtime):
        second = Live(runtime)
        second.url = url
        async with second.reader(asha, channels=["fills", "orders"]) as reader:
            await reader.hear("snapshot")
            await reader.hear("snapshot")
            order = said.terms(asha.user_id, asha.account_id, at=live.runtime.clock.now())
            await live.project(said.submitted(order), said.accepted(order), said.filled(order))
            missed = [await reader.hear("snapshot"), await reader.hear("snapshot")]
            assert {frame["channel"]: frame["seq"] for frame in missed} == {"fills": 1, "orders": 1}
            await second.project(said.filled(said.terms(asha.user_id, asha.account_id)))
            assert (await reader.hear("event", "fills"))["seq"] == 2


async def test_nobody_hears_of_the_orders_of_another(live: Live) -> None:
    asha, ravi = await live.person("asha"), await live.person("ravi")
    async with live.reader(ravi, channels=["orders", "fills", "positions", "funds", "risk", "signals"]) as reader:
        for _ in range(6):
            assert (await reader.hear("snapshot"))["data"] == []
        order = said.terms(asha.user_id, asha.account_id)
        await live.project(said.submitted(order), said.filled(order, version=2), said.position(order))
        await reader.silence()


async def test_a_stream_begins_with_a_credential(live: Live) -> None:
    asha = await live.person("asha")
    for frame in ({"action": "subscribe", "channels": ["orders"]}, {"action": "authenticate", "token": "x"}):
        async with live.reader() as reader:
            await reader.say(**frame)
            assert await reader.ended() == 4401
    key = (await asha.client.post("/api/v2/auth/api-keys", json={"name": "bot"})).json()["api_key"]
    async with live.reader() as reader:
        await reader.say(action="authenticate", api_key=key)
        assert (await reader.hear())["user_id"] == str(asha.user_id)


async def test_each_item_is_acknowledged_and_unknown_ones_are_named(live: Live) -> None:
    """openalgo#1376: a subscription was acknowledged without a result per symbol."""
    asha = await live.person("asha")
    await streams.quotes([quotes(live, 812.5, "NSE:SBIN")], live.runtime.memory)
    async with live.reader(asha) as reader:
        await reader.say(action="subscribe", channels=["orders", "gossip"], quotes=["NSE:SBIN", "NSE:NOPE", "bad"])
        ack = await reader.hear("ack")
        assert ack["channels"] == {"orders": "ok", "gossip": "unknown channel"}
        assert ack["quotes"] == {"NSE:SBIN": "ok", "NSE:NOPE": "unknown instrument", "bad": "unknown instrument"}
        await reader.say(action="ping")
        assert (await reader.hear("pong"))["at"]
        await reader.say(action="dance")
        assert "dance" in (await reader.hear("error"))["error"]


async def test_quotes_come_at_once_then_conflated_ten_times_a_second(live: Live) -> None:
    asha = await live.person("asha")
    await streams.quotes([quotes(live, 800, "NSE:SBIN", "NSE:INFY")], live.runtime.memory)
    async with live.reader(asha, quotes=["NSE:SBIN"]) as reader:
        first = await reader.hear("event", "quotes")
        assert [(q["instrument"], q["ltp"], q["source"], q["stale"]) for q in first["data"]] == [
            ("NSE:SBIN", 800, "SIMULATED", False)
        ]
        began = stopwatch()
        for n in range(50):
            await streams.quotes([quotes(live, 801 + n, "NSE:SBIN", "NSE:INFY")], live.runtime.memory)
            await asyncio.sleep(0.01)
        frames: list[dict[str, Any]] = []
        while not frames or frames[-1]["data"][0]["ltp"] != 850:
            frames.append(await reader.hear("event", "quotes"))
        assert len(frames) <= (stopwatch() - began) / 0.1 + 2
        assert all(len(frame["data"]) == 1 for frame in frames)
        await reader.say(action="unsubscribe", quotes=["NSE:SBIN"])
        await reader.hear("ack")
        await streams.quotes([quotes(live, 900, "NSE:SBIN")], live.runtime.memory)
        await reader.silence()


async def test_a_position_is_shown_with_its_profit_at_the_last_price(live: Live) -> None:
    asha = await live.person("asha")
    await streams.quotes([quotes(live, 815.25, "NSE:SBIN")], live.runtime.memory)
    order = said.terms(asha.user_id, asha.account_id)
    async with live.reader(asha, channels=["positions"]) as reader:
        await reader.hear("snapshot")
        await live.project(said.position(order))
        shown = (await reader.hear("event"))["data"]
        assert (Decimal(shown["ltp"]), Decimal(shown["mtm"])) == (Decimal("815.25"), Decimal("30.00"))


async def test_a_client_that_falls_behind_is_caught_up_with_one_snapshot(live: Live) -> None:
    live.runtime.memory.hub.patience = Patience(queued=3)
    asha = await live.person("asha")
    orders = [said.terms(asha.user_id, asha.account_id, at=live.runtime.clock.now()) for _ in range(20)]
    async with live.reader(asha, channels=["orders"]) as reader:
        await reader.hear("snapshot")
        await live.project(*(said.submitted(order) for order in orders))
        heard: set[str] = set()
        last = 0
        while len(heard) < len(orders):
            frame = await reader.hear()
            rows = frame["data"] if frame["type"] == "snapshot" else [frame["data"]]
            heard |= {row["order_id"] for row in rows}
            assert frame["seq"] > last
            last = frame["seq"]
        assert last == 20


async def test_a_client_that_does_not_read_is_dropped_and_told_why(live: Live) -> None:
    live.runtime.memory.hub.patience = Patience(slow_s=0.2)
    asha = await live.person("asha")
    memory = live.runtime.memory
    stuck = asyncio.Event()

    async def never(_: str) -> None:
        await stuck.wait()

    client = memory.hub.join(asha.user_id, never)
    client.say({"type": "hello"})
    with pytest.raises(TooSlow):
        await client.write()
    memory.hub.leave(client)
    assert len(memory.hub) == 0
