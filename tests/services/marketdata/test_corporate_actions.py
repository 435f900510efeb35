import math
from datetime import date, timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.masters import CorporateActionKind
from services.marketdata.domain.corporate_actions import (
    Adjustment,
    CorporateAction,
    NotAdjustable,
    adjustment_factors,
    adjustment_on,
)

EX = date(2026, 3, 10)


def split(old: int, new: int, ex_date: date = EX) -> CorporateAction:
    return CorporateAction(CorporateActionKind.SPLIT, ex_date, old, new)


def bonus(old: int, new: int, ex_date: date = EX) -> CorporateAction:
    return CorporateAction(CorporateActionKind.BONUS, ex_date, old, new)


def dividend(amount: float, ex_date: date = EX) -> CorporateAction:
    return CorporateAction(CorporateActionKind.DIVIDEND, ex_date, amount=amount)


def test_a_split_of_one_into_five_divides_older_prices_and_multiplies_volumes() -> None:
    assert adjustment_factors([split(1, 5)], {}) == [Adjustment(EX, 0.2, 5.0)]


def test_a_bonus_of_one_for_two_leaves_two_thirds_of_the_price() -> None:
    (found,) = adjustment_factors([bonus(2, 1)], {})
    assert found.price == pytest.approx(2 / 3)
    assert found.volume == pytest.approx(1.5)


def test_a_dividend_comes_out_of_the_price_as_its_share_of_the_close_before_and_never_out_of_the_volume() -> None:
    assert adjustment_factors([dividend(5)], {EX: 100.0}) == [Adjustment(EX, 0.95, 1.0)]


def test_a_dividend_whose_close_is_unknown_is_said_to_be_so() -> None:
    with pytest.raises(NotAdjustable, match="2026-03-10"):
        adjustment_factors([dividend(5)], {})


def test_prices_from_before_two_actions_take_both() -> None:
    later = EX + timedelta(days=30)
    found = adjustment_factors([bonus(1, 1, later), split(1, 5)], {})
    assert found == [Adjustment(EX, 0.1, 10.0), Adjustment(later, 0.5, 2.0)]
    assert adjustment_on(found, EX - timedelta(days=1)) == found[0]
    assert adjustment_on(found, EX) == found[1]
    assert adjustment_on(found, later) is None


def test_a_dividend_after_a_split_is_a_share_of_the_price_that_was_traded_then() -> None:
    """100 is quartered to 25, of which 1 is paid: what was 100 is 24 today, on four times the shares."""
    later = EX + timedelta(days=30)
    found = adjustment_factors([split(1, 4), dividend(1, later)], {later: 25.0})
    assert [(each.before, each.volume) for each in found] == [(EX, 4.0), (later, 1.0)]
    assert [100 * found[0].price, 25 * found[1].price] == pytest.approx([24.0, 24.0])


def test_two_actions_of_one_day_make_one_adjustment() -> None:
    assert adjustment_factors([split(1, 2), bonus(1, 1)], {}) == [Adjustment(EX, 0.25, 4.0)]


@pytest.mark.parametrize("actions", list(permutations([split(3, 2), split(1, 5), split(10, 3)])))
def test_actions_that_come_out_even_adjust_nothing_in_whatever_order_they_are_told(
    actions: tuple[CorporateAction, ...],
) -> None:
    """In binary fractions they do so only in two orders of six."""
    assert adjustment_factors(actions, {}) == []


@pytest.mark.parametrize("back", [split(5, 1), split(10, 2)])
def test_prices_from_before_two_actions_that_take_each_other_back_are_as_they_were(back: CorporateAction) -> None:
    """A consolidation that is split again later: what was traded before both is what it would be today."""
    later = EX + timedelta(days=400)
    found = adjustment_factors([back, split(1, 5, later)], {})
    between, before = adjustment_on(found, EX), adjustment_on(found, EX - timedelta(days=1))
    assert between == Adjustment(later, 0.2, 5.0)
    assert before == Adjustment(EX, 1.0, 1.0)


@pytest.mark.parametrize("action", [split(0, 5), bonus(1, 0), split(1, -2)])
def test_an_impossible_ratio_is_refused(action: CorporateAction) -> None:
    with pytest.raises(NotAdjustable, match="must be positive"):
        adjustment_factors([action], {})


def test_a_dividend_as_large_as_the_price_is_refused() -> None:
    with pytest.raises(NotAdjustable, match="from a price of"):
        adjustment_factors([dividend(100)], {EX: 100.0})


_ACTIONS = st.lists(
    st.builds(
        CorporateAction,
        st.sampled_from((CorporateActionKind.SPLIT, CorporateActionKind.BONUS)),
        st.integers(0, 40).map(lambda days: EX + timedelta(days=days)),
        st.integers(1, 10),
        st.integers(1, 10),
    ),
    max_size=6,
)


_Shuffled = tuple[list[CorporateAction], list[CorporateAction]]


@given(_ACTIONS.flatmap(lambda actions: st.tuples(st.just(actions), st.permutations(actions))))
def test_a_day_takes_all_later_splits_and_bonuses_in_whatever_order_they_are_told(both: _Shuffled) -> None:
    actions, shuffled = both
    found = adjustment_factors(actions, {})
    for each in found:
        assert each.price * each.volume == pytest.approx(1)
    for day in {EX - timedelta(days=1), *(action.ex_date for action in actions)}:
        shares = math.prod(
            action.new / action.old if action.kind is CorporateActionKind.SPLIT else 1 + action.new / action.old
            for action in actions
            if action.ex_date > day
        )
        taken = adjustment_on(found, day)
        assert (taken.volume if taken else 1.0) == pytest.approx(shares)
    again = adjustment_factors(shuffled, {})
    assert [each.before for each in again] == [each.before for each in found]
    for one, other in zip(found, again, strict=True):
        assert one.price == pytest.approx(other.price)
