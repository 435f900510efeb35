"""Baskets and spreads: what may be one, what it costs, and that it quotes like any instrument."""

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common import ids
from libs.common.clock import FixedClock
from libs.common.contracts.base import RequestRefused
from libs.common.contracts.enums import FeedSource
from libs.common.contracts.ids import InstrumentId, UserId
from libs.common.contracts.market import InstrumentListed, Quote
from libs.common.contracts.masters import (
    CorporateActionKind,
    CorporateActionsImported,
    CorporateActionsImportRequested,
    CorporateActionTerms,
    CustomLeg,
    CustomSymbol,
    CustomSymbolDeleteRequested,
    CustomSymbolSaved,
    CustomSymbolSaveRequested,
)
from libs.common.database import Connection
from libs.common.runtime import Runtime
from libs.common.testing import deliver
from libs.common.testing.apps import opened
from services.marketdata.app import app
from services.marketdata.domain.custom import LONGEST_APART, fault_of_symbol, tick_of
from services.marketdata.domain.ticks import fault_of
from services.marketdata.memory import MarketMemory
from services.marketdata.memory.board import QuoteBoard
from services.marketdata.memory.custom import CustomBook
from services.marketdata.store import ContractStore
from services.marketdata.streams.custom import load_custom_symbols
from services.marketdata.streams.feed import Pump
from tests.services.marketdata.samples import OPEN, SBIN, tick
from tests.services.marketdata.test_simulator import STEP, simulator

INFY = InstrumentId("NSE:INFY")
OWNER = UserId(ids.new_id())


def spread(*legs: tuple[InstrumentId, str], symbol: str = "PAIR") -> CustomSymbol:
    return CustomSymbol(
        custom_symbol_id=ids.new_id(),
        user_id=OWNER,
        symbol=symbol,
        name="A pair",
        legs=tuple(CustomLeg(instrument=each, weight=Decimal(weight)) for each, weight in legs),
    )


PAIR = spread((SBIN, "1"), (INFY, "-0.5"))


def quote(instrument: InstrumentId, bid: float, ask: float, seconds: float = 0, size: int = 100) -> Quote:
    return Quote(
        instrument=instrument,
        at=OPEN + timedelta(seconds=seconds),
        source=FeedSource.SIMULATED,
        ltp=(bid + ask) / 2,
        bid=bid,
        ask=ask,
        bid_quantity=size,
        ask_quantity=2 * size,
        open=bid,
        high=ask,
        low=bid,
        previous_close=bid,
        volume=1,
        oi=0,
    )


def test_a_spread_is_sold_at_the_bid_of_what_it_buys_and_the_ask_of_what_it_sells() -> None:
    found = tick_of(PAIR, {SBIN: quote(SBIN, 100, 101), INFY: quote(INFY, 400, 402, 3)}, OPEN)
    assert found is not None
    assert (found.bid, found.ask, found.ltp) == (100 - 201, 101 - 200, 100.5 - 200.5)
    assert found.at == OPEN + timedelta(seconds=3)
    assert (found.bid_quantity, found.ask_quantity) == (100, 200)
    assert fault_of(found, None) is None


def test_without_a_quote_of_every_leg_or_with_one_that_is_too_old_it_has_no_price() -> None:
    assert tick_of(PAIR, {SBIN: quote(SBIN, 100, 101)}, OPEN) is None
    old = LONGEST_APART.total_seconds() + 1
    assert tick_of(PAIR, {SBIN: quote(SBIN, 100, 101, old), INFY: quote(INFY, 400, 402)}, OPEN) is None


@pytest.mark.parametrize("source", [FeedSource.LIVE, FeedSource.POLLED])
def test_a_leg_that_was_not_traded_yet_today_makes_no_price(source: FeedSource) -> None:
    """Its last price is of a day before, however new its book is: a straddle opened at half of yesterday's."""
    live = {"source": source, "at": OPEN}
    quotes = {each.instrument: each.model_copy(update=live) for each in (quote(SBIN, 100, 101), quote(INFY, 400, 402))}
    untraded = {**quotes, INFY: quotes[INFY].model_copy(update={"ltp": 900.0, "volume": 0})}
    assert tick_of(PAIR, untraded, OPEN) is None
    assert tick_of(PAIR, quotes, OPEN) is not None


def test_a_leg_without_two_sides_leaves_the_whole_without_them() -> None:
    found = tick_of(PAIR, {SBIN: quote(SBIN, 100, 101), INFY: quote(INFY, 0, 402)}, OPEN)
    assert found is not None
    assert (found.bid, found.ask) == (0, 0)


_PRICES = st.integers(100, 10_000).map(lambda paise: paise / 20)


@given(st.lists(st.tuples(_PRICES, _PRICES, st.integers(-5, 5).filter(bool)), min_size=1, max_size=5))
def test_the_whole_is_never_crossed(legs: list[tuple[float, float, int]]) -> None:
    names = [InstrumentId(f"NSE:L{n}") for n in range(len(legs))]
    quotes = {name: quote(name, min(a, b), max(a, b)) for name, (a, b, _) in zip(names, legs, strict=True)}
    symbol = spread(*((name, str(weight)) for name, (_, _, weight) in zip(names, legs, strict=True)))
    found = tick_of(symbol, quotes, OPEN)
    assert found is not None
    assert found.bid <= found.ask


@pytest.mark.parametrize(
    ("symbol", "why"),
    [
        (spread((SBIN, "1"), (SBIN, "2")), "twice"),
        (spread((SBIN, "0")), "zero"),
        (spread((InstrumentId("NSE:NOSUCH"), "1")), "not in the contract master"),
        (spread((InstrumentId("CUSTOM:PAIR"), "1")), "itself"),
        (spread(), "0 legs"),
        (spread((SBIN, "1"), symbol="a b"), "capitals"),
    ],
)
def test_what_is_no_custom_symbol_is_told_why(symbol: CustomSymbol, why: str) -> None:
    assert why in str(fault_of_symbol(symbol, {SBIN, InstrumentId("CUSTOM:PAIR")}.__contains__))


def test_a_symbol_ticks_when_a_leg_has_changed_and_only_then() -> None:
    book = CustomBook()
    book.replace([PAIR])
    quotes = {SBIN: quote(SBIN, 100, 101), INFY: quote(INFY, 400, 402)}
    assert [t.instrument for t, _ in book.ticks(quotes.values(), quotes, OPEN)] == ["CUSTOM:PAIR"]
    assert list(book.ticks(quotes.values(), quotes, OPEN)) == []
    quotes[SBIN] = quote(SBIN, 101, 102, 1)
    assert len(list(book.ticks([quotes[SBIN]], quotes, OPEN))) == 1
    assert list(book.ticks([quote(InstrumentId("NSE:OTHER"), 1, 2, 9)], quotes, OPEN)) == []


def test_a_symbol_is_as_old_as_its_oldest_leg_and_ticks_when_the_other_one_does() -> None:
    """One whose one leg was dead looked live for five minutes."""
    book, board = CustomBook(), QuoteBoard()
    book.replace([PAIR])
    quotes = {SBIN: quote(SBIN, 100, 101), INFY: quote(INFY, 400, 402)}
    for seconds in (0, 30, 90):
        quotes[SBIN] = quote(SBIN, 100 + seconds, 101 + seconds, seconds)
        [(tick, oldest)] = book.ticks([quotes[SBIN]], quotes, quotes[SBIN].at)
        assert board.take(tick, oldest) is None
        assert tick.at == quotes[SBIN].at, "its candles are of when it moved"
        (shown,) = board.conflate()
        assert (shown.ltp, shown.at) == (tick.ltp, OPEN)
        assert shown.ltp == 100.5 + seconds - 200.5


def test_a_leg_that_moves_after_a_newer_one_moves_the_whole() -> None:
    """Two exchanges' clocks differ, and brokers tell whole seconds."""
    book, board = CustomBook(), QuoteBoard()
    book.replace([PAIR])
    quotes = {SBIN: quote(SBIN, 100, 101, 1), INFY: quote(INFY, 400, 402, 3)}
    [(first, oldest)] = book.ticks(quotes.values(), quotes, OPEN + timedelta(seconds=3))
    assert board.take(first, oldest) is None
    quotes[SBIN] = quote(SBIN, 110, 111, 2)
    [(second, oldest)] = book.ticks([quotes[SBIN]], quotes, OPEN + timedelta(seconds=3.1))
    assert board.take(second, oldest) is None
    assert first.at < second.at < first.at + timedelta(milliseconds=1)
    (shown,) = board.conflate()
    assert (shown.ltp, shown.at) == (110.5 - 200.5, quotes[SBIN].at)
    quotes[INFY] = quote(INFY, 400, 402, 3.05)
    [(_, oldest)] = book.ticks([quotes[INFY]], quotes, OPEN + timedelta(seconds=3.2))
    assert oldest == quotes[SBIN].at


def test_what_is_repeated_moves_no_symbol() -> None:
    book = CustomBook()
    book.replace([PAIR])
    quotes = {SBIN: quote(SBIN, 100, 101, 1), INFY: quote(INFY, 400, 402, 3)}
    assert len(list(book.ticks(quotes.values(), quotes, OPEN))) == 1
    assert list(book.ticks(quotes.values(), quotes, OPEN + timedelta(seconds=5))) == []


def test_the_standby_follows_a_symbol_whose_oldest_leg_stands_still() -> None:
    board = QuoteBoard()
    name = PAIR.instrument
    board.follow([quote(name, 1, 2)])
    board.follow([quote(name, 3, 4)])
    assert board.quotes[name].ltp == 3.5
    board.follow([quote(name, 1, 2, -1)])
    assert board.quotes[name].ltp == 3.5


async def listed(connection: Connection, *instruments: InstrumentId) -> None:
    for instrument in instruments:
        await connection.execute(
            "INSERT INTO contracts (instrument, exchange, symbol, name, kind, lot_size, tick_size, tradable,"
            " published_at) VALUES ($1, 'NSE', $1, $1, 'EQUITY', 1, 0.05, true, now())",
            instrument,
        )


def save(symbol: CustomSymbol, version: int = 0, user_id: UserId = OWNER) -> CustomSymbolSaveRequested:
    return CustomSymbolSaveRequested(
        custom_symbol_id=symbol.custom_symbol_id,
        user_id=user_id,
        custom_symbol=symbol,
        expected_version=version,
    )


async def test_a_saved_symbol_is_listed_as_an_instrument_that_cannot_be_traded(connection: Connection) -> None:
    await connection.execute("DELETE FROM contracts")
    await listed(connection, SBIN, INFY)
    instrument, saved = await deliver(app, connection, save(PAIR))
    assert isinstance(instrument, InstrumentListed)
    assert (instrument.instrument, instrument.tradable, instrument.delisted) == ("CUSTOM:PAIR", False, False)
    assert isinstance(saved, CustomSymbolSaved)
    assert saved.version == 1
    gone, _ = await deliver(
        app, connection, CustomSymbolDeleteRequested(custom_symbol_id=PAIR.custom_symbol_id, user_id=OWNER)
    )
    assert isinstance(gone, InstrumentListed)
    assert gone.delisted


async def test_what_may_not_be_saved_is_refused_with_a_code(connection: Connection) -> None:
    await connection.execute("DELETE FROM contracts")
    await listed(connection, SBIN, INFY)
    await deliver(app, connection, save(PAIR))
    stranger, other = UserId(ids.new_id()), spread((SBIN, "1"))
    refusals = {
        "not_found": save(PAIR, 1, stranger),
        "conflict": save(PAIR, 7),
        "invalid": save(spread((InstrumentId("NSE:NOSUCH"), "1"), symbol="OTHER")),
    }
    for code, request in refusals.items():
        (refused,) = await deliver(app, connection, request)
        assert isinstance(refused, RequestRefused)
        assert refused.code == code
    (taken,) = await deliver(app, connection, save(other))
    assert isinstance(taken, RequestRefused)
    assert "already" in taken.reason


@pytest.fixture
async def runtime(real_servers: None) -> AsyncIterator[Runtime[ContractStore, MarketMemory]]:
    async with opened(app, clock=FixedClock(OPEN)) as runtime:
        yield runtime
        async with runtime.transaction() as unit:
            for symbol in await unit.store.custom_symbols.all():
                await unit.store.custom_symbols.delete(symbol, OPEN)


async def test_a_symbol_that_is_given_other_legs_begins_its_day_anew(
    runtime: Runtime[ContractStore, MarketMemory],
) -> None:
    """The day's low, its open and the last close were those of another basket."""
    feed = simulator()
    one, other = [contract.instrument for contract in feed.contracts if contract.exchange == "NSE"][:2]
    pair = spread((one, "1"), (other, "-3"))
    pump = Pump(runtime, feed)
    renamed = pair.model_copy(update={"name": "Renamed"})
    shown = []
    for turn, saved in enumerate((pair, renamed, renamed.model_copy(update={"legs": spread((one, "1")).legs}))):
        async with runtime.transaction() as unit:
            await unit.store.custom_symbols.save(saved, turn + 1, OPEN)
        await load_custom_symbols(runtime)
        for n in range(40 * turn, 40 * turn + 40):
            pump.step(OPEN + n * STEP)
        runtime.memory.board.conflate()
        shown.append(runtime.memory.board.quotes[pair.instrument])
    first, second, third = shown
    assert (second.open, second.previous_close) == (first.open, first.previous_close)
    assert first.ltp < 0 < min(third.low, third.open, third.previous_close)


async def test_a_custom_symbol_of_fed_instruments_quotes_with_them(
    runtime: Runtime[ContractStore, MarketMemory],
) -> None:
    feed = simulator()
    one, other = [contract.instrument for contract in feed.contracts if contract.exchange == "NSE"][:2]
    pair = spread((one, "1"), (other, "-3"))
    async with runtime.transaction() as unit:
        await unit.store.custom_symbols.save(pair, 1, OPEN)
    await load_custom_symbols(runtime)
    pump = Pump(runtime, feed)
    for n in range(40):
        pump.step(OPEN + n * STEP)
    runtime.memory.board.conflate()
    found = runtime.memory.board.quotes[pair.instrument]
    assert found.bid <= found.ltp <= found.ask < 0
    assert found.source is FeedSource.SIMULATED
    assert found.at > OPEN


async def imported(connection: Connection, *actions: CorporateActionTerms) -> object:
    request = CorporateActionsImportRequested(import_id=ids.new_id(), user_id=OWNER, actions=actions)
    return (await deliver(app, connection, request))[0]


async def test_corporate_actions_are_kept_all_or_none(connection: Connection) -> None:
    split = CorporateActionTerms(instrument=SBIN, kind=CorporateActionKind.SPLIT, ex_date=OPEN.date(), old=1, new=10)
    bad = split.model_copy(update={"new": 1})
    store = ContractStore(connection)
    refused = await imported(connection, split, bad)
    assert isinstance(refused, RequestRefused)
    assert await store.corporate_actions.of(SBIN) == []
    assert isinstance(await imported(connection, split), CorporateActionsImported)
    assert isinstance(await imported(connection, split.model_copy(update={"new": 5})), CorporateActionsImported)
    (kept,) = await store.corporate_actions.of(SBIN)
    assert (kept.old, kept.new) == (1, 5)


async def test_a_final_and_a_special_dividend_of_one_day_are_not_taken_for_one(connection: Connection) -> None:
    """The second was kept, the first was not, and both were said to be imported."""
    final = CorporateActionTerms(
        instrument=SBIN, kind=CorporateActionKind.DIVIDEND, ex_date=OPEN.date(), amount=Decimal(10)
    )
    special = final.model_copy(update={"amount": Decimal(18)})
    refused = await imported(connection, final, special)
    assert isinstance(refused, RequestRefused)
    assert "told twice" in refused.reason
    assert await ContractStore(connection).corporate_actions.of(SBIN) == []
    assert isinstance(await imported(connection, final, final), CorporateActionsImported)
    assert isinstance(await imported(connection, special), CorporateActionsImported)
    (kept,) = await ContractStore(connection).corporate_actions.of(SBIN)
    assert kept.amount == 18


async def test_an_action_of_a_wrong_day_is_taken_back_and_put_on_the_right_one_at_once(connection: Connection) -> None:
    """It stood there for ever, and all prices from before it were adjusted once too often."""
    wrong = CorporateActionTerms(instrument=SBIN, kind=CorporateActionKind.SPLIT, ex_date=OPEN.date(), old=1, new=10)
    right = wrong.model_copy(update={"ex_date": OPEN.date() + timedelta(days=1)})
    bonus = wrong.model_copy(update={"kind": CorporateActionKind.BONUS})
    await imported(connection, wrong, bonus)
    none = CorporateActionTerms(instrument=SBIN, kind=CorporateActionKind.SPLIT, ex_date=wrong.ex_date, withdrawn=True)
    assert isinstance(await imported(connection, none, right), CorporateActionsImported)
    store = ContractStore(connection)
    kept = [(each.kind, each.ex_date) for each in await store.corporate_actions.of(SBIN)]
    assert kept == [(CorporateActionKind.BONUS, wrong.ex_date), (CorporateActionKind.SPLIT, right.ex_date)]
    for actions in ((none,), (none, wrong), (right.model_copy(update={"withdrawn": True}), none)):
        refused = await imported(connection, *actions)
        assert isinstance(refused, RequestRefused)
        assert ("told twice" if wrong in actions else "known") in refused.reason
    assert len(await store.corporate_actions.of(SBIN)) == 2


def test_a_tick_of_a_custom_symbol_may_be_negative_and_of_no_other() -> None:
    assert fault_of(tick(ltp=-1), None) is not None
    assert fault_of(tick(ltp=-1, instrument=PAIR.instrument), None) is None
