"""An entry that was changed, or found at its venue after it was told to be rejected."""

import pytest

from libs.common.contracts.algos import LegRefused
from libs.common.contracts.enums import LegRefusedRule, OrderPurpose, OrderStatus, OrderType, RepeatRule, Side
from libs.common.contracts.orders import OrderModified, OrderReopened, OrderRequested
from tests.services.strategy.desk import Desk, denied, orders_of, reasons_of, rejected, square_offs_of
from tests.services.strategy.scene import FIRST, FUTURE_LEG, LOT, SPREAD, USER, a_signal, an_algo, an_exit, option_leg


def fact(order: OrderRequested, filled: int) -> dict[str, object]:
    return {
        "order_id": order.order_id,
        "account_id": order.account_id,
        "user_id": USER,
        "strategy_id": order.strategy_id,
        "instrument": order.instrument,
        "status": OrderStatus.PARTIALLY_FILLED if filled else OrderStatus.ACCEPTED,
        "version": 3,
        "filled_quantity": filled,
        "quantity": order.quantity,
    }


def changed(order: OrderRequested, quantity: int, filled: int = 0) -> OrderModified:
    terms = {"quantity": quantity, "order_type": OrderType.LIMIT, "price": "100", "trigger_price": None}
    return OrderModified.model_validate({**fact(order, filled), **terms})


def reopened(order: OrderRequested, filled: int = 0) -> OrderReopened:
    terms = {"broker_order_id": "2611", "purpose": order.purpose, "side": order.side}
    return OrderReopened.model_validate({**fact(order, filled), **terms})


async def test_an_entry_that_was_reduced_and_closed_makes_way_for_the_next(desk: Desk) -> None:
    """No event tells of the end of what was taken off an order: the algo was in position for ever."""
    await desk.keep(an_algo((option_leg(lots=3),)))
    [order] = orders_of(await desk.hear(a_signal()))
    await desk.hear(changed(order, LOT), desk.filled(order, LOT))
    by_hand = order.model_copy(update={"side": order.side.opposite, "order_id": order.account_id})
    await desk.hear(desk.filled(by_hand, LOT))
    assert len(orders_of(await desk.hear(a_signal()))) == 1


async def test_an_entry_reduced_to_what_is_filled_is_over(desk: Desk) -> None:
    await desk.keep(an_algo((option_leg(lots=3),), on_repeat=RepeatRule.REVERSE))
    [order] = orders_of(await desk.hear(a_signal()))
    said = await desk.hear(desk.filled(order, LOT), changed(order, LOT, filled=LOT), an_exit())
    [square_off] = square_offs_of(said)
    await desk.hear(*desk.flattened(square_off))
    assert len(orders_of(await desk.hear(a_signal()))) == 1


async def test_an_entry_that_was_enlarged_is_on_its_way_until_all_of_it_is_filled(desk: Desk) -> None:
    await desk.keep(an_algo())
    [order] = orders_of(await desk.hear(a_signal()))
    await desk.hear(changed(order, 2 * LOT), desk.filled(order, LOT))
    by_hand = order.model_copy(update={"side": order.side.opposite, "order_id": order.account_id})
    await desk.hear(desk.filled(by_hand, LOT))
    assert reasons_of(await desk.hear(a_signal())) == ["in position already; the algo ignores repeated entries"]


async def test_an_entry_found_after_its_rejection_is_on_its_way_again(desk: Desk) -> None:
    """The next signal would have entered a second time beside it."""
    await desk.keep(an_algo())
    [order] = orders_of(await desk.hear(a_signal()))
    await desk.hear(rejected(order), reopened(order))
    assert reasons_of(await desk.hear(a_signal())) == ["in position already; the algo ignores repeated entries"]
    [square_off] = square_offs_of(await desk.hear(an_exit()))
    assert square_off.account_id == FIRST


async def test_an_exit_found_after_its_rejection_is_no_entry(desk: Desk) -> None:
    await desk.keep(an_algo())
    [order] = orders_of(await desk.hear(a_signal()))
    await desk.hear(rejected(order), reopened(order.model_copy(update={"purpose": OrderPurpose.EXIT})))
    assert len(orders_of(await desk.hear(a_signal()))) == 1


async def test_a_leg_found_after_the_others_were_closed_for_it_is_closed_too(desk: Desk) -> None:
    await desk.keep(an_algo(SPREAD))
    bought, sold = orders_of(await desk.hear(a_signal()))
    [first] = square_offs_of(await desk.hear(desk.filled(bought), rejected(sold)))
    await desk.hear(*desk.flattened(first))
    said = await desk.hear(reopened(sold))
    [again] = square_offs_of(said)
    assert again.square_off_id != first.square_off_id
    assert [each.order_id for each in said if isinstance(each, LegRefused)] == [sold.order_id]
    await desk.hear(desk.filled(sold), *desk.flattened(again))
    assert len(orders_of(await desk.hear(a_signal()))) == 2


async def test_a_leg_found_while_the_others_are_being_closed_is_closed_with_them(desk: Desk) -> None:
    await desk.keep(an_algo(SPREAD))
    bought, sold = orders_of(await desk.hear(a_signal()))
    [first] = square_offs_of(await desk.hear(desk.filled(bought), rejected(sold)))
    assert square_offs_of(await desk.hear(reopened(sold))) == []
    assert square_offs_of(await desk.hear(desk.filled(sold))) == []
    await desk.hear(*desk.flattened(first))
    assert len(orders_of(await desk.hear(a_signal()))) == 2


async def test_a_leg_found_by_an_algo_that_keeps_its_legs_is_kept(desk: Desk) -> None:
    await desk.keep(an_algo(SPREAD, on_leg_refused=LegRefusedRule.KEEP))
    bought, sold = orders_of(await desk.hear(a_signal()))
    await desk.hear(desk.filled(bought), rejected(sold))
    assert await desk.hear(reopened(sold)) == []
    assert len(square_offs_of(await desk.hear(an_exit()))) == 1


@pytest.mark.parametrize(("first", "second"), [(Side.BUY, Side.SELL), (Side.SELL, Side.BUY)])
async def test_an_entry_found_after_its_rejection_is_reversed_from_the_direction_that_it_has(
    desk: Desk, first: Side, second: Side
) -> None:
    """A signal of the direction that it held squared it off, and entered it again."""
    await desk.keep(an_algo([FUTURE_LEG], on_repeat=RepeatRule.REVERSE))
    [order] = orders_of(await desk.hear(a_signal(action=first)))
    await desk.hear(rejected(order))
    [meanwhile] = orders_of(await desk.hear(a_signal(action=second)))
    await desk.hear(denied(meanwhile))
    await desk.hear(reopened(order))
    await desk.hear(desk.filled(order))
    refused = reasons_of(await desk.hear(a_signal(action=first)))
    assert refused == [f"in position already in the direction of {first.lower()}"]
    [square_off] = square_offs_of(await desk.hear(a_signal(action=second)))
    [reversal] = orders_of(await desk.hear(*desk.flattened(square_off)))
    assert reversal.side is second
