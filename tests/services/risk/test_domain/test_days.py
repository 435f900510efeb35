"""What a day's loss is, and what was lost on other days."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.clock import FixedClock
from libs.common.contracts.enums import BreachKind, Product, RiskLevel
from libs.common.contracts.ids import InstrumentId
from services.risk.domain.ledger import Account, Exposure, Ledger, move
from services.risk.domain.watches import Carried, begin_day
from services.risk.memory import RiskMemory
from tests.services.risk.scene import (
    ACCOUNT,
    INFY,
    NOW,
    SBIN,
    TODAY,
    USER,
    conflated,
    quote,
    state,
)
from tests.services.risk.test_domain.watching import held, price, watch, watching


def opened_again(memory: RiskMemory, days: int = 1) -> None:
    """The process lives on into another day."""
    memory.clock = FixedClock(memory.clock.now() + timedelta(days=days))
    memory.revalue()


def morning(memory: RiskMemory, last: float, close: float, instrument: InstrumentId = SBIN) -> list[BreachKind]:
    """What the first price of a day makes fire."""
    memory.crossed.clear()
    memory.take([conflated(quote(instrument, last, memory.clock.now(), close))])
    memory.revalue()
    return [each.watch.kind for each in memory.crossed.values()]


def test_what_was_lost_on_other_days_is_no_daily_loss() -> None:
    """Each morning at the first price the account was flattened again for what it had lost the week before."""
    memory = watching(watch(BreachKind.DAILY_LOSS, 600))
    memory.hold([held(10, 800)])
    assert price(memory, 745.0) == []
    opened_again(memory)
    assert morning(memory, 740.0, close=745.0) == []
    assert morning(memory, 685.5, close=745.0) == []
    assert morning(memory, 685.0, close=745.0) == [BreachKind.DAILY_LOSS]
    [crossing] = memory.crossed.values()
    assert crossing.mtm == -600, "what it lost today"


def test_a_loss_from_entry_is_still_what_a_stop_loss_waits_for() -> None:
    memory = watching(watch(BreachKind.STOP_LOSS, 600))
    memory.hold([held(10, 800)])
    assert price(memory, 745.0) == []
    opened_again(memory)
    assert morning(memory, 740.0, close=745.0) == [BreachKind.STOP_LOSS]


def test_a_gap_overnight_is_a_loss_of_the_day_even_if_it_only_takes_back_a_profit() -> None:
    memory = watching(watch(BreachKind.DAILY_LOSS, 600))
    memory.hold([held(10, 800)])
    assert price(memory, 900.0) == []
    opened_again(memory)
    assert morning(memory, 840.0, close=900.0) == [BreachKind.DAILY_LOSS]


def test_a_leg_without_a_price_of_today_has_lost_nothing_today() -> None:
    """Its newest quote still tells the close of the day before that."""
    memory = watching(watch(BreachKind.DAILY_LOSS, 600))
    memory.hold([held(10, 800), held(10, 1500, instrument=INFY)])
    morning(memory, 800.0, close=800.0)
    assert morning(memory, 1450.0, close=1500.0, instrument=INFY) == []
    opened_again(memory)
    assert morning(memory, 780.0, close=800.0) == []
    assert morning(memory, 1445.0, close=1450.0, instrument=INFY) == []
    assert morning(memory, 1410.0, close=1450.0, instrument=INFY) == [BreachKind.DAILY_LOSS]


def test_what_is_carried_counts_the_same_however_it_is_traded_today() -> None:
    memory = watching(watch(BreachKind.DAILY_LOSS, 600))
    memory.hold([held(10, 800)])
    price(memory, 745.0)
    opened_again(memory)
    today = TODAY + timedelta(days=1)
    morning(memory, 740.0, close=745.0)
    memory.hold([held(0, 0, realised_pnl=Decimal(-600), pnl_day=today, version=2)])
    assert morning(memory, 740.0, close=745.0) == [], "50 of the 600 were lost today"
    memory.hold([held(10, 740, realised_pnl=Decimal(-600), pnl_day=today, version=3)])
    assert morning(memory, 686.0, close=745.0) == []
    assert morning(memory, 685.0, close=745.0) == [BreachKind.DAILY_LOSS]


def test_a_process_that_was_restarted_knows_what_was_carried() -> None:
    carried = {"carried_quantity": 10, "carried_average": Decimal(800)}
    memory = watching(watch(BreachKind.DAILY_LOSS, 600))
    memory.hold([held(5, 800, realised_pnl=Decimal(-300), **carried)])
    assert morning(memory, 740.0, close=745.0) == []
    assert morning(memory, 631.0, close=745.0) == []
    assert morning(memory, 630.0, close=745.0) == [BreachKind.DAILY_LOSS]


@given(
    st.lists(st.tuples(st.integers(-20, 20), st.integers(1, 99)), max_size=5),
    st.lists(st.tuples(st.integers(-20, 20), st.integers(1, 99)), max_size=5),
    st.integers(1, 99),
    st.integers(1, 99),
    st.booleans(),
)
def test_the_loss_of_a_day_is_the_cash_of_its_trades_and_what_the_worth_of_what_is_held_changed_by(
    before: list[tuple[int, int]], trades: list[tuple[int, int]], close: int, last: int, restarts: bool
) -> None:
    """The average price that a position was bought at does not matter to what it lost today."""
    net = Exposure(ACCOUNT, None, SBIN, Product.MIS, USER)
    memory, yesterday = watching(), TODAY - timedelta(days=1)
    for day, fills in ((yesterday, before), (TODAY, trades)):
        for quantity, paid in fills:
            net = traded(net, quantity, Decimal(paid), day)
            if not restarts:
                memory.clock = FixedClock(NOW - (TODAY - day))
                memory.hold([net])
                memory.revalue()
    memory.clock = FixedClock(NOW)
    memory.hold([net])
    memory.take([conflated(quote(SBIN, float(last), NOW, float(close)))])
    memory.revalue()
    account = (USER, ACCOUNT)
    groups = memory.book.net.groups[RiskLevel.ACCOUNT]
    told = memory.book.mtm(RiskLevel.ACCOUNT, account) - groups.carried[0]
    held_before = sum(quantity for quantity, _ in before)
    held_now = held_before + sum(quantity for quantity, _ in trades)
    cash = -sum(quantity * paid for quantity, paid in trades)
    assert told == pytest.approx(cash + held_now * last - held_before * close, abs=0.01)


def traded(net: Exposure, quantity: int, paid: Decimal, day: date) -> Exposure:
    """At average cost, as trading books it and risk keeps it."""
    held_before, average = net.quantity, net.average_price
    realised = net.realised_pnl if net.pnl_day == day else Decimal(0)
    after = held_before + quantity
    if held_before * quantity < 0:
        closing = min(abs(quantity), abs(held_before))
        realised += closing * (average - paid) * (1 if quantity > 0 else -1)
        average = paid if abs(quantity) > abs(held_before) else average
    elif after:
        average = (average * abs(held_before) + paid * abs(quantity)) / abs(after)
    told = state(after, average if after else 0, realised)
    before = Ledger(Account(ACCOUNT), net, None)
    return move(before, told, told, Decimal(0), net.version + 1, day).net


days = st.lists(st.lists(st.tuples(st.integers(-20, 20), st.integers(1, 99)), max_size=3), min_size=2, max_size=4)


@given(days, st.lists(st.integers(1, 99), min_size=4, max_size=4))
def test_a_carried_peak_is_as_far_from_the_mtm_after_midnight_as_before(
    traded_on: list[list[tuple[int, int]]], closes: list[int]
) -> None:
    net = Exposure(ACCOUNT, None, SBIN, Product.NRML, USER)
    day = TODAY - timedelta(days=len(traded_on))
    own = watch(BreachKind.TRAILING_STOP, 500, RiskLevel.INSTRUMENT, day=day, realised_before=Decimal(0))
    for fills, close in zip(traded_on, closes, strict=False):
        for quantity, paid in fills:
            net = traded(net, quantity, Decimal(paid), day)
        worth = mtm(net, close, day)
        own = replace(own, peak=worth)
        is_kept = net.opened_on is not None and net.opened_on < day
        peak = max(worth, own.carried_peak) if is_kept and own.carried_peak is not None else worth
        next_day = day + timedelta(days=1)
        carried = carried_into(net, next_day, is_kept)
        begun = begin_day(own, next_day, carried)
        assert begun.peak is None
        if net.quantity:
            assert begun.carried_peak is not None
            assert begun.carried_peak - mtm(net, close, next_day) == pytest.approx(peak - worth)
            assert begin_day(begun, next_day, carried) == begun, "once is enough"
        else:
            assert begun.carried_peak is None
        own, day = begun, next_day


def mtm(net: Exposure, last: int, day: date) -> Decimal:
    realised = net.realised_pnl if net.pnl_day == day else Decimal(0)
    return realised + net.quantity * (last - net.average_price)


def carried_into(net: Exposure, day: date, is_kept: bool) -> Carried:
    of_before = net.realised_pnl if net.pnl_day is not None and net.pnl_day < day else Decimal(0)
    return Carried(net.carried_into(day) != 0, is_kept, net.realised_before + of_before)


def test_a_peak_from_before_anybody_kept_what_was_realised_counts_on_its_own_day_only() -> None:
    own = watch(BreachKind.TRAILING_STOP, 500, RiskLevel.INSTRUMENT, peak=Decimal(1000))
    carried = Carried(is_open=True, is_kept=True, realised=Decimal(-200))
    assert begin_day(own, TODAY, carried).peak == 1000
    begun = begin_day(own, TODAY + timedelta(days=1), carried)
    assert (begun.peak, begun.carried_peak) == (None, None)
