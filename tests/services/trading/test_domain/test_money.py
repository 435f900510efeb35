"""Amounts that are divided, and the margin that goes from an order to what it opens."""

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.enums import Side
from services.trading.domain import orders, positions
from services.trading.domain.money import ZERO, part_of
from services.trading.domain.orders import Order
from services.trading.domain.positions import Holding, Net
from tests.services.trading.making import ACCOUNT, SBIN, USER, cancelled, cleared, filled, order_id
from tests.services.trading.test_domain.filling import after, holding_after, submitted


@given(st.decimals(0, 10**9, places=2), st.integers(1, 1000), st.data())
def test_parts_and_rest_are_the_whole(amount: Decimal, units: int, data: st.DataObject) -> None:
    left, total = units, ZERO
    rest = amount
    while left:
        piece = data.draw(st.integers(1, left))
        part = part_of(rest, piece, left, Decimal("0.01"))
        rest, total, left = rest - part, total + part, left - piece
    assert (rest, total) == (ZERO, amount)


def net_of(quantity: int, margin: str) -> Net:
    holding = holding_after((quantity, Decimal(100))) if quantity else Holding()
    return Net(ACCOUNT, USER, SBIN, cleared().product, order_id(), holding, Decimal(margin))


def fill_into(net: Net, order: Order, quantity: int) -> tuple[Net, Order]:
    after_fill, _ = after(order, filled(order, quantity, leaves=max(order.leaves - quantity, 0)))
    signed = order.side.sign * quantity
    spent, margin = orders.spend_margin(order, after_fill, positions.closing(net.holding, signed))
    return positions.move(net, signed, Decimal(100), margin, order.order_id), spent


def test_opening_fills_carry_their_share_of_margin_to_the_position() -> None:
    net, order = fill_into(net_of(0, "0"), submitted(10, "1000"), 3)
    assert (net.margin, order.blocked) == (Decimal(300), Decimal(700))
    net, order = fill_into(net, order, 7)
    assert (net.margin, order.blocked) == (Decimal(1000), Decimal(0))


def test_reducing_fills_free_the_positions_margin_in_proportion() -> None:
    net, order = fill_into(net_of(10, "1000"), submitted(4, "0", Side.SELL), 4)
    assert (net.margin, order.blocked) == (Decimal(600), Decimal(0))


def test_an_order_through_zero_brings_its_whole_margin_to_what_it_opens() -> None:
    net, order = fill_into(net_of(10, "1000"), submitted(15, "500", Side.SELL, unit="100"), 5)
    assert (net.margin, order.blocked) == (Decimal(500), Decimal(500))
    net, order = fill_into(net, order, 10)
    assert (net.holding.quantity, net.margin, order.blocked) == (-5, Decimal(500), Decimal(0))


def test_a_fill_after_the_end_still_brings_the_margin_it_was_let_through_with() -> None:
    order, _ = after(submitted(10, "1000"), cancelled(submitted()))
    assert order.blocked == 0
    net, _ = fill_into(net_of(0, "0"), order, 4)
    assert net.margin == 400


@pytest.mark.parametrize(
    ("held", "side", "quantity"),
    [(-100, Side.BUY, 100), (10, Side.SELL, 10)],
    ids=["stop and target", "exit and entry"],
)
def test_what_only_reduced_when_it_was_cleared_blocks_margin_for_what_it_opens_after_all(
    held: int, side: Side, quantity: int
) -> None:
    """The order that was to open filled first: it closed the position, and its margin is free."""
    reducing = submitted(quantity, "0", side, unit="90")
    opening = submitted(quantity, str(quantity * 100), side)
    net, opening = fill_into(net_of(held, "900"), opening, quantity)
    assert (net.holding.quantity, net.margin, opening.blocked) == (0, Decimal(0), Decimal(0))
    net, reducing = fill_into(net, reducing, quantity)
    assert (net.holding.quantity, net.margin, reducing.blocked) == (-held, Decimal(90) * quantity, Decimal(0))


def test_what_reduces_after_all_sets_aside_no_more_than_what_is_left_of_it() -> None:
    net, order = fill_into(net_of(-6, "600"), submitted(10, "1000"), 4)
    assert (net.margin, order.blocked) == (Decimal(200), Decimal(600))
    net, order = fill_into(net, order, 4)
    assert (net.margin, order.blocked) == (Decimal(200), Decimal(200))


def test_what_fills_beyond_an_orders_quantity_blocks_margin_too() -> None:
    net, order = fill_into(net_of(0, "0"), submitted(10, "1000"), 12)
    assert (net.margin, order.margin) == (Decimal(1200), Decimal(0))


@pytest.mark.parametrize("pieces", [[10], [1] * 10, [3, 3, 4]])
def test_rounding_makes_and_loses_no_paisa_of_an_orders_margin(pieces: list[int]) -> None:
    net, order = net_of(0, "0"), submitted(10, "333.37", unit="33.3367")
    for quantity in pieces:
        net, order = fill_into(net, order, quantity)
        assert net.margin + order.blocked == Decimal("333.37")
    assert net.margin == Decimal("333.37")


def test_an_order_of_before_its_unit_margin_was_told_shares_what_it_set_aside() -> None:
    net, order = fill_into(net_of(-4, "400"), submitted(10, "600", unit="0"), 7)
    assert (net.margin, order.blocked) == (Decimal(300), Decimal(300))
    net, _ = fill_into(net_of(0, "0"), submitted(10, "0", unit="0"), 10)
    assert net.margin == 0


UNITS = st.decimals("0.01", 5000, places=4)


def orders_around(net: Net, data: st.DataObject) -> list[tuple[Order, int]]:
    """Two or three orders as risk clears them one after the other, each with the units that it sets aside for."""
    pending = {Side.BUY: 0, Side.SELL: 0}
    found = []
    for _ in range(data.draw(st.integers(2, 3))):
        side, quantity, unit = data.draw(st.tuples(st.sampled_from(Side), st.integers(1, 120), UNITS))
        reducible = abs(net.holding.quantity) if net.holding.quantity * side.sign < 0 else 0
        increasing = max(quantity - max(reducible - pending[side], 0), 0)
        pending[side] += quantity
        found.append((submitted(quantity, str(paise(unit * increasing)), side, unit=str(unit)), increasing))
    return found


def paise(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)


@given(st.integers(-100, 100), UNITS, st.data())
def test_whatever_fills_first_each_unit_of_a_position_blocks_its_margin(
    quantity: int, unit: Decimal, data: st.DataObject
) -> None:
    """All margin is that of positions and what open orders set aside; no position goes without."""
    net = net_of(quantity, str(paise(unit * abs(quantity))))
    working = orders_around(net, data)
    used = net.margin + sum(order.blocked for order, _ in working)
    basis, fills = Fraction(unit), 0
    while working:
        place = data.draw(st.integers(0, len(working) - 1))
        order, increasing = working.pop(place)
        units = data.draw(st.integers(1, order.leaves))
        before = net
        net, spent = fill_into(net, order, units)
        used += net.margin - before.margin + spent.blocked - order.blocked
        opened = units - positions.closing(before.holding, order.side.sign * units)
        if opened:
            there = abs(net.holding.quantity) - opened
            basis = (basis * there + Fraction(order.unit_margin) * opened) / (there + opened)
        fills += 1
        if spent.is_open and data.draw(st.integers(0, 9)):
            working.insert(place, (spent, increasing))
            assert spent.blocked == paise(order.unit_margin * min(increasing, spent.leaves))
        else:
            used -= spent.blocked
        blocked = abs(net.holding.quantity) * basis
        assert abs(Fraction(net.margin) - blocked) <= Fraction(fills + 1, 100)
        assert net.margin == 0 or net.holding.quantity
        assert used == net.margin + sum(order.blocked for order, _ in working)
        assert used >= net.margin >= 0
