"""The vectors say what a plain loop over exact figures says; a watch fires when it should, and never on bad prices."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common import ids
from libs.common.clock import FixedClock
from libs.common.contracts.enums import BreachKind, Product, RiskLevel
from libs.common.contracts.ids import AccountId, InstrumentId, RiskLimitId, StrategyId, UserId
from services.risk.domain.ledger import Account, Exposure, Ledger, move
from services.risk.domain.mtm import Book
from services.risk.domain.watches import Watch, Watches
from services.risk.memory import RiskMemory
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
    state,
)

USERS = [UserId(ids.new_id()) for _ in range(2)]
ACCOUNTS = [AccountId(ids.new_id()) for _ in range(4)]
STRATEGIES = [StrategyId(ids.new_id()) for _ in range(3)]
INSTRUMENTS = [InstrumentId(f"NSE:S{n}") for n in range(5)]


def held(quantity: int, average: Any = 100, **terms: Any) -> Exposure:
    facts: dict[str, Any] = {"pnl_day": TODAY, "version": 1, **terms}
    where = (facts.pop("account_id", ACCOUNT), facts.pop("strategy_id", None), facts.pop("instrument", SBIN))
    return Exposure(
        *where, facts.pop("product", Product.MIS), USER, quantity=quantity, average_price=Decimal(average), **facts
    )


def watch(kind: BreachKind, amount: int, level: RiskLevel = RiskLevel.ACCOUNT, **terms: Any) -> Watch:
    in_account = level in (RiskLevel.ACCOUNT, RiskLevel.INSTRUMENT)
    facts: dict[str, Any] = {
        "limit_id": RiskLimitId(ids.new_id()),
        "version": 1,
        "user_id": USER,
        "account_id": ACCOUNT if in_account else None,
        "strategy_id": STRATEGY if level is RiskLevel.STRATEGY else None,
        "instrument": SBIN if level is RiskLevel.INSTRUMENT else None,
        "armed": True,
        "day": TODAY,
        "baseline": Decimal(0),
        "peak": None,
        **terms,
    }
    return Watch(kind=kind, amount=Decimal(amount), level=level, **facts)


def watching(*watches: Watch) -> RiskMemory:
    memory = RiskMemory()
    memory.clock = FixedClock(NOW)
    memory.rewatch({each.limit_id: [each] for each in watches})
    return memory


def price(memory: RiskMemory, last: float, instrument: InstrumentId = SBIN, age: float = 0) -> list[Watch]:
    """What a new price makes fire."""
    memory.crossed.clear()
    memory.take([conflated(quote(instrument, last, memory.clock.now() - timedelta(seconds=age)))])
    memory.revalue()
    return [each.watch for each in memory.crossed.values()]


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
        return [each.watch.kind for each in watches.step(book, day)[0]]

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


def hedged(*watches: Watch) -> RiskMemory:
    """Long one share, short another: what one loses the other makes. Both had a price some minutes ago."""
    memory = watching(*watches)
    memory.hold([held(10, 800), held(-10, 800, instrument=INFY)])
    price(memory, 800.0)
    price(memory, 800.0, INFY)
    pass_time(memory, 300)
    return memory


def pass_time(memory: RiskMemory, seconds: float) -> None:
    memory.clock = FixedClock(memory.clock.now() + timedelta(seconds=seconds))


STOPS = (BreachKind.STOP_LOSS, BreachKind.TRAILING_STOP, BreachKind.DAILY_LOSS)


@pytest.mark.parametrize("kind", STOPS)
def test_the_leg_that_comes_first_after_a_silence_is_not_valued_against_the_old_price_of_its_hedge(
    kind: BreachKind,
) -> None:
    """At 9:15, and when a feed comes back, prices come one after the other: hedges were closed for a loss of 0.2 s."""
    memory = hedged(watch(kind, 500))
    assert price(memory, 740.0) == []
    pass_time(memory, 0.2)
    assert price(memory, 740.0, INFY) == []
    pass_time(memory, 1)
    assert price(memory, 740.0) == []


def test_a_peak_is_not_raised_by_the_leg_that_comes_first() -> None:
    memory = hedged(watch(BreachKind.TRAILING_STOP, 500))
    assert price(memory, 900.0) == []
    pass_time(memory, 0.2)
    assert price(memory, 900.0, INFY) == [], "the two never were worth a rupee more"


@pytest.mark.parametrize("kind", STOPS)
def test_a_loss_that_is_there_when_the_last_leg_is_back_fires_at_once(kind: BreachKind) -> None:
    memory = hedged(watch(kind, 500))
    price(memory, 740.0)
    pass_time(memory, 0.2)
    assert [each.kind for each in price(memory, 795.0, INFY)] == [kind]


@pytest.mark.parametrize("kind", STOPS)
def test_a_leg_that_stays_silent_holds_up_a_stop_for_no_longer_than_a_price_may_be_old(kind: BreachKind) -> None:
    memory = hedged(watch(kind, 500))
    assert price(memory, 740.0) == []
    pass_time(memory, 14.9)
    assert price(memory, 739.0) == []
    pass_time(memory, 0.2)
    assert [each.kind for each in price(memory, 739.0)] == [kind]


def test_a_leg_that_is_seldom_traded_holds_up_nothing_while_its_market_is_open() -> None:
    memory = hedged(watch(BreachKind.STOP_LOSS, 500))
    for _ in range(4):
        pass_time(memory, 10)
        assert price(memory, 800.0) == []
    pass_time(memory, 1)
    assert len(price(memory, 740.0)) == 1


def test_a_market_that_is_closed_holds_up_nothing_of_another() -> None:
    gold = InstrumentId("MCX:GOLDPETAL30NOV26FUT")
    memory = watching(watch(BreachKind.STOP_LOSS, 500))
    memory.hold([held(10, 800), held(10, 800, instrument=gold)])
    for instrument in (SBIN, gold):
        assert price(memory, 800.0, instrument) == []
    for _ in range(4):
        pass_time(memory, 14)
        assert price(memory, 800.0, gold) == []
    pass_time(memory, 1)
    assert len(price(memory, 740.0, gold)) == 1


@given(st.lists(st.integers(1, 200), min_size=1, max_size=12), st.integers(0, 3))
def test_a_loss_that_lasts_is_never_missed_however_seldom_prices_come(pauses: list[int], silent: int) -> None:
    """At the latest it fires at the first price after `pauses` of which one is outside of what a silence holds up."""
    memory = watching(watch(BreachKind.STOP_LOSS, 500))
    memory.hold([held(10, 800), held(10, 800, instrument=INFY)])
    price(memory, 800.0)
    price(memory, 800.0, INFY)
    lost_for, fired = 0, False
    for seconds in pauses:
        pass_time(memory, seconds)
        lost_for += seconds
        fired = bool(price(memory, 740.0)) or fired
    pass_time(memory, silent)
    price(memory, 740.0)
    for seconds in (16, 16, 16):
        pass_time(memory, seconds)
        fired = bool(price(memory, 740.0)) or fired
    assert fired


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(700, 900), st.floats(0, 14), st.sampled_from((0, 0.1, 5)), st.booleans()),
        max_size=12,
    )
)
def test_a_hedge_whose_legs_come_back_one_after_the_other_never_fires(
    steps: list[tuple[bool, int, float, float, bool]],
) -> None:
    """Both legs always have the same price, which the second tells up to 14 s after the first when a market was silent,
    and together while it is not.
    """
    memory = hedged(watch(BreachKind.STOP_LOSS, 900), watch(BreachKind.TRAILING_STOP, 900))
    for sbin_first, last, between, pause, goes_silent in steps:
        if goes_silent:
            pass_time(memory, 100)
            assert price(memory, float(last), SBIN if sbin_first else INFY) == []
            pass_time(memory, between)
            assert price(memory, float(last), INFY if sbin_first else SBIN) == []
        pass_time(memory, pause)
        memory.take([conflated(*(quote(each, float(last), memory.clock.now()) for each in (SBIN, INFY)))])
        memory.revalue()
        assert not memory.crossed
