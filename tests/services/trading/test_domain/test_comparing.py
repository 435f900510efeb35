"""What counts as a difference between our positions and a broker's, whatever is seen in whatever order."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.enums import Product
from libs.common.contracts.ids import CorrelationId
from libs.common.testing import NOON
from services.trading.domain import comparing
from services.trading.domain.comparing import Comparison, Difference, Ours, Theirs
from tests.services.trading.making import ACCOUNT, SBIN

NAMES = {"NSE:SBIN": SBIN}
looks = st.tuples(st.integers(-2, 2), st.integers(-2, 2), st.integers(0, 3), st.booleans())
"""Ours, theirs, the version of our position, whether an order is under way."""


def look(before: Comparison, ours: int, theirs: int, mark: int = 0, *, moves: bool = False) -> Comparison:
    own = [Ours("NSE:SBIN", Product.MIS, ours, mark)]
    shown = [Theirs("NSE:SBIN", SBIN, Product.MIS, theirs)]
    return comparing.compare(before, own, shown, ["NSE:SBIN"] if moves else [], NAMES, NOON)


def told(after: Comparison) -> list[tuple[int, int]]:
    return [(each.ours, each.theirs) for each in after.told]


def test_a_difference_counts_when_it_is_seen_a_second_time() -> None:
    once = look(Comparison(ACCOUNT), 10, 0)
    assert told(once) == []
    assert told(look(once, 10, 0)) == [(10, 0)]


def test_a_fill_in_between_begins_anew_though_the_quantities_are_the_same() -> None:
    once = look(Comparison(ACCOUNT), 10, 0, mark=3)
    bought_and_sold = look(once, 10, 0, mark=5)
    assert told(bought_and_sold) == []
    assert told(look(bought_and_sold, 10, 0, mark=5)) == [(10, 0)]


def test_an_order_in_between_begins_anew() -> None:
    once = look(Comparison(ACCOUNT), 10, 0)
    moving = look(once, 10, 0, moves=True)
    assert told(look(moving, 10, 0)) == []


def test_what_was_told_stays_while_an_order_is_under_way_and_goes_when_it_is_gone() -> None:
    known = look(look(Comparison(ACCOUNT), 10, 0), 10, 0)
    assert told(look(known, 10, 10, moves=True)) == [(10, 0)]
    assert told(look(known, 10, 10)) == []


def test_another_difference_replaces_it_once_it_is_sure() -> None:
    known = look(look(Comparison(ACCOUNT), 10, 0), 10, 0)
    once = look(known, 10, 4)
    assert told(once) == [(10, 0)], "until then what was known stands"
    assert told(look(once, 10, 4)) == [(10, 4)]


def test_a_failed_look_makes_what_was_seen_once_unseen() -> None:
    failed = comparing.failed(look(Comparison(ACCOUNT), 10, 0), "it does not answer")
    assert told(look(failed, 10, 0)) == []


@given(st.lists(looks, max_size=12))
def test_whatever_is_told_was_seen_twice_in_a_row_at_rest(seen: list[tuple[int, int, int, bool]]) -> None:
    state = Comparison(ACCOUNT)
    at_rest: list[tuple[int, int, int]] = []
    ever: set[tuple[int, int]] = set()
    for ours, theirs, mark, moves in seen:
        before, state = state, look(state, ours, theirs, mark, moves=moves)
        if moves:
            at_rest = []
            assert told(state) == told(before)
            continue
        now = (ours, theirs, mark)
        if at_rest and at_rest[-1] == now:
            ever.add((ours, theirs))
            if ours != theirs:
                assert told(state) == [(ours, theirs)]
        at_rest.append(now)
        assert set(told(state)) <= ever
        if ours == theirs:
            assert told(state) == []


def test_those_who_asked_wait_for_the_second_look_and_no_longer() -> None:
    asked = Comparison(ACCOUNT, requests=(CorrelationId(ACCOUNT),))
    assert comparing.answers(look(asked, 5, 5))
    once = look(asked, 5, 0)
    assert not comparing.answers(once)
    assert comparing.answers(look(once, 5, 1)), "it changes all the time; whoever asked hears what is sure"
    assert comparing.answers(comparing.failed(asked, "it does not answer"))


def test_it_is_news_when_the_differences_change_and_not_that_they_stay() -> None:
    difference = Difference("NSE:SBIN", SBIN, Product.MIS, 1, 2)
    kept = Comparison(ACCOUNT, told=(difference,), compared_at=NOON - timedelta(minutes=1), version=1)
    assert not comparing.is_news(kept, look(kept, 1, 2, mark=9))
    assert comparing.is_news(kept, look(kept, 1, 1))
