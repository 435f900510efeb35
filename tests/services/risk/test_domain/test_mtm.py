"""The vectors say what a plain loop over exact figures says; a watch fires when it should, and never on bad prices."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common import ids
from libs.common.clock import FixedClock
from libs.common.contracts.enums import BreachKind, Product, RiskLevel
from libs.common.contracts.ids import AccountId, InstrumentId, StrategyId, UserId
from services.risk.domain.ledger import Exposure
from services.risk.domain.mtm import Book, scope_of
from services.risk.domain.watches import Watches
from tests.services.risk.scene import (
    ACCOUNT,
    INFY,
    NOW,
    OTHER_ACCOUNT,
    SBIN,
    STRATEGY,
    TODAY,
    USER,
    conflated,
    quote,
)
from tests.services.risk.test_domain.watching import held, price, watch, watching

USERS = [UserId(ids.new_id()) for _ in range(2)]
ACCOUNTS = [AccountId(ids.new_id()) for _ in range(4)]
STRATEGIES = [StrategyId(ids.new_id()) for _ in range(3)]
INSTRUMENTS = [InstrumentId(f"NSE:S{n}") for n in range(5)]


paise = st.integers(1, 10**7).map(lambda n: Decimal(n) / 100)
position_rows = st.builds(
    lambda place, product, quantity, average, realised, of_today: replace(
        Exposure(
            ACCOUNTS[place[0]],
            STRATEGIES[place[2]] if place[2] < len(STRATEGIES) else None,
            INSTRUMENTS[place[1]],
            product,
            USERS[place[0] % 2],
        ),
        quantity=quantity,
        average_price=average,
        realised_pnl=realised,
        pnl_day=TODAY if of_today else TODAY - timedelta(days=1),
        version=1,
    ),
    st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 3)),
    st.sampled_from((Product.MIS, Product.CNC)),
    st.integers(-(10**4), 10**4),
    paise,
    st.integers(-(10**7), 10**7).map(lambda n: Decimal(n) / 100),
    st.booleans(),
)


@given(rows=st.lists(position_rows, max_size=40), last=st.lists(paise, min_size=5, max_size=5))
def test_revaluation_equals_a_plain_loop_over_decimals(rows: list[Exposure], last: list[Decimal]) -> None:
    unique = {(r.account_id, r.strategy_id, r.instrument, r.product): r for r in rows}
    book = Book()
    for row in unique.values():
        book.put(row, TODAY)
    quotes = [quote(name, float(each), NOW) for name, each in zip(INSTRUMENTS, last, strict=True)]
    book.prices.take(quotes, NOW, timedelta(seconds=15))
    book.revalue(TODAY)

    def naive(level: RiskLevel, scope: object) -> Decimal:
        total = Decimal(0)
        for row in unique.values():
            of_strategy = row.strategy_id is not None
            if of_strategy is not (level is RiskLevel.STRATEGY):
                continue
            scopes = {
                RiskLevel.INSTRUMENT: (row.user_id, row.account_id, row.instrument),
                RiskLevel.STRATEGY: (row.user_id, row.strategy_id),
                RiskLevel.ACCOUNT: (row.user_id, row.account_id),
                RiskLevel.USER: row.user_id,
            }
            if scopes[level] == scope:
                total += row.quantity * (last[INSTRUMENTS.index(row.instrument)] - row.average_price)
                total += row.realised_pnl if row.pnl_day == TODAY else 0
        return total

    for row in unique.values():
        for level, scope in (
            (RiskLevel.INSTRUMENT, (row.user_id, row.account_id, row.instrument)),
            (RiskLevel.STRATEGY, (row.user_id, row.strategy_id)),
            (RiskLevel.ACCOUNT, (row.user_id, row.account_id)),
            (RiskLevel.USER, row.user_id),
        ):
            assert book.mtm(level, scope) == pytest.approx(float(naive(level, scope)), abs=0.01)


@given(rows=st.lists(position_rows, max_size=40), last=st.lists(paise, min_size=5, max_size=5))
def test_a_process_that_lives_for_days_knows_what_one_that_was_just_started_does(
    rows: list[Exposure], last: list[Decimal]
) -> None:
    unique = {(r.account_id, r.strategy_id, r.instrument, r.product): r for r in rows}
    alive, fresh = Book(), Book()
    later = TODAY + timedelta(days=2)
    for book, day in (alive, TODAY), (fresh, later):
        for row in unique.values():
            book.put(row, day)
        quotes = [quote(name, float(each), NOW) for name, each in zip(INSTRUMENTS, last, strict=True)]
        book.prices.take(quotes, NOW, timedelta(seconds=15))
    for day in (TODAY, TODAY + timedelta(days=1), later):
        alive.revalue(day)
    fresh.revalue(later)
    for row in unique.values():
        for level in (RiskLevel.INSTRUMENT, RiskLevel.STRATEGY, RiskLevel.ACCOUNT, RiskLevel.USER):
            scope = scope_of(level, row)
            assert alive.mtm(level, scope) == pytest.approx(fresh.mtm(level, scope), abs=0.01)
            assert alive.open_positions(level, scope) == fresh.open_positions(level, scope)
    assert len(alive.net) + len(alive.books) == sum(row.quantity != 0 for row in unique.values())


def test_what_is_flat_since_the_day_before_yesterday_is_not_valued_for_ever() -> None:
    """A process that lived for months took longer and longer for each look at the prices."""
    memory = watching(watch(BreachKind.STOP_LOSS, 500))
    for n in range(3000):
        name = InstrumentId(f"NFO:S{n}")
        memory.hold([held(10, instrument=name), held(0, 0, instrument=name, realised_pnl=Decimal(-1), version=2)])
    memory.hold([held(10)])
    price(memory, 100.0)
    assert memory.book.mtm(RiskLevel.ACCOUNT, (USER, ACCOUNT)) == -3000
    for day in (1, 2):
        memory.clock = FixedClock(NOW + timedelta(days=day))
        memory.revalue()
    assert len(memory.book.net) == 1
    memory.hold([held(10, instrument=INFY, pnl_day=TODAY + timedelta(days=2), version=3)])
    price(memory, 100.0, INFY)
    assert [each.kind for each in price(memory, 50.0)] == [BreachKind.STOP_LOSS]


def test_a_thousand_positions_more_than_there_was_room_for() -> None:
    book = Book()
    for n in range(3000):
        book.put(held(1, 10, instrument=InstrumentId(f"NSE:S{n}")), TODAY)
    quotes = [quote(InstrumentId(f"NSE:S{n}"), 12.0) for n in range(3000)]
    book.prices.take(quotes, NOW, timedelta(seconds=15))
    book.revalue(TODAY)
    assert book.mtm(RiskLevel.ACCOUNT, (USER, ACCOUNT)) == 6000
    assert book.open_positions(RiskLevel.USER, USER) == 3000


def test_an_older_version_of_a_position_is_passed_over() -> None:
    book = Book()
    book.put(held(10, version=5), TODAY)
    book.put(held(20, version=4), TODAY)
    book.prices.take([quote(SBIN, 101.0)], NOW, timedelta(seconds=15))
    book.revalue(TODAY)
    assert book.mtm(RiskLevel.ACCOUNT, (USER, ACCOUNT)) == 10


def test_openalgo_1426_a_position_carried_overnight_keeps_its_average_and_loses_its_realised_profit() -> None:
    book = Book()
    book.put(held(10, 100, realised_pnl=Decimal(500)), TODAY)
    book.prices.take([quote(SBIN, 110.0)], NOW, timedelta(seconds=15))
    book.revalue(TODAY)
    assert book.mtm(RiskLevel.USER, USER) == 600
    book.revalue(TODAY + timedelta(days=1))
    assert book.mtm(RiskLevel.USER, USER) == 100


@pytest.mark.parametrize(
    ("kind", "quiet", "firing"),
    [
        (BreachKind.STOP_LOSS, 50.05, 50.0),
        (BreachKind.DAILY_LOSS, 50.05, 50.0),
        (BreachKind.TARGET, 149.95, 150.0),
        (BreachKind.TRAILING_STOP, 70.05, 70.0),
    ],
)
def test_openalgo_223_each_kind_fires_at_its_amount_and_not_before(
    kind: BreachKind, quiet: float, firing: float
) -> None:
    memory = watching(watch(kind, 500))
    memory.hold([held(10)])
    assert price(memory, 120.0) == []
    assert price(memory, quiet) == []
    assert [each.kind for each in price(memory, firing)] == [kind]


@pytest.mark.parametrize("level", [RiskLevel.INSTRUMENT, RiskLevel.STRATEGY, RiskLevel.ACCOUNT, RiskLevel.USER])
def test_every_level_counts_its_own_positions_only(level: RiskLevel) -> None:
    memory = watching(watch(BreachKind.STOP_LOSS, 500, level))
    elsewhere = AccountId(ids.new_id())
    foreign = replace(held(100, account_id=elsewhere), user_id=UserId(ids.new_id()))
    memory.hold([held(10), held(10, strategy_id=STRATEGY), foreign])
    assert price(memory, 51.0) == []
    assert [each.level for each in price(memory, 50.0)] == [level]


def test_openalgo_1694_two_strategies_in_one_symbol_have_their_own_mtm() -> None:
    memory = watching(watch(BreachKind.STOP_LOSS, 500, RiskLevel.STRATEGY))
    other = StrategyId(ids.new_id())
    memory.hold([held(0), held(10, 100, strategy_id=STRATEGY), held(-10, 100, strategy_id=other)])
    assert [each.strategy_id for each in price(memory, 40.0)] == [STRATEGY]
    assert memory.book.mtm(RiskLevel.ACCOUNT, (USER, ACCOUNT)) == 0


def test_a_limit_on_somebody_elses_account_watches_nothing() -> None:
    memory = watching(watch(BreachKind.STOP_LOSS, 500, user_id=UserId(ids.new_id())))
    memory.hold([held(10)])
    assert price(memory, 1.0) == []


def test_a_user_is_watched_over_all_accounts() -> None:
    memory = watching(watch(BreachKind.STOP_LOSS, 1000, RiskLevel.USER))
    memory.hold([held(10), held(10, account_id=OTHER_ACCOUNT)])
    assert price(memory, 51.0) == []
    assert len(price(memory, 50.0)) == 1


def test_a_stale_price_never_fires() -> None:
    memory = watching(watch(BreachKind.STOP_LOSS, 500))
    memory.hold([held(10)])
    assert price(memory, 100.0) == []
    assert price(memory, 10.0, age=16) == [], "a price that was old when it came"
    memory = watching(watch(BreachKind.STOP_LOSS, 500))
    memory.hold([held(10)])
    assert price(memory, 10.0, age=16) == [], "not even when it is the only one"


def test_a_source_that_stopped_fires_nothing_when_time_goes_by() -> None:
    memory = watching(watch(BreachKind.STOP_LOSS, 500))
    memory.take([conflated(quote(SBIN, 10.0))])
    memory.clock = FixedClock(NOW + timedelta(seconds=16))
    memory.hold([held(10)])
    memory.revalue()
    assert memory.crossed == {}


def test_a_zero_price_never_fires() -> None:
    memory = watching(watch(BreachKind.STOP_LOSS, 500))
    memory.hold([held(10)])
    assert price(memory, 100.0) == []
    assert price(memory, 0.0) == []
    assert price(memory, float("nan")) == []
    assert price(memory, -5.0) == []


def test_half_a_hedge_fires_nothing_while_the_other_half_has_no_price() -> None:
    memory = watching(watch(BreachKind.STOP_LOSS, 500), watch(BreachKind.TRAILING_STOP, 500))
    memory.hold([held(10), held(-10, instrument=INFY)])
    assert price(memory, 10.0) == []
    assert price(memory, 10.0, INFY) == [], "the hedge is worth what the other half lost"


def test_the_price_of_an_instrument_is_known_before_anybody_holds_it() -> None:
    memory = watching(watch(BreachKind.STOP_LOSS, 500))
    price(memory, 100.0)
    memory.hold([held(10, 150)])
    memory.revalue()
    assert len(memory.crossed) == 1


def test_nothing_but_a_daily_loss_fires_when_nothing_is_open() -> None:
    kinds = (BreachKind.STOP_LOSS, BreachKind.TRAILING_STOP, BreachKind.DAILY_LOSS)
    memory = watching(*(watch(kind, 500) for kind in kinds))
    memory.hold([held(0, 0, realised_pnl=Decimal(-600))])
    memory.revalue()
    assert [each.watch.kind for each in memory.crossed.values()] == [BreachKind.DAILY_LOSS]


def test_what_was_reached_again_while_the_breach_was_told_is_not_told_again() -> None:
    stop = watch(BreachKind.STOP_LOSS, 500)
    memory = watching(stop)
    memory.hold([held(100)])
    assert price(memory, 95) == [stop]
    assert memory.is_reached(stop)
    memory.rewatch({stop.limit_id: [replace(stop, armed=False)]})
    assert not memory.is_reached(stop)
    memory.rewatch({stop.limit_id: [replace(stop, baseline=Decimal(-500))]})
    assert not memory.is_reached(stop)


def test_a_fired_watch_is_quiet_until_its_scope_is_flat() -> None:
    memory = watching(watch(BreachKind.STOP_LOSS, 500, armed=False))
    memory.hold([held(10)])
    assert price(memory, 10.0) == []
    assert memory.flat == {}
    memory.hold([held(0, 0, realised_pnl=Decimal(-900), version=2)])
    memory.revalue()
    assert len(memory.flat) == 1


def test_a_watch_armed_anew_measures_from_what_was_lost_before() -> None:
    memory = watching(watch(BreachKind.STOP_LOSS, 500, baseline=Decimal(-900)))
    memory.hold([held(10, realised_pnl=Decimal(-900))])
    assert price(memory, 51.0) == []
    assert len(price(memory, 50.0)) == 1


def test_freqtrade_9662_a_trailing_stop_remembers_its_peak_over_a_restart() -> None:
    before = watch(BreachKind.TRAILING_STOP, 500)
    memory = watching(before)
    memory.hold([held(10)])
    price(memory, 200.0)
    [(kept, peak)] = memory.watches.raised_peaks()
    assert (kept.limit_id, peak) == (before.limit_id, Decimal(1000))
    assert memory.watches.raised_peaks() == [], "kept once"
    after = watching(replace(before, peak=peak))
    after.hold([held(10)])
    assert len(price(after, 150.0)) == 1


def test_a_peak_that_is_not_written_yet_outlives_a_reload_of_its_limit() -> None:
    own = watch(BreachKind.TRAILING_STOP, 500)
    memory = watching(own)
    memory.hold([held(10)])
    price(memory, 200.0)
    memory.rewatch({own.limit_id: [own, watch(BreachKind.TARGET, 10**6, limit_id=own.limit_id)]})
    assert len(price(memory, 150.0)) == 1
    assert [peak for _, peak in memory.watches.raised_peaks()] == [1000]


def test_each_day_arms_every_watch_and_forgets_the_peak() -> None:
    kinds = (BreachKind.DAILY_LOSS, BreachKind.STOP_LOSS, BreachKind.TRAILING_STOP)
    watches = Watches()
    book = Book()
    book.put(held(10, 100), TODAY)
    book.prices.take([quote(SBIN, 40.0)], NOW, timedelta(seconds=15))
    for kind in kinds:
        own = watch(kind, 500, armed=False, peak=Decimal(1000))
        watches.replace(own.limit_id, [own])

    def fired(day: date) -> list[BreachKind]:
        book.revalue(day)
        return [each.watch.kind for each in watches.step(book, day, has_begun=True)[0]]

    tomorrow, then = TODAY + timedelta(days=1), NOW + timedelta(days=1)
    assert fired(TODAY) == []
    assert fired(tomorrow) == [BreachKind.STOP_LOSS], "today's loss is not lost tomorrow again"
    book.prices.take([quote(SBIN, 0.5, then, 50.5)], then, timedelta(seconds=15))
    assert set(fired(tomorrow)) == set(kinds) - {BreachKind.TRAILING_STOP}


def test_a_deleted_limit_watches_nothing() -> None:
    own = watch(BreachKind.STOP_LOSS, 500)
    memory = watching(own)
    memory.hold([held(10)])
    memory.rewatch({own.limit_id: []})
    assert price(memory, 10.0) == []


def test_a_changed_limit_starts_without_the_old_peak() -> None:
    own = watch(BreachKind.TRAILING_STOP, 500)
    memory = watching(own)
    memory.hold([held(10)])
    price(memory, 200.0)
    memory.rewatch({own.limit_id: [replace(own, version=2)]})
    assert memory.watches.raised_peaks() == []
    assert price(memory, 140.0) == []
    assert [peak for _, peak in memory.watches.raised_peaks()] == [400]


def test_a_watch_that_another_instance_told_and_armed_again_starts_without_the_old_peak() -> None:
    """The next position was squared off as soon as it was opened."""
    own = watch(BreachKind.TRAILING_STOP, 500)
    memory = watching(own)
    memory.hold([held(10)])
    price(memory, 200.0)
    memory.rewatch({own.limit_id: [replace(own, baseline=Decimal(500))]})
    realised = Decimal(500)
    memory.hold([held(0, realised_pnl=realised, version=2), held(10, 150, realised_pnl=realised, version=3)])
    assert price(memory, 150.0) == []
    assert [peak for _, peak in memory.watches.raised_peaks()] == [500]
    assert len(price(memory, 100.0)) == 1


def test_a_stale_price_moves_nothing_even_while_others_are_fresh() -> None:
    memory = watching(watch(BreachKind.STOP_LOSS, 500))
    memory.hold([held(10), held(10, instrument=INFY)])
    price(memory, 100.0)
    price(memory, 100.0, INFY)
    assert price(memory, 10.0, age=16) == []
    assert price(memory, 99.0, INFY) == []


def test_a_peak_is_not_raised_by_half_a_hedge() -> None:
    memory = watching(watch(BreachKind.TRAILING_STOP, 500))
    memory.hold([held(10), held(-10, instrument=INFY)])
    price(memory, 200.0)
    assert price(memory, 200.0, INFY) == []


def test_a_daily_loss_that_was_hit_is_not_armed_again_today() -> None:
    memory = watching(watch(BreachKind.DAILY_LOSS, 500, armed=False))
    memory.hold([held(0, 0, realised_pnl=Decimal(-900))])
    memory.revalue()
    assert memory.flat == {}
