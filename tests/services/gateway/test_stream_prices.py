"""Prices, depth and option chains as a client asks for them."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from libs.common.clock import stopwatch
from libs.common.contracts.base import Message
from libs.common.contracts.market import WatchedConflated, WatchRenewed
from services.gateway import streams
from services.gateway.api.edge import edge_in
from services.gateway.memory import watching
from tests.services.gateway import said
from tests.services.gateway.streaming import NIFTY_CHAIN, Live, Reader, option_chain, quotes, until, watched, watcher


async def test_quotes_come_at_once_then_conflated_ten_times_a_second(live: Live) -> None:
    asha = await live.person("asha")
    await streams.quotes([quotes(live, 800, "NSE:SBIN", "NSE:INFY")], live.runtime.memory)
    async with live.reader(asha, quotes=["NSE:SBIN"]) as reader:
        first = await reader.hear("event", "quotes")
        assert [(q["instrument"], q["ltp"], q["source"], q["stale"]) for q in first["data"]] == [
            ("NSE:SBIN", 800, "REPLAYED", False)
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


async def test_who_sends_null_for_no_mode_is_told_no_more_once_he_unsubscribes_so(live: Live) -> None:
    """It began as quotes without a mode do, was acknowledged as ended, and went on."""
    asha, memory = await live.person("asha"), live.runtime.memory
    await streams.quotes([quotes(live, 800, "NSE:SBIN")], memory)
    async with live.reader(asha, quotes=["NSE:SBIN"], mode=None) as reader:
        assert (await reader.hear("event", "quotes"))["data"][0]["ltp"] == 800
        await reader.say(action="unsubscribe", quotes=["NSE:SBIN"], mode=None)
        assert (await reader.hear("ack"))["quotes"] == {"NSE:SBIN": "ok"}
        await streams.quotes([quotes(live, 801, "NSE:SBIN")], memory)
        await reader.silence()


async def test_a_price_that_moved_without_its_time_is_told_and_a_repeated_one_is_not(live: Live) -> None:
    """A custom symbol is as old as its oldest leg, whichever of them moves."""
    asha = await live.person("asha")
    memory = live.runtime.memory
    told = quotes(live, 800, "NSE:SBIN")
    await streams.quotes([told], memory)
    async with live.reader(asha, quotes=["NSE:SBIN"], mode="quote") as reader:
        await reader.hear("snapshot", "quotes")
        await streams.quotes([told], memory)
        assert (await reader.hear("event", "quotes"))["data"]["ltp"] == 800
        moved = told.quotes[0].model_copy(update={"ltp": 805.0})
        await streams.quotes([told.model_copy(update={"quotes": (moved,)})], memory)
        event = await reader.hear("event", "quotes")
        assert event["data"]["ltp"] == 805
        await streams.quotes([told.model_copy(update={"quotes": (moved,)})], memory)
        await reader.silence()


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
        newest = memory.quotes.newest("NSE:SBIN")
        assert newest is not None
        assert newest.ltp == 801
        await reader.say(action="unsubscribe", quotes=["NSE:SBIN", "NSE:INFY"], mode="quote")
        await reader.hear("ack")
        await streams.quotes([quotes(live, 900, "NSE:SBIN")], memory)
        await reader.silence()
        assert memory.hub.prices.topics == {}


def repeated(live: Live, ltp: float, ago: float, *, depth: bool = False) -> WatchedConflated:
    """A price that is so many seconds old, told now."""
    told = watched(live, ltp, "NSE:SBIN", depth=depth)
    at = {"at": told.at - timedelta(seconds=ago)}
    aged = (tuple(each.model_copy(update=at) for each in kind) for kind in (told.quotes, told.depths))
    return WatchedConflated(shard="all", at=told.at, quotes=next(aged), depths=next(aged))


@pytest.mark.parametrize("mode", ["ltp", "quote", "depth"])
async def test_a_streamed_price_that_is_only_repeated_is_told_to_be_stale(live: Live, mode: str) -> None:
    asha, memory = await live.person("asha"), live.runtime.memory
    old = repeated(live, 800, ago=7200, depth=True)
    channel = "depth" if mode == "depth" else "quotes"
    await streams.watched([old], memory)
    async with live.reader(asha, quotes=["NSE:SBIN"], mode=mode) as reader:
        snapshot = await reader.hear("snapshot", channel)
        assert [each["stale"] for each in snapshot["data"]] == ([] if mode == "depth" else [True])
        await streams.watched([old], memory)
        assert (await reader.hear("event", channel))["data"]["stale"] is True
        await streams.watched([watched(live, 801, "NSE:SBIN", depth=True)], memory)
        assert (await reader.hear("event", channel))["data"]["stale"] is False


async def test_openalgo_1375_the_mode_says_how_much_of_a_quote_is_sent(live: Live) -> None:
    asha = await live.person("asha")
    await streams.quotes([quotes(live, 800, "NSE:SBIN")], live.runtime.memory)
    async with live.reader(asha, quotes=["NSE:SBIN"], mode="ltp") as reader:
        assert set((await reader.hear("snapshot"))["data"][0]) == {"instrument", "at", "source", "ltp", "stale"}
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

    def publish(self, message: Message, kept: object = None) -> None:
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
    prices = live.runtime.memory.hub.prices
    await until(lambda: not prices.topics and not prices.chains)
    said.wishes.clear()
    await asyncio.sleep(1.0)
    assert said.wishes == []


async def test_what_a_screen_shows_is_asked_for_as_long_as_it_is_shown(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A live feed carries what somebody needs: a screen would wait for ever for what nobody else does."""
    monkeypatch.setattr(watching, "RENEW_S", 0.1)
    said = live.runtime.bulk = Said()  # type: ignore[assignment]
    asha = await live.person("asha")
    await streams.quotes([quotes(live, 800, "NSE:SBIN")], live.runtime.memory)
    async with live.reader(asha, quotes=["NSE:SBIN"]) as reader:
        await until(lambda: len(said.wishes) > 1)
        assert {(wish.asked, wish.quotes, wish.depths) for wish in said.wishes} == {(("NSE:SBIN",), (), ())}
        await reader.say(action="unsubscribe", quotes=["NSE:SBIN"])
        await reader.hear("ack")
        told = len(said.wishes)
        await asyncio.sleep(0.3)
        assert len(said.wishes) <= told + 1


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


async def test_a_chain_that_is_asked_for_with_other_strikes_is_told_by_those(live: Live) -> None:
    """It was told by both, of which the narrower one took rows away, and counted twice."""
    edge = edge_in(live.runtime)
    edge.settings = edge.settings.model_copy(update={"stream_chains": 1})
    memory = live.runtime.memory
    wish = {"underlying": "NIFTY", "expiry": "2026-11-24"}
    async with live.reader(await live.person("asha"), chains=[{**wish, "strikes": 1}]) as reader:
        await streams.chains([option_chain(live, [100, 110, 120, 130, 140], atm=120, full=True)], memory)
        assert len((await reader.hear("snapshot", "chain"))["data"]["rows"]) == 3
        await reader.say(action="subscribe", chains=[{**wish, "strikes": 2}])
        assert list((await reader.hear("ack"))["chains"].values()) == ["ok"]
        assert len((await reader.hear("snapshot", "chain"))["data"]["rows"]) == 5
        await streams.chains([option_chain(live, [100, 120], atm=120)], memory)
        changed = await reader.hear("event", "chain")
        assert {100, 120} <= {row["strike"] for row in changed["data"]["rows"]}
        await reader.silence()
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


async def test_the_screens_of_one_user_are_limited_over_all_his_connections(live: Live) -> None:
    """Each is made anew ten times a second: a hundred connections of five hundred quotes took more than a core."""
    edge = edge_in(live.runtime)
    edge.settings = edge.settings.model_copy(update={"stream_quotes": 2, "stream_screens": 3})
    asha, ravi = await live.person("asha"), await live.person("ravi")
    names = ["NSE:A1", "NSE:A2", "NSE:A3"]
    await streams.quotes([quotes(live, 800, *names)], live.runtime.memory)

    async def fates(reader: Reader) -> list[str]:
        await reader.say(action="subscribe", quotes=names)
        return list((await reader.hear("ack"))["quotes"].values())

    async with live.reader(asha) as first, live.reader(asha) as second, live.reader(ravi) as another:
        assert await fates(first) == ["ok", "ok", "no more than 2 quotes"]
        assert await fates(second) == ["ok", "no more than 3 quotes of one user", "no more than 3 quotes of one user"]
        assert await fates(first) == ["ok", "ok", "no more than 2 quotes"]
        assert await fates(another) == ["ok", "ok", "no more than 2 quotes"]
        await first.say(action="unsubscribe", quotes=["NSE:A1"])
        await first.hear("ack")
        assert await fates(second) == ["ok", "ok", "no more than 2 quotes"]


async def test_openalgo_2019_while_fills_wait_for_the_database_streams_begin_and_prices_flow(live: Live) -> None:
    """One event loop had the ticks and the writing of fills: during fills nobody could connect, and the feed stood."""
    asha, ravi = await live.person("asha"), await live.person("ravi")
    memory = live.runtime.memory
    orders = [said.terms(asha.user_id, asha.account_id, at=live.runtime.clock.now()) for _ in range(200)]
    await live.project(*(said.submitted(order) for order in orders))
    await streams.quotes([quotes(live, 800, "NSE:SBIN")], memory)
    async with live.reader(asha, channels=["fills"]) as trader:
        await trader.hear("snapshot")
        async with live.runtime.pool.acquire() as slow, slow.transaction():
            await slow.execute("LOCK TABLE fills IN ACCESS EXCLUSIVE MODE")
            burst = asyncio.create_task(live.project(*(said.filled(order, version=2) for order in orders)))
            async with live.reader(ravi, quotes=["NSE:SBIN"], mode="ltp") as newcomer:
                assert (await newcomer.hear("snapshot"))["data"][0]["ltp"] == 800
                for price in range(801, 811):
                    await streams.watched([watched(live, price, "NSE:SBIN")], memory)
                    assert (await newcomer.hear("event"))["data"]["ltp"] == price
            assert not burst.done()
        await burst
        told = {(await trader.hear("event", "fills"))["data"]["order_id"] for _ in orders}
        assert told == {str(order.order_id) for order in orders}
