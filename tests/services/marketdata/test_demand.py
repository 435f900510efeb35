"""Which instruments a live feed carries, and which source of one counts."""

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.enums import Exchange, InstrumentKind, OptionType
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed
from services.marketdata.domain.demand import NearTheMoney, Reason, change, dealt, wanted
from services.marketdata.domain.sources import LONGEST_WAIT_S, Arbiter, wait_before

AT = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
names = st.integers(0, 30).map(lambda n: InstrumentId(f"NSE:I{n}"))
demands = st.dictionaries(st.sampled_from(Reason), st.sets(names), max_size=5)


def test_what_money_is_in_stays_when_the_feed_is_full() -> None:
    held, seen = InstrumentId("NSE:HELD"), InstrumentId("NSE:SEEN")
    now = wanted({Reason.VIEWER: {seen}, Reason.POSITION: {held}}, {held, seen}, most=1)
    assert (now.carried, now.dropped) == ((held,), (seen,))


def test_what_a_request_asked_for_goes_before_what_somebody_watches() -> None:
    watched, asked = InstrumentId("NSE:WATCHED"), InstrumentId("NSE:ASKED")
    now = wanted({Reason.ASKED: {asked}, Reason.VIEWER: {watched}}, {watched, asked}, most=1)
    assert (now.carried, now.dropped) == ((watched,), (asked,))


def test_of_equally_pressing_ones_that_with_more_reasons_stays() -> None:
    once, twice = InstrumentId("NSE:A"), InstrumentId("NSE:B")
    demand: dict[Reason, Collection[InstrumentId]] = {Reason.POSITION: {once, twice}, Reason.VIEWER: {twice}}
    assert wanted(demand, {once, twice}, most=1).carried == (twice,)


@given(demands, st.sets(names), st.integers(1, 40))
def test_nothing_is_carried_twice_beyond_the_limit_or_unasked(
    demand: dict[Reason, Collection[InstrumentId]], known: set[InstrumentId], most: int
) -> None:
    now = wanted(demand, known, most)
    asked = {each for instruments in demand.values() for each in instruments}
    assert len(now.carried) <= most
    assert set(now.carried) | set(now.dropped) == asked & known
    assert len({*now.carried, *now.dropped}) == len(now.carried) + len(now.dropped)


@given(st.lists(st.sets(names, max_size=10), min_size=1, max_size=4), st.integers(2, 12))
def test_every_instrument_has_one_connection_and_keeps_it(rounds: list[set[InstrumentId]], most: int) -> None:
    held: list[tuple[InstrumentId, ...]] = [(), (), (), (), ()]
    for asked in rounds:
        before, held = held, dealt(sorted(asked), held, most)
        assert sorted(i for hand in held for i in hand) == sorted(asked)
        for old, new in zip(before, held, strict=True):
            assert len(new) <= most
            told = change(old, new)
            assert set(told.unsubscribe).isdisjoint(asked)
            assert {*old, *told.subscribe} - {*told.unsubscribe} == set(new)


def test_an_underlying_means_its_spot_its_next_future_and_the_strikes_around_it() -> None:
    """Seen: only the next two weeks' options had prices, and algos on the month's were denied each entry for want of
    one until the last days of the month.
    """
    days = [date(2026, 12, day) for day in (1, 8, 15, 22, 29)]
    contracts = [option(strike, day) for strike in (20_000, 24_000, 28_000) for day in days]
    near = NearTheMoney(contracts)
    spot = InstrumentId("NSE_INDEX:NIFTY")
    assert near.spots == {spot}
    wanted_now = near.of("NIFTY", {})
    assert len(wanted_now) == 1 + 3 * 3
    assert {name for name in wanted_now if "24000" in name} == {
        f"NFO:NIFTY{day}DEC2624000CE" for day in ("01", "08", "29")
    }


def test_the_months_contract_is_meant_too_where_a_week_ends_behind_it() -> None:
    """April 2025 ended with a week, which a holiday had moved out of May; currencies have one most months, in futures,
    too. Seen: that week had a price, and the month's contract none until it was next.
    """
    april = [date(2025, 4, day) for day in (9, 17, 24, 30)]
    near = NearTheMoney([option(24_000, day) for day in april] + [future("NIFTY", april[2])])
    assert near.of("NIFTY", {}) >= {option(24_000, april[2]).instrument, future("NIFTY", april[2]).instrument}
    august = [date(2025, 8, day) for day in (8, 14, 22, 26, 29)]
    near = NearTheMoney([each for day in august for each in (future("USDINR", day), option(87, day, "USDINR"))])
    assert near.of("USDINR", {}) >= {future("USDINR", august[3]).instrument, option(87, august[3], "USDINR").instrument}


def option(strike: int, day: date, underlying: str = "NIFTY") -> InstrumentListed:
    name = f"{underlying}{day:%d%b%y}{strike}CE".upper()
    return InstrumentListed(
        instrument=InstrumentId(f"NFO:{name}"),
        exchange=Exchange.NFO,
        symbol=name,
        name=underlying,
        kind=InstrumentKind.OPTION,
        underlying=underlying,
        spot=InstrumentId(f"NSE_INDEX:{underlying}"),
        expiry=day,
        strike=Decimal(strike),
        option_type=OptionType.CE,
        lot_size=65,
        tick_size=Decimal("0.05"),
    )


def future(underlying: str, day: date) -> InstrumentListed:
    name = f"{underlying}{day:%d%b%y}FUT".upper()
    terms = {"instrument": InstrumentId(f"NFO:{name}"), "symbol": name, "kind": InstrumentKind.FUTURE}
    return option(0, day, underlying).model_copy(update={**terms, "strike": None, "option_type": None})


def test_a_second_source_counts_only_while_the_first_is_silent() -> None:
    arbiter = Arbiter(timedelta(seconds=3))
    sbin = InstrumentId("NSE:SBIN")
    assert arbiter.admits(0, sbin, AT)
    assert not arbiter.admits(1, sbin, AT + timedelta(seconds=2))
    assert arbiter.admits(1, sbin, AT + timedelta(seconds=4))
    assert (arbiter.counting(sbin), arbiter.takeovers) == (1, 1)
    assert arbiter.admits(0, sbin, AT + timedelta(seconds=5))
    assert not arbiter.admits(1, sbin, AT + timedelta(seconds=6))


def test_what_one_source_never_had_another_gives_at_once() -> None:
    assert Arbiter(timedelta(seconds=3)).admits(1, InstrumentId("NSE:SBIN"), AT)


@given(st.integers(1, 1_000), st.floats(0, 1, exclude_max=True))
def test_waits_grow_to_half_a_minute_and_never_end(attempt: int, drawn: float) -> None:
    assert 0 < wait_before(attempt, lambda: drawn) <= LONGEST_WAIT_S
