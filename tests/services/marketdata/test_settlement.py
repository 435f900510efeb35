"""Expired contracts: what they were worth is told once, by the closing price of what they are written on, or not at
all.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from libs.common import ids
from libs.common.clock import FixedClock
from libs.common.contracts import topics
from libs.common.contracts.enums import Exchange, FeedSource, InstrumentKind, OptionType
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import CandleClosed
from libs.common.contracts.masters import ContractSettled, ContractUnsettled
from libs.common.messaging.bulk import BulkPublisher
from libs.common.messaging.bulk_reader import BulkUnavailable
from libs.common.messaging.lead import Role
from libs.common.runtime import Runtime
from libs.common.settings import MarketHours
from libs.common.testing.apps import opened
from libs.common.trading_calendar import IST, TradingCalendar
from services.marketdata.app import app
from services.marketdata.domain import settlement
from services.marketdata.domain.settlement import Expired, Window, window, worth
from services.marketdata.memory import MarketMemory
from services.marketdata.store import ContractStore
from services.marketdata.store.series import candle_row
from services.marketdata.streams.settlement import tell_settlements
from tests.common.crashes import STATUS
from tests.common.instance import ROOT
from tests.services.marketdata.samples import tick
from tests.services.marketdata.telling import POINTS

MarketRuntime = Runtime[ContractStore, MarketMemory]
EXPIRY = date(2026, 12, 1)
"""A Tuesday, three months after derivatives began to trade until 15:40."""
PAISE = st.decimals("0.05", "90000", places=2)


def at(text: str, day: date = EXPIRY) -> datetime:
    return datetime.combine(day, datetime.strptime(text, "%H:%M").time(), IST)  # noqa: DTZ007 - of a time alone


def index_contracts(exchange: Exchange = Exchange.NFO, expiry: date = EXPIRY) -> Expired:
    return Expired(exchange, expiry, InstrumentId("NSE_INDEX:NIFTY"), Exchange.NSE_INDEX, InstrumentKind.INDEX)


def test_an_index_closes_with_its_last_word_and_a_stock_with_its_closing_auction() -> None:
    calendar = TradingCalendar()
    assert window(index_contracts(), calendar) == Window(at("15:25"), at("15:40"))
    stock = Expired(Exchange.NFO, EXPIRY, InstrumentId("NSE:SBIN"), Exchange.NSE, InstrumentKind.EQUITY)
    assert window(stock, calendar) == Window(at("15:30"), at("15:40"))


def test_before_august_2026_all_of_them_closed_at_half_past_three() -> None:
    day = date(2026, 6, 30)
    for kind, exchange in ((InstrumentKind.INDEX, Exchange.NSE_INDEX), (InstrumentKind.EQUITY, Exchange.NSE)):
        of = Expired(Exchange.NFO, day, InstrumentId("NSE:SBIN"), exchange, kind)
        assert window(of, TradingCalendar()) == Window(at("15:25", day), at("15:30", day))


def test_simulated_markets_close_at_midnight_with_their_last_price_of_the_day() -> None:
    calendar = TradingCalendar(MarketHours.CONTINUOUS)
    assert window(index_contracts(), calendar) == Window(at("00:00"), at("00:00", EXPIRY + timedelta(days=1)))


def test_an_expiry_on_a_day_without_a_session_closes_as_the_trading_day_before_it() -> None:
    sunday = date(2026, 11, 29)
    assert window(index_contracts(expiry=sunday), TradingCalendar()) == Window(at("15:35", sunday), at("15:40", sunday))


@given(spot=PAISE, strike=PAISE)
def test_a_call_less_a_put_is_the_future_less_the_strike(spot: Decimal, strike: Decimal) -> None:
    call = worth(InstrumentKind.OPTION, strike, OptionType.CE, spot)
    put = worth(InstrumentKind.OPTION, strike, OptionType.PE, spot)
    assert min(call, put) == 0
    assert call - put == worth(InstrumentKind.FUTURE, None, None, spot) - strike


@pytest.mark.parametrize("exchange", [Exchange.MCX, Exchange.CDS, Exchange.BCD])
def test_what_is_settled_at_a_price_that_no_feed_tells_is_not_guessed(exchange: Exchange) -> None:
    assert exchange.value in str(settlement.why_never(index_contracts(exchange)))
    unknown = Expired(Exchange.NFO, EXPIRY, None, None, None)
    assert "written on" in str(settlement.why_never(unknown))
    assert settlement.why_never(index_contracts()) is None


PLACES = [TopicPartition(topics.SETTLEMENTS.name, number) for number in range(topics.SETTLEMENTS.partitions)]


def read(record: ConsumerRecord) -> ContractSettled | ContractUnsettled:
    kind = dict(record.headers)["ce_type"].decode()
    model = ContractSettled if kind == ContractSettled.__name__ else ContractUnsettled
    return model.model_validate_json(record.value)


class Market:
    """An index of this test alone, with a future and two options on it, and what is told of them."""

    def __init__(self, runtime: MarketRuntime, reader: AIOKafkaConsumer) -> None:
        self.runtime = runtime
        self.name = f"X{ids.new_id().hex[-10:].upper()}"
        self.spot = InstrumentId(f"NSE_INDEX:{self.name}")
        self.future, self.call, self.put = (f"NFO:{self.name}01DEC26{end}" for end in ("FUT", "24000CE", "24000PE"))
        self._reader = reader
        self._heard: set[bytes] = set()

    async def lists(self, exchange: Exchange = Exchange.NFO, expiry: date = EXPIRY) -> None:
        insert = """
            INSERT INTO contracts (instrument, exchange, symbol, name, kind, underlying, spot, expiry, strike,
                                   option_type, lot_size, tick_size, tradable, published_at)
            VALUES ($1, $2, $1, $1, $3, $4, $5, $6, $7, $8, 75, 0.05, true, now())
        """
        rows = [
            (self.spot, "NSE_INDEX", "INDEX", None, None, None, None, None),
            (self.future, exchange.value, "FUTURE", self.name, self.spot, expiry, None, None),
            (self.call, exchange.value, "OPTION", self.name, self.spot, expiry, Decimal(24_000), "CE"),
            (self.put, exchange.value, "OPTION", self.name, self.spot, expiry, Decimal(24_000), "PE"),
        ]
        await self.runtime.pool.executemany(insert, rows)

    async def trades(self, start: str, close: float, day: date = EXPIRY) -> None:
        candle = CandleClosed(
            instrument=self.spot,
            start=at(start, day),
            interval_s=60,
            source=FeedSource.SIMULATED,
            open=close,
            high=close,
            low=close,
            close=close,
            volume=0,
            oi=0,
        )
        await self.runtime.memory.series.write(candles=[candle_row(candle)])

    async def looks(self, time: str, day: date = EXPIRY) -> list[ContractSettled | ContractUnsettled]:
        """What is told of this index's contracts when the leader looks at that time of the day of expiry."""
        self.runtime.clock = FixedClock(at(time, day))
        await tell_settlements(self.runtime)
        async with asyncio.timeout(20):
            while await self.runtime.pool.fetchval("SELECT EXISTS (SELECT FROM message_outbox)"):
                await asyncio.sleep(0.05)
        ends = await self._reader.end_offsets(PLACES)
        told: list[ContractSettled | ContractUnsettled] = []
        while any([await self._reader.position(place) < end for place, end in ends.items()]):
            for records in (await self._reader.getmany(timeout_ms=500)).values():
                told += [read(each) for each in records if self.name in each.key.decode() and self._is_new(each)]
        return told

    def _is_new(self, record: ConsumerRecord) -> bool:
        """A reader drops the ids that it knows."""
        message_id = dict(record.headers)["ce_id"]
        is_new = message_id not in self._heard
        self._heard.add(message_id)
        return is_new


@pytest.fixture
async def market(group: str) -> AsyncIterator[Market]:
    async with opened(app, clock=FixedClock(at("09:15"))) as runtime:
        runtime.lead.role = Role.LEADER
        runtime.memory.writer_group = group
        runtime.memory.calendar = TradingCalendar(MarketHours.EXCHANGE)
        await runtime.memory.series.create_tables()
        async with AIOKafkaConsumer(bootstrap_servers=runtime.settings.kafka_bootstrap) as reader:
            reader.assign(PLACES)
            await reader.seek_to_end(*PLACES)
            market = Market(runtime, reader)
            yield market
        await runtime.pool.execute("DELETE FROM contracts WHERE instrument LIKE '%' || $1 || '%'", market.name)
        await runtime.pool.execute("DELETE FROM settlements WHERE instrument LIKE '%' || $1 || '%'", market.name)


def prices(told: list[ContractSettled | ContractUnsettled]) -> dict[str, Decimal]:
    return {m.instrument: m.price for m in told if isinstance(m, ContractSettled)}


async def test_after_the_close_each_contract_is_told_once_with_its_value_at_the_last_price(market: Market) -> None:
    await market.lists()
    await market.trades("15:28", 24_010)
    assert await market.looks("15:30") == []
    await market.trades("15:36", 24_154.35)
    assert await market.looks("15:44") == [], "the last candles may be on their way"
    told = await market.looks("15:45")
    value = Decimal("154.35")
    assert prices(told) == {market.future: 24_000 + value, market.call: value, market.put: 0}
    for each in told:
        assert isinstance(each, ContractSettled)
        assert (each.expiry, each.spot, each.spot_price) == (EXPIRY, market.spot, Decimal("24154.35"))
        assert (each.spot_minute, each.source) == (at("15:36"), FeedSource.SIMULATED)
    await market.trades("15:37", 25_000)
    assert await market.looks("15:46") == []
    assert await market.looks("23:59") == []


async def test_a_price_of_minutes_before_the_close_is_not_the_closing_price(market: Market) -> None:
    """The feed died at 15:20. It is told as unsettled once, and settled if the prices are uploaded after all."""
    await market.lists()
    await market.trades("15:19", 24_010)
    assert await market.looks("16:09") == []
    told = await market.looks("16:10")
    assert {type(each) for each in told} == {ContractUnsettled}
    assert {each.instrument for each in told} == {market.future, market.call, market.put}
    assert "no price of " + market.spot in told[0].reason  # type: ignore[union-attr]
    assert await market.looks("18:00") == []
    await market.trades("15:29", 24_020)
    assert await market.looks("18:30") == [], "it is looked for again after an hour"
    assert prices(await market.looks("19:01"))[market.call] == 20


async def test_a_stack_that_was_down_at_the_close_tells_it_when_it_is_up_again(market: Market) -> None:
    await market.lists(expiry=EXPIRY)
    await market.trades("15:29", 24_020)
    market.runtime.clock = FixedClock(at("09:00") + timedelta(days=6))
    await tell_settlements(market.runtime)
    assert prices(await market.looks("23:00"))[market.future] == 24_020


async def test_what_a_holiday_moved_to_the_day_before_is_settled_at_the_close_of_that(market: Market) -> None:
    """It is another contract of ours then: whoever held the one of before could not close it, and was not settled."""
    christmas, eve = date(2026, 12, 25), date(2026, 12, 24)
    await market.lists(expiry=christmas)
    await market.trades("15:36", 24_154.35, eve)
    told = await market.looks("16:10", christmas)
    assert {type(each) for each in told} == {ContractUnsettled}, "it may be our calendar that is wrong"
    gone = "UPDATE contracts SET gone_on = $2 WHERE instrument LIKE '%' || $1 || '%' AND expiry IS NOT NULL"
    await market.runtime.pool.execute(gone, market.name, date(2026, 12, 21))
    told = await market.looks("17:30", christmas)
    value = Decimal("154.35")
    assert prices(told) == {market.future: 24_000 + value, market.call: value, market.put: 0}
    assert {each.expiry for each in told} == {christmas}


async def test_a_commodity_is_told_as_unsettled(market: Market) -> None:
    await market.lists(Exchange.MCX)
    await market.trades("23:54", 24_020)
    market.runtime.clock = FixedClock(at("00:10") + timedelta(days=1))
    await tell_settlements(market.runtime)
    told = await market.looks("23:59")
    assert {type(each) for each in told} == {ContractUnsettled}
    assert len(told) == 3


async def test_while_ticks_wait_to_become_candles_nothing_is_told(market: Market) -> None:
    """QuestDB was away at the close: its last candle is not the day's last."""
    await market.lists()
    await market.trades("15:26", 24_000)
    market.runtime.memory.writer_group = f"behind-{market.name}"
    publisher = BulkPublisher(app, market.runtime.settings, market.runtime.clock)
    publisher.publish(tick())
    assert await asyncio.to_thread(publisher.flushed, 20)
    assert await market.looks("16:30") == []


async def test_kafka_that_does_not_answer_is_no_reason_to_tell_a_price(market: Market) -> None:
    await market.lists()
    await market.trades("15:29", 24_000)
    settings = market.runtime.settings
    market.runtime.settings = settings.model_copy(update={"kafka_bootstrap": "127.0.0.1:1"})
    market.runtime.clock = FixedClock(at("16:00"))
    with pytest.raises(BulkUnavailable):
        await tell_settlements(market.runtime)
    market.runtime.settings = settings
    assert prices(await market.looks("16:00"))[market.future] == 24_000


@pytest.mark.parametrize("point", sorted(POINTS))
async def test_each_contract_is_told_once_whenever_the_process_that_tells_it_dies(market: Market, point: str) -> None:
    """What it had committed goes out as it was, what it had not is told by another; no reader meets two prices."""
    await market.lists()
    await market.trades("15:36", 24_154.35)
    url, group = market.runtime.own_settings.database_url, market.runtime.memory.writer_group
    standing = {"CRASH_AT": point, "NOW": at("15:45").isoformat(), "DATABASE_URL": url, "WRITER_GROUP": group}
    command = (sys.executable, "-m", "tests.services.marketdata.telling")
    process = await asyncio.create_subprocess_exec(*command, env={**os.environ, **standing}, cwd=ROOT)
    try:
        assert await asyncio.wait_for(process.wait(), 60) == STATUS, f"it never came to {point}"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    told = await market.looks("15:46")
    assert len(told) == len(prices(told)), "each once, but for what came twice under one id"
    value = Decimal("154.35")
    assert prices(told) == {market.future: 24_000 + value, market.call: value, market.put: 0}
    rows = await market.runtime.pool.fetch("SELECT instrument, price::text FROM settlements")
    assert {row[0]: Decimal(row[1]) for row in rows if market.name in row[0]} == prices(told)
    assert await market.looks("23:59") == []
