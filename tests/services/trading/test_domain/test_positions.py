"""Positions: cost, realised profit, and the day's figures, to the last digit."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from services.trading.domain import positions
from services.trading.domain.money import ZERO
from services.trading.domain.positions import Holding
from tests.services.trading.test_domain.filling import holding_after

prices = st.decimals(min_value="0.05", max_value="99999.95", places=2)
fills = st.tuples(st.integers(-500, 500).filter(bool), prices)


@given(st.lists(fills, max_size=30))
def test_realised_profit_less_open_cost_is_exactly_the_cash_that_moved(trades: list[tuple[int, Decimal]]) -> None:
    holding = holding_after(*trades)
    cash = sum((-signed * price for signed, price in trades), ZERO)
    assert holding.quantity == sum(signed for signed, _ in trades)
    assert holding.realised_pnl - holding.cost == cash
    assert holding.sold_value - holding.bought_value == cash
    assert holding.bought_quantity - holding.sold_quantity == holding.quantity


@given(st.lists(fills, min_size=1, max_size=30), prices)
def test_a_round_trip_realises_its_cash_flow_to_the_last_digit(
    trades: list[tuple[int, Decimal]], price: Decimal
) -> None:
    open_quantity = sum(signed for signed, _ in trades)
    if open_quantity:
        trades = [*trades, (-open_quantity, price)]
    holding = holding_after(*trades)
    assert (holding.quantity, holding.cost) == (0, Decimal(0))
    assert holding.realised_pnl == sum((-signed * price for signed, price in trades), ZERO)


@given(st.lists(fills, min_size=1, max_size=10), prices, st.data())
def test_reducing_leaves_the_average_price_and_adding_moves_it(
    trades: list[tuple[int, Decimal]], price: Decimal, data: st.DataObject
) -> None:
    before = holding_after(*trades)
    if abs(before.quantity) < 2:
        return
    part = data.draw(st.integers(1, abs(before.quantity) - 1))
    reduced = positions.trade(before, -part if before.quantity > 0 else part, price)
    average = positions.state_of(before).average_price
    assert abs(positions.state_of(reduced).average_price - average) <= Decimal("0.0001")


def test_adding_averages_and_reducing_realises() -> None:
    holding = holding_after((10, Decimal(100)), (10, Decimal(110)))
    assert positions.state_of(holding).average_price == 105
    holding = positions.trade(holding, -5, Decimal(115))
    assert (holding.realised_pnl, positions.state_of(holding).average_price) == (Decimal(50), Decimal(105))


def test_crossing_zero_opens_at_the_fills_price() -> None:
    holding = holding_after((10, Decimal(100)), (-15, Decimal(90)))
    state = positions.state_of(holding)
    assert (state.quantity, state.average_price, state.realised_pnl) == (-5, Decimal(90), Decimal(-100))


def test_thirds_of_a_paisa_are_neither_made_nor_lost() -> None:
    holding = holding_after((3, Decimal("33.35")), (4, Decimal("33.40")))
    for _ in range(7):
        holding = positions.trade(holding, -1, Decimal("33.40"))
    assert holding.realised_pnl == Decimal("0.15")


def test_a_new_day_keeps_quantity_and_cost_and_forgets_the_days_figures() -> None:
    holding = positions.carry(holding_after((10, Decimal(100)), (-4, Decimal(110))))
    assert holding == Holding(quantity=6, cost=Decimal(600))
