"""When a market opens or a feed comes back, prices come one after the other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.enums import BreachKind, FeedSource
from libs.common.contracts.ids import InstrumentId
from services.risk.domain.watches import Watch
from services.risk.memory import RiskMemory
from tests.services.risk.scene import (
    INFY,
    SBIN,
    conflated,
    quote,
)
from tests.services.risk.test_domain.watching import held, pass_time, price, watch, watching


def hedged(*watches: Watch) -> RiskMemory:
    """Long one share, short another: what one loses the other makes. Both had a price some minutes ago."""
    memory = watching(*watches)
    memory.hold([held(10, 800), held(-10, 800, instrument=INFY)])
    price(memory, 800.0)
    price(memory, 800.0, INFY)
    pass_time(memory, 300)
    return memory


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


def untraded(memory: RiskMemory, last: float, instrument: InstrumentId = SBIN) -> list[Watch]:
    """A broker repeats the last price of a day before, beside the book of now, until something is traded."""
    memory.crossed.clear()
    now = {"source": FeedSource.LIVE, "volume": 0}
    memory.take([conflated(quote(instrument, last, memory.clock.now()).model_copy(update=now))])
    memory.revalue()
    return [each.watch for each in memory.crossed.values()]


@pytest.mark.parametrize("kind", STOPS)
def test_a_leg_whose_book_comes_before_its_first_trade_has_no_price_of_today_yet(kind: BreachKind) -> None:
    memory = hedged(watch(kind, 500))
    assert untraded(memory, 800.0, INFY) == []
    assert price(memory, 740.0) == []
    pass_time(memory, 0.2)
    assert price(memory, 740.0, INFY) == []


@pytest.mark.parametrize(("kind", "average"), [(BreachKind.STOP_LOSS, 200), (BreachKind.TARGET, 20)])
def test_what_was_bought_from_the_book_is_not_closed_for_its_price_of_a_day_before(
    kind: BreachKind, average: int
) -> None:
    memory = watching(watch(kind, 500))
    assert untraded(memory, 100.0) == []
    memory.hold([held(10, average)])
    for _ in range(3):
        pass_time(memory, 10)
        assert untraded(memory, 100.0) == []
    assert [each.kind for each in price(memory, 100.0)] == [kind]


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
