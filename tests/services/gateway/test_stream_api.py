"""The WebSocket: snapshots, numbers without gaps, resumption, slow clients."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from libs.common import ids
from libs.common.clock import stopwatch
from libs.common.contracts.base import Message
from libs.common.contracts.enums import Exchange, FeedSource
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import Depth, DepthLevel, Quote, QuotesConflated, WatchedConflated, WatchRenewed
from libs.common.contracts.options import ChainConflated, ChainRow
from libs.common.testing.apps import served
from services.gateway import streams
from services.gateway.api.edge import edge_in
from services.gateway.api.stream import recheck_once
from services.gateway.app import app
from services.gateway.domain.roles import Identity, Role
from services.gateway.memory import watching
from services.gateway.memory.client import Client, Patience
from services.gateway.memory.prices import Mode
from tests.services.gateway import said
from tests.services.gateway.scene import Person, Platform, forget_counts

NIFTY_CHAIN = {"exchange": "NFO", "underlying": "NIFTY", "expiry": "2026-11-24"}


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


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
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


async def test_a_client_that_does_not_read_is_dropped_and_told_why(live: Live) -> None:
    hub = live.runtime.memory.hub
    client, outlet = watcher(live, await live.person("asha"))
    outlet.paused_at = outlet.heard_at = 1000.0
    hub.sweep(1009.0)
    assert outlet.closed is None
    hub.sweep(1011.0)
    assert outlet.closed is not None
    assert outlet.closed[0] == 4408
    assert "read" in outlet.closed[1]
    hub.leave(client)
    assert len(hub) == 0


async def test_of_what_a_slow_client_did_not_read_only_the_newest_waits(live: Live) -> None:
    """Conflation: a thousand updates of two instruments are two frames when the client reads again."""
    hub = live.runtime.memory.hub
    client, outlet = watcher(live, await live.person("asha"))
    hub.watch_topics(client, [hub.prices.topic(Mode.QUOTE, name) for name in ("NSE:SBIN", "NSE:INFY")])
    outlet.paused_at = 1.0
    for n in range(500):
        await streams.quotes([quotes(live, 800 + n, "NSE:SBIN", "NSE:INFY")], live.runtime.memory)
    hub._write()
    assert outlet.written == []
    assert len(client.fresh) == 2
    outlet.paused_at = None
    hub.wake(client)
    await asyncio.sleep(0.02)
    assert b"".join(outlet.written).count(b'"ltp":1299') == 2
    hub.leave(client)
    assert hub.prices.topics == {}


async def test_a_streamed_quote_is_a_snapshot_then_each_update_by_itself(live: Live) -> None:
    asha = await live.person("asha")
    memory = live.runtime.memory
    await streams.quotes([quotes(live, 800, "NSE:SBIN", "NSE:INFY")], memory)
    async with live.reader(asha, quotes=["NSE:SBIN", "NSE:INFY"], mode="quote") as reader:
        whole = await reader.hear("snapshot", "quotes")
        assert [(q["instrument"], q["ltp"], q["previous_close"]) for q in whole["data"]] == [
            ("NSE:SBIN", 800, 800),
            ("NSE:INFY", 800, 800),
        ]
        await streams.watched([watched(live, 801, "NSE:SBIN")], memory)
        event = await reader.hear("event", "quotes")
        assert (event["mode"], event["data"]["instrument"], event["data"]["ltp"]) == ("quote", "NSE:SBIN", 801)
        assert "previous_close" not in event["data"]
        late = quotes(live, 799, "NSE:SBIN")
        old = late.quotes[0].model_copy(update={"at": late.at - timedelta(seconds=5)})
        await streams.quotes([late.model_copy(update={"quotes": (old,)})], memory)
        await reader.silence()
        assert memory.quotes.ltp("NSE:SBIN") == 801
        await reader.say(action="unsubscribe", quotes=["NSE:SBIN", "NSE:INFY"], mode="quote")
        await reader.hear("ack")
        await streams.quotes([quotes(live, 900, "NSE:SBIN")], memory)
        await reader.silence()
        assert memory.hub.prices.topics == {}


async def test_the_mode_says_how_much_of_a_quote_is_sent(live: Live) -> None:
    asha = await live.person("asha")
    await streams.quotes([quotes(live, 800, "NSE:SBIN")], live.runtime.memory)
    async with live.reader(asha, quotes=["NSE:SBIN"], mode="ltp") as reader:
        assert set((await reader.hear("snapshot"))["data"][0]) == {"instrument", "at", "source", "ltp"}
        await reader.say(action="subscribe", quotes=["NSE:SBIN"], mode="depth")
        assert (await reader.hear("ack"))["quotes"] == {"NSE:SBIN": "ok"}
        assert (await reader.hear("snapshot", "depth"))["waiting"] == ["NSE:SBIN"]
        await streams.watched([watched(live, 801, "NSE:SBIN", depth=True)], live.runtime.memory)
        heard = {frame["channel"]: frame["data"] for frame in (await reader.hear("event"), await reader.hear("event"))}
        assert heard["quotes"]["ltp"] == 801
        assert heard["depth"]["bids"] == [[800.95, 10, 2]]
        await reader.say(action="subscribe", quotes=["NSE:SBIN"], mode="candles")
        assert "ltp, quote, depth" in (await reader.hear("error"))["error"]


class Said:
    """What this process publishes, kept in place of the buffer to Kafka."""

    def __init__(self) -> None:
        self.wishes: list[WatchRenewed] = []

    def publish(self, message: Message) -> None:
        assert isinstance(message, WatchRenewed)
        self.wishes.append(message)

    async def close(self) -> None: ...


async def test_marketdata_learns_what_is_looked_at_at_once_and_again(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "RENEW_S", 0.4)
    said = live.runtime.bulk = Said()  # type: ignore[assignment]
    asha = await live.person("asha")
    await streams.quotes([quotes(live, 800, "NSE:SBIN", "NSE:INFY")], live.runtime.memory)
    async with live.reader(asha, quotes=["NSE:SBIN"], mode="depth", chains=[NIFTY_CHAIN]) as reader:
        await until(lambda: bool(said.wishes))
        first = said.wishes[0]
        assert (first.depths, first.quotes, first.chains) == (("NSE:SBIN",), (), ("NFO:NIFTY:2026-11-24",))
        assert 10 < (first.until - live.runtime.clock.now()).total_seconds() <= 15
        await reader.say(action="subscribe", quotes=["NSE:INFY"], mode="ltp")
        await until(lambda: any(each.quotes == ("NSE:INFY",) for each in said.wishes))
        everything = (("NSE:INFY",), ("NSE:SBIN",), ("NFO:NIFTY:2026-11-24",))
        await until(lambda: any((each.quotes, each.depths, each.chains) == everything for each in said.wishes))
    await asyncio.sleep(0.5)
    said.wishes.clear()
    await asyncio.sleep(0.5)
    assert said.wishes == []


async def test_a_chain_is_streamed_as_a_snapshot_and_then_its_changed_rows(live: Live) -> None:
    asha = await live.person("asha")
    memory = live.runtime.memory
    wish = {"underlying": "NIFTY", "expiry": "2026-11-24"}
    async with live.reader(asha, chains=[{**wish, "strikes": 1}]) as reader:
        await streams.chains([option_chain(live, [100, 110, 120, 130, 140], atm=120, full=True)], memory)
        whole = await reader.hear("snapshot", "chain")
        assert whole["chain"] == "NFO:NIFTY:2026-11-24"
        assert [row["strike"] for row in whole["data"]["rows"]] == [110, 120, 130]
        await streams.chains([option_chain(live, [100, 120], atm=120)], memory)
        changed = await reader.hear("event", "chain")
        assert [row["strike"] for row in changed["data"]["rows"]] == [120]
        await streams.chains([option_chain(live, [120], atm=130)], memory)
        moved = await reader.hear("event", "chain")
        assert moved["data"]["atm_strike"] == 130
        assert [row["strike"] for row in moved["data"]["rows"]] == [120, 140]
        await reader.say(action="unsubscribe", chains=[wish])
        await reader.hear("ack")
        assert memory.hub.prices.chains == {}


async def test_a_slow_reader_of_a_chain_gets_all_of_it_again(live: Live) -> None:
    hub = live.runtime.memory.hub
    client, outlet = watcher(live, await live.person("asha"))
    topic = hub.prices.chain("NFO:NIFTY:2026-11-24").window_of(None)
    hub.watch_topics(client, [topic])
    topic.expecting.add(client)
    outlet.paused_at = 1.0
    for chain in (
        option_chain(live, [100, 110], atm=100, full=True),
        option_chain(live, [100], atm=100),
        option_chain(live, [110], atm=100),
    ):
        await streams.chains([chain], live.runtime.memory)
    (frame,) = client.fresh.values()
    assert b'"snapshot"' in frame
    assert b'"strike":100.0' in frame
    assert b'"strike":110.0' in frame
    hub.leave(client)


async def test_what_one_user_may_stream_is_limited(live: Live) -> None:
    edge = edge_in(live.runtime)
    limits = {"stream_connections": 1, "stream_topics": 2, "stream_chains": 1}
    edge.settings = edge.settings.model_copy(update=limits)
    asha = await live.person("asha")
    names = ["NSE:A1", "NSE:A2", "NSE:A3"]
    await streams.quotes([quotes(live, 800, *names)], live.runtime.memory)
    async with live.reader(asha) as reader:
        days = [{"underlying": "NIFTY", "expiry": day} for day in ("2026-11-24", "2026-12-01", "tomorrow")]
        await reader.say(action="subscribe", quotes=names, mode="ltp", chains=days)
        ack = await reader.hear("ack")
        assert list(ack["quotes"].values()) == ["ok", "ok", "no more than 2 of one user"]
        assert list(ack["chains"].values())[:2] == ["ok", "no more than 1 chains of one user"]
        assert "expiry" in list(ack["chains"].values())[2]
        async with live.reader() as second:
            await second.say(action="authenticate", token=asha.tokens["access_token"])
            assert await second.ended() == 4429


async def test_a_stream_ends_with_its_session(live: Live) -> None:
    asha = await live.person("asha")
    async with live.reader(asha) as reader:
        await recheck_once(edge_in(live.runtime))
        await reader.silence()
        await asha.client.post("/api/v2/auth/logout", json={"refresh_token": asha.tokens["refresh_token"]})
        await live.runtime.pool.execute("DELETE FROM sessions")
        async for key in live.runtime.memory.cache.redis.scan_iter("gateway:session:*"):
            await live.runtime.memory.cache.redis.delete(key)
        await recheck_once(edge_in(live.runtime))
        assert await reader.ended() == 4401


async def test_where_no_stream_is_no_connection_is_made(live: Live) -> None:
    with pytest.raises(InvalidStatus, match="404"):
        await connect(live.url.replace("http", "ws") + "/api/v2/elsewhere")
    assert (await (await live.client()).get("/api/v2/stream")).status_code == 404


async def test_a_stopping_gateway_says_goodbye(pool: asyncpg.Pool) -> None:
    async with served(app) as (url, _):
        socket = await connect(url.replace("http", "ws") + "/api/v2/stream")
    with contextlib.suppress(ConnectionClosed):
        await socket.recv()
    assert socket.close_code == 1012


async def test_a_frame_that_is_no_wish_ends_the_stream(live: Live) -> None:
    for wrong, code in (("{", 4400), ("[1]", 4400), (b"\x00", 1003)):
        async with connect(live.url.replace("http", "ws") + "/api/v2/stream") as socket:
            await socket.send(wrong)
            assert await Reader(socket).ended() == code
