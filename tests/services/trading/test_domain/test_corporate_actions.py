"""Shares after a split or a bonus: whole ones, for the same cost, and as many in the books as in the account."""

from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.enums import Product
from libs.common.contracts.ids import StrategyId
from libs.common.contracts.masters import CorporateActionKind
from services.trading.domain.corporate_actions import ShareAction, adjust
from services.trading.domain.positions import Book, Net, state_of
from tests.services.trading.making import ACCOUNT, SBIN, USER, order_id
from tests.services.trading.test_domain.filling import holding_after

EX_DATE = date(2026, 11, 24)
prices = st.decimals(min_value="0.05", max_value="99999.95", places=2)
ratios = st.tuples(
    st.sampled_from([CorporateActionKind.SPLIT, CorporateActionKind.BONUS]), st.integers(1, 20), st.integers(1, 20)
)


def action(kind: CorporateActionKind, old: int, new: int) -> ShareAction:
    return ShareAction(SBIN, kind, EX_DATE, old, new)


def held(*fills: tuple[int, Decimal]) -> tuple[Net, list[Book]]:
    """Each fill is of a strategy of its own."""
    books = [
        Book(ACCOUNT, StrategyId(order_id(n + 1)), SBIN, Product.CNC, holding_after(fill))
        for n, fill in enumerate(fills)
    ]
    margin = Decimal(sum(abs(quantity) for quantity, _ in fills))
    return Net(ACCOUNT, USER, SBIN, Product.CNC, order_id(1), holding_after(*fills), margin), books


@pytest.mark.parametrize(
    ("kind", "old", "new", "before", "after", "average"),
    [
        (CorporateActionKind.SPLIT, 1, 5, 10, 50, "200"),
        (CorporateActionKind.SPLIT, 10, 1, 25, 2, "10000"),
        (CorporateActionKind.SPLIT, 10, 1, 9, 0, "0"),
        (CorporateActionKind.BONUS, 1, 1, 10, 20, "500"),
        (CorporateActionKind.BONUS, 2, 1, 15, 22, "666.6667"),
        (CorporateActionKind.BONUS, 2, 1, -15, -22, "666.6667"),
    ],
)
def test_what_becomes_of_shares_bought_at_a_thousand(
    kind: CorporateActionKind, old: int, new: int, before: int, after: int, average: str
) -> None:
    net, books = held((before, Decimal(1000)))
    adjusted = adjust(net, books, action(kind, old, new))
    state = state_of(adjusted.net.holding)
    assert (state.quantity, state.average_price) == (after, Decimal(average))
    assert state.realised_pnl == net.holding.realised_pnl
    assert (adjusted.said.before, adjusted.said.quantity) == (before, after)


@given(st.lists(st.tuples(st.integers(-500, 500).filter(bool), prices), min_size=1, max_size=6), ratios)
def test_books_add_up_and_every_share_costs_what_it_cost(
    fills: list[tuple[int, Decimal]], ratio: tuple[CorporateActionKind, int, int]
) -> None:
    net, books = held(*fills)
    corporate = action(*ratio)
    adjusted = adjust(net, books, corporate)
    exact = net.holding.quantity * corporate.shares
    quantity = adjusted.net.holding.quantity
    assert 0 <= (exact - quantity) * (1 if exact > 0 else -1) < 1, "the fraction is the account's only loss"
    assert sum(book.holding.quantity for book in adjusted.books) == quantity
    assert 0 <= adjusted.net.margin <= net.margin
    if exact == quantity:
        assert (adjusted.net.holding.cost, adjusted.net.margin) == (net.holding.cost, net.margin)
    for before, after in zip(sorted(books, key=lambda book: str(book.strategy_id)), adjusted.books, strict=True):
        assert before.strategy_id == after.strategy_id
        assert abs(after.holding.quantity - before.holding.quantity * corporate.shares) < 1
        cost = Fraction(before.holding.cost) / before.holding.quantity / corporate.shares * after.holding.quantity
        assert abs(Fraction(after.holding.cost) - cost) <= Fraction(1, 1_000_000)
    same = adjust(net, books[::-1], corporate)
    assert same == adjusted
