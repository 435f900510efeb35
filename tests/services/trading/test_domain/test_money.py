"""Amounts that are divided, and the margin that goes from an order to what it opens."""

from decimal import Decimal

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
    after_fill, _ = after(order, filled(order, quantity))
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
    net, order = fill_into(net_of(10, "1000"), submitted(15, "500", Side.SELL), 5)
    assert (net.margin, order.blocked) == (Decimal(500), Decimal(500))
    net, order = fill_into(net, order, 10)
    assert (net.holding.quantity, net.margin, order.blocked) == (-5, Decimal(500), Decimal(0))


def test_a_fill_after_the_end_still_brings_the_margin_it_was_let_through_with() -> None:
    order, _ = after(submitted(10, "1000"), cancelled(submitted()))
    assert order.blocked == 0
    net, _ = fill_into(net_of(0, "0"), order, 4)
    assert net.margin == 400
