"""Quotes, depth, chains, exchanges, indices and intervals over the public API, on the real marketdata beside it."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest

from libs.common.clock import FixedClock
from libs.common.contracts.base import Message
from libs.common.contracts.enums import Exchange, InstrumentKind
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import DepthLevel, Quote, WatchRenewed
from libs.common.runtime import Runtime
from libs.common.settings import MarketHours
from libs.common.testing.apps import opened, served
from libs.common.trading_calendar import IST, TradingCalendar
from services.gateway import app as gateway
from services.gateway.memory.quotes import STALE_S, QuoteView
from services.marketdata import app as marketdata
from services.marketdata.memory import MarketMemory
from services.marketdata.store import ContractStore
from tests.services.gateway.said import listed, quote
from tests.services.gateway.scene import Person, Platform, forget_counts
from tests.services.marketdata.samples import tick
from tests.services.marketdata.test_chain import EXPIRY, MASTER, NOW, SPOT, STRIKES, market

MarketRuntime = Runtime[ContractStore, MarketMemory]
SBIN, RARE = InstrumentId("NSE:SBIN"), InstrumentId("NSE:RARE")
OPTION_FIELDS = {
    "instrument", "at", "source", "ltp", "bid", "ask", "bid_quantity", "ask_quantity", "volume", "oi", "oi_change",
    "iv", "standing", "delta", "gamma", "theta", "vega", "rho", "stale",
}  # fmt: skip


@dataclasses.dataclass
class Place:
    """A gateway, marketdata, and somebody who is logged in."""

    gateway: Platform
    market: MarketRuntime
    asha: Person

    async def get(self, path: str, status: int = 200, **wanted: object) -> dict[str, Any]:
        answer = await self.asha.client.get(f"/api/v2/market/{path}", params={k: str(v) for k, v in wanted.items()})
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def hear(self, *quotes: Quote, ago: float = 0) -> None:
        """The gateway heard these, so many seconds ago."""
        now = self.gateway.runtime.clock.now()
        self.gateway.runtime.memory.quotes.update(quotes, now - timedelta(seconds=ago))

    def quote(self, instrument: str, ltp: float, ago: float = 0) -> Quote:
        at = self.gateway.runtime.clock.now() - timedelta(seconds=ago)
        return quote(InstrumentId(instrument), ltp, at)


@pytest.fixture
async def place(pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    async with served(marketdata.app, clock=FixedClock(NOW)) as (url, runtime):
        monkeypatch.setenv("GATEWAY_MARKETDATA_URL", url)
        async with opened(gateway.app) as own:
            await forget_counts()
            platform = Platform(own)
            shares = [listed(name) for name in ("SBIN", "RARE")]
            spot = listed("NIFTY").model_copy(
                update={"instrument": SPOT, "exchange": Exchange.NSE_INDEX, "kind": InstrumentKind.INDEX}
            )
            runtime.memory.listed = {each.instrument: each for each in (*MASTER, *shares, spot)}
            runtime.memory.board.restore(market().values())
            await platform.project(*shares, spot)
            yield Place(platform, runtime, await platform.person("asha"))
            await platform.close()


def traded_at(place: Place, at: datetime) -> None:
    """From now on the gateway goes by the exchanges' hours, at this moment."""
    place.gateway.runtime.clock = FixedClock(at)
    place.gateway.runtime.memory.quotes = QuoteView(TradingCalendar(MarketHours.EXCHANGE))


async def test_a_quote_says_everything_and_its_age(place: Place) -> None:
    place.hear(place.quote(SBIN, 815.25, ago=3))
    found = await place.get("quotes/NSE:SBIN")
    assert set(found) == {*Quote.model_fields, "age_s", "stale", "market_open", "asked_since"}
    assert (found["ltp"], found["source"], found["stale"]) == (815.25, "REPLAYED", False)
    assert 3 <= found["age_s"] < 10


async def test_a_quote_that_is_not_repeated_any_more_is_stale_and_says_how_old_it_is(place: Place) -> None:
    place.hear(place.quote(SBIN, 815.25, ago=60), ago=STALE_S + 1)
    found = await place.get("quotes/NSE:SBIN")
    assert (found["ltp"], found["stale"]) == (815.25, True)
    assert found["age_s"] >= 60
    bulk = await place.asha.client.post("/api/v2/market/quotes/bulk", json={"symbols": ["NSE:SBIN"]})
    assert [each["stale"] for each in bulk.json()["data"]] == [True]


async def test_a_quote_that_is_only_repeated_while_its_market_trades_is_stale(place: Place) -> None:
    """Seen: what the feed carried no more was told again every five seconds, hours old and as good as new."""
    place.hear(
        place.quote(SBIN, 815.25, ago=7200), place.quote(SPOT, 24_410, ago=61), place.quote("NSE:INFY", 1500, 59)
    )
    found = await place.get("quotes/NSE:SBIN")
    assert (found["ltp"], found["stale"]) == (815.25, True)
    assert found["age_s"] >= 7200
    names = {"symbols": ["NSE:SBIN", "NSE:INFY"]}
    bulk = (await place.asha.client.post("/api/v2/market/quotes/bulk", json=names)).json()
    assert [each["stale"] for each in bulk["data"]] == [True, False]
    [index] = (await place.get("indices"))["data"]
    assert index["quote"]["stale"]


@pytest.mark.parametrize(("hour", "minute", "stale"), [(9, 14, False), (9, 15, True), (15, 29, True), (15, 40, False)])
async def test_the_last_quote_of_a_session_stands_until_the_next_one_begins(
    place: Place, hour: int, minute: int, stale: bool
) -> None:
    friday = datetime(2026, 11, 20, hour, minute, tzinfo=IST)
    quotes = QuoteView(TradingCalendar(MarketHours.EXCHANGE))
    yesterday = datetime(2026, 11, 19, 15, 29, 59, tzinfo=IST)
    quotes.update([quote(SBIN, 815.25, yesterday)], friday)
    shown = quotes.show(SBIN, friday)
    assert shown is not None
    assert shown["stale"] is stale


async def test_a_feed_that_only_repeats_itself_is_stale(place: Place) -> None:
    place.hear(place.quote(SBIN, 815.25, ago=7200), place.quote(SPOT, 24_410, ago=3600))
    feed = (await place.asha.client.get("/api/v2/system/status")).json()["feed"]
    assert (feed["stale"], feed["instruments"]) == (True, 2)
    assert 3600 <= feed["age_s"] < 3700
    place.hear(place.quote(SPOT, 24_411))
    feed = (await place.asha.client.get("/api/v2/system/status")).json()["feed"]
    assert (feed["stale"], feed["age_s"] < 60) == (False, True)


@pytest.mark.parametrize(("hour", "is_open"), [(11, True), (20, False)])
async def test_a_quote_says_whether_its_market_is_open(place: Place, hour: int, is_open: bool) -> None:
    friday = datetime(2026, 11, 20, hour, tzinfo=IST)
    tokens = place.gateway.runtime.clock
    traded_at(place, friday)
    place.hear(place.quote(SBIN, 815.25, ago=7))
    shown = place.gateway.runtime.memory.quotes.show(SBIN, friday)
    assert shown is not None
    assert (shown["market_open"], shown["age_s"]) == (is_open, 7)
    place.gateway.runtime.clock = tokens


async def test_an_unknown_symbol_is_told_from_one_that_was_not_heard_of(place: Place) -> None:
    unknown = await place.get("quotes/NSE:NOPE", 404)
    assert (unknown["code"], unknown["instrument"]) == ("instrument_unknown", "NSE:NOPE")
    silent = await place.get("quotes/NSE:RARE", 404)
    assert (silent["code"], silent["instrument"]) == ("no_quote", "NSE:RARE")
    assert isinstance(silent["market_open"], bool)
    assert "open" in silent["detail"] or "closed" in silent["detail"]
    assert (await place.get("quotes/SBIN", 422))["code"] == "invalid"


class Said:
    """What the gateway tells marketdata, kept in place of the buffer to Kafka."""

    def __init__(self) -> None:
        self.wishes: list[WatchRenewed] = []

    def publish(self, message: Message, kept: object = None) -> None:
        assert isinstance(message, WatchRenewed)
        self.wishes.append(message)

    async def close(self) -> None: ...

    def asked(self) -> set[str]:
        return {name for wish in self.wishes for name in (*wish.asked, *wish.asked_chains)}


async def test_what_is_asked_for_is_to_have_prices_for_a_while_and_the_answer_says_since_when(place: Place) -> None:
    """A live feed carries what somebody needs: what is only asked for would never have a price."""
    said = place.gateway.runtime.bulk = Said()  # type: ignore[assignment]
    place.hear(place.quote("NSE:OLD", 100))
    before = place.gateway.runtime.clock.now()
    silent = await place.get("quotes/NSE:RARE", 404)
    since = datetime.fromisoformat(silent["asked_since"])
    assert before <= since <= place.gateway.runtime.clock.now()
    assert (await place.get("depth/NSE:RARE", 404))["asked_since"] == silent["asked_since"]
    old = await place.get("quotes/NSE:OLD")
    assert old["at"] < old["asked_since"]
    names = {"symbols": ["NSE:OLD", "NSE:RARE", "NSE:SBIN", "NSE:NOPE"]}
    bulk = (await place.asha.client.post("/api/v2/market/quotes/bulk", json=names)).json()
    assert (bulk["missing"], bulk["unknown"]) == (["NSE:RARE", "NSE:SBIN", "NSE:NOPE"], ["NSE:NOPE"])
    assert bulk["asked_since"] > silent["asked_since"]
    chain = await place.get("option-chain/NIFTY", strikes=0)
    assert chain["asked_since"] > bulk["asked_since"]
    assert (await place.get("option-chain/NIFTY"))["asked_since"] == chain["asked_since"]
    for unknown in ("quotes/NSE:NOPE", "depth/NSE:NOPE", "option-chain/HIFTY"):
        assert "asked_since" not in await place.get(unknown, 404)
    async with asyncio.timeout(5):
        while said.asked() != {"NSE:RARE", "NSE:OLD", "NSE:SBIN", f"NFO:NIFTY:{EXPIRY}"}:
            await asyncio.sleep(0.01)
    assert not any((*wish.quotes, *wish.depths, *wish.chains) for wish in said.wishes)


async def test_a_gateway_that_does_not_hear_prices_yet_says_so_and_not_that_there_are_none(place: Place) -> None:
    place.hear(place.quote(SBIN, 815.25))
    ready, both = place.gateway.runtime.ready, {"symbols": ["NSE:SBIN", "NSE:RARE"]}
    ready["streams"] = False
    assert (await place.get("quotes/NSE:SBIN"))["ltp"] == 815.25
    for answer in (
        await place.asha.client.get("/api/v2/market/quotes/NSE:RARE"),
        await place.asha.client.post("/api/v2/market/quotes/bulk", json=both),
    ):
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert answer.headers["Retry-After"]
    ready["streams"] = True
    bulk = await place.asha.client.post("/api/v2/market/quotes/bulk", json=both)
    assert bulk.json()["missing"] == ["NSE:RARE"]


async def test_five_hundred_symbols_are_quoted_at_once_and_the_missing_ones_named(place: Place) -> None:
    names = [f"NSE:S{n}" for n in range(500)]
    place.hear(*(place.quote(name, 100 + n) for n, name in enumerate(names)))
    body = {"symbols": [*names, "NSE:NOPE"]}
    found = (await place.asha.client.post("/api/v2/market/quotes/bulk", json=body)).json()
    assert [each["ltp"] for each in found["data"]] == [100 + n for n in range(500)]
    assert found["missing"] == ["NSE:NOPE"]


async def test_depth_has_its_levels_and_age(place: Place) -> None:
    levels = tuple(DepthLevel(price=100 - 0.05 * n, quantity=n, orders=n) for n in range(1, 21))
    at = NOW - timedelta(seconds=2)
    heard = tick().model_copy(update={"at": at, "received_at": at, "bids": levels, "asks": levels})
    place.market.memory.board.books[SBIN] = heard
    found = await place.get("depth/NSE:SBIN")
    assert (len(found["bids"]), len(found["asks"]), found["levels"], found["age_s"]) == (5, 5, 5, 2.0)
    assert found["bids"][0] == {"price": 99.95, "quantity": 1, "orders": 1}
    assert {"market_open", "source", "at", "ltp"} <= set(found)
    assert len((await place.get("depth/NSE:SBIN", levels=20))["bids"]) == 20
    assert found["stale"] is False
    hour_ago = heard.model_copy(update={"at": NOW - timedelta(hours=1)})
    place.market.memory.board.books[SBIN] = hour_ago
    old = await place.get("depth/NSE:SBIN")
    assert (old["stale"], old["age_s"]) == (True, 3600)
    assert (await place.get("depth/NSE:RARE", 404))["code"] == "no_depth"
    assert (await place.get("depth/NSE:NOPE", 404))["code"] == "instrument_unknown"
    assert (await place.get("depth/NSE:SBIN", 422, levels=21))["code"] == "invalid"


async def test_an_option_chain_has_every_field_of_every_strike_and_of_the_whole(place: Place) -> None:
    call = MASTER[2 * STRIKES.index(24_400)].instrument
    place.market.memory.board.earlier_oi.known[call] = 1_000
    chain = await place.get("option-chain/NIFTY", expiry=EXPIRY)
    assert [row["strike"] for row in chain["rows"]] == STRIKES
    for row in chain["rows"]:
        for side in ("call", "put"):
            assert set(row[side]) == OPTION_FIELDS
            assert all(row[side][name] is not None for name in OPTION_FIELDS - {"oi_change"})
    at_the_money = next(row for row in chain["rows"] if row["strike"] == chain["atm_strike"])
    assert chain["atm_strike"] == 24_400
    assert at_the_money["call"]["oi_change"] == at_the_money["call"]["oi"] - 1_000
    assert at_the_money["call"]["rho"] > 0 > at_the_money["put"]["rho"]
    assert (chain["pcr"], chain["spot"], chain["market_open"]) == (2.0, SPOT, True)
    assert chain["max_pain"] in STRIKES
    left = datetime.fromisoformat(chain["expires_at"]) - NOW
    assert chain["minutes_to_expiry"] == left.total_seconds() // 60
    assert chain["quoted_at"] is not None
    near = await place.get("option-chain/NIFTY", strikes=2)
    assert [row["strike"] for row in near["rows"]] == [24_300, 24_350, 24_400, 24_450, 24_500]
    assert (near["pcr"], near["max_pain"]) == (chain["pcr"], chain["max_pain"])


async def test_openalgo_999_a_chain_that_there_is_not_is_a_problem_that_says_what_there_is(place: Place) -> None:
    assert (await place.get("option-chain/HIFTY", 404))["code"] == "chain_unknown"
    assert (await place.get("contracts/expiries/HIFTY", 404))["code"] == "underlying_unknown"
    other = await place.get("option-chain/NIFTY", 404, expiry="2026-11-25")
    assert (other["code"], other["expiries"]) == ("expiry_unknown", [str(EXPIRY)])
    assert (await place.get("option-chain/NIFTY/expiries"))["expiries"] == [str(EXPIRY)]


async def test_exchanges_indices_and_intervals_are_listed(place: Place) -> None:
    counts = {each["exchange"]: each["instruments"] for each in (await place.get("exchanges"))["data"]}
    assert set(counts) == set(Exchange)
    assert (counts["NSE"], counts["NSE_INDEX"], counts["MCX"]) == (2, 1, 0)
    place.hear(place.quote(SPOT, 24_410))
    [index] = (await place.get("indices"))["data"]
    assert (index["instrument"], index["quote"]["ltp"]) == (SPOT, 24_410)
    intervals = (await place.get("intervals"))["data"]
    assert {"1m", "3m", "5m", "10m", "15m", "30m", "1h", "1d"} <= set(intervals)
