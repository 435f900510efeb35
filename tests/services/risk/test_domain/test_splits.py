"""At a broker nobody books a split or bonus: what limits see is as if it were booked, whatever is traded then."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.enums import Product
from libs.common.contracts.portfolio import PositionState
from services.risk.domain import ledger as books
from services.risk.domain.ledger import Account, Exposure, Ledger
from services.risk.domain.splits import ShareAction, with_unbooked
from tests.services.risk.scene import ACCOUNT, SBIN, TODAY, USER, state

EVE = TODAY - timedelta(days=1)
SPLIT = ShareAction(TODAY, 1, 2)
actions = st.builds(ShareAction, st.just(TODAY), st.integers(1, 10), st.integers(1, 10))
fills = st.tuples(st.integers(-300, 300).filter(bool), st.integers(1, 2000))


def held(quantity: int = 100, average: int = 1000, day: date = EVE) -> Exposure:
    facts: dict[str, Any] = {"average_price": Decimal(average), "pnl_day": day, "version": 1, "opened_on": day}
    return Exposure(ACCOUNT, None, SBIN, Product.CNC, USER, quantity=quantity, **facts)


def shares(exposure: Exposure) -> Decimal:
    return exposure.quantity + exposure.unbooked


def worth(exposure: Exposure, price: int) -> Decimal:
    """What limits see of it at that price."""
    return shares(exposure) * price - exposure.quantity * exposure.average_price + exposure.made_on_day


def traded(exposure: Exposure, signed: int, price: int, day: date = TODAY) -> Exposure:
    """As trading books it, at average cost."""
    quantity, average = exposure.quantity, exposure.average_price
    made = exposure.realised_pnl if exposure.pnl_day == day else Decimal(0)
    after = quantity + signed
    if quantity * signed < 0:
        closed = min(abs(signed), abs(quantity)) * (1 if quantity > 0 else -1)
        made += closed * (price - average)
        average = Decimal(0) if not after else average if after * quantity > 0 else Decimal(price)
    else:
        average = (quantity * average + signed * price) / after
    return moved(exposure, state(after, average, made), day)


def moved(exposure: Exposure, told: PositionState, day: date = TODAY) -> Exposure:
    account = Ledger(Account(ACCOUNT), exposure, None)
    return books.move(account, told, told, Decimal(0), exposure.version + 1, day).net


@pytest.mark.parametrize(
    ("due", "expected"),
    [
        ([SPLIT], 200),
        ([ShareAction(TODAY, 2, 3)], 150),
        ([ShareAction(TODAY, 10, 1)], 10),
        ([SPLIT, ShareAction(TODAY, 2, 3)], 300),
        ([ShareAction(EVE, 1, 2)], 100),
        ([ShareAction(TODAY + timedelta(days=1), 1, 2)], 100),
    ],
    ids=["split", "bonus", "consolidation", "both on one day", "of what was bought after it", "announced"],
)
def test_there_are_as_many_as_became_of_what_was_carried(due: list[ShareAction], expected: int) -> None:
    assert shares(with_unbooked(held(), due, TODAY)) == expected


def test_a_later_one_multiplies_what_an_earlier_one_left() -> None:
    today, later = TODAY + timedelta(days=1), ShareAction(TODAY + timedelta(days=1), 1, 3)
    left = traded(with_unbooked(held(), [SPLIT], TODAY), -50, 500)
    assert shares(left) == 100
    assert shares(with_unbooked(left, [SPLIT, later], TODAY)) == 100
    assert shares(with_unbooked(left, [SPLIT, later], today)) == 300


def test_one_that_is_told_after_a_trade_of_its_day_is_left_alone() -> None:
    assert shares(with_unbooked(traded(held(), 10, 500), [SPLIT], TODAY)) == 110
    assert shares(with_unbooked(traded(held(), -10, 500), [SPLIT], TODAY)) == 90


@given(actions, st.integers(-500, 500).filter(bool), st.lists(fills, max_size=12), st.booleans())
def test_no_fill_is_a_profit_or_a_loss_by_itself(
    action: ShareAction, quantity: int, trades: list[tuple[int, int]], overnight: bool
) -> None:
    """A jump would be a stop that fires, or a peak that one falls from."""
    now = with_unbooked(held(quantity), [action], TODAY)
    for n, (signed, price) in enumerate(trades):
        day = TODAY + timedelta(days=n if overnight else 0)
        before = now if now.pnl_day == day else replace(now, realised_pnl=Decimal(0), unbooked_pnl=Decimal(0))
        now = traded(now, signed, price, day)
        assert abs(worth(now, price) - worth(before, price)) < Decimal("0.02")
        assert bool(shares(now)) == bool(now.quantity)


def test_what_is_opened_after_all_of_it_was_sold_counts_as_it_is() -> None:
    """It ends by itself."""
    for signed in (-100, -150):
        assert traded(with_unbooked(held(), [SPLIT], TODAY), signed, 500).unbooked == 0
