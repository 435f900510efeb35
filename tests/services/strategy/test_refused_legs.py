"""A leg of a spread is refused: what of the other legs."""

from collections.abc import Callable, Sequence

import pytest

from libs.common.contracts.algos import LegRefused
from libs.common.contracts.base import Message
from libs.common.contracts.enums import LegRefusedRule, SquareOffReason
from libs.common.contracts.ids import StrategyId
from libs.common.contracts.orders import OrderRequested
from libs.common.database import Connection
from libs.common.ids import new_id
from tests.services.strategy.desk import Desk, completed, denied, orders_of, rejected, square_offs_of
from tests.services.strategy.scene import FIRST, SECOND, SPREAD, a_signal, an_algo, an_exit


def broken_legs_of(said: Sequence[Message]) -> list[LegRefused]:
    return [each for each in said if isinstance(each, LegRefused)]


@pytest.fixture
async def spread(desk: Desk) -> tuple[Desk, OrderRequested, OrderRequested]:
    """The bought and the sold leg of an entry that is on its way."""
    await desk.keep(an_algo(SPREAD))
    bought, sold = orders_of(await desk.hear(a_signal()))
    return desk, bought, sold


Spread = tuple[Desk, OrderRequested, OrderRequested]


@pytest.mark.parametrize("ended", [denied, rejected])
async def test_a_leg_refused_after_the_other_filled_closes_the_other(
    spread: Spread, ended: Callable[[OrderRequested], Message]
) -> None:
    desk, bought, sold = spread
    said = await desk.hear(desk.filled(bought), ended(sold))
    [square_off] = square_offs_of(said)
    assert (square_off.account_id, square_off.strategy_id) == (FIRST, bought.strategy_id)
    assert (square_off.instrument, square_off.reason) == (None, SquareOffReason.LEG_REFUSED)
    [told] = broken_legs_of(said)
    assert (told.order_id, told.instrument, told.square_off_id) == (
        sold.order_id,
        sold.instrument,
        square_off.square_off_id,
    )
    assert told.reason in {"no margin", "circuit"}
    assert await desk.hear(*desk.flattened(square_off)) == []
    assert len(orders_of(await desk.hear(a_signal()))) == 2


async def test_a_leg_refused_before_the_other_fills_closes_what_fills_behind_the_square_off(spread: Spread) -> None:
    desk, bought, sold = spread
    [square_off] = square_offs_of(await desk.hear(denied(sold)))
    assert await desk.hear(completed(square_off)) == []
    [again] = square_offs_of(await desk.hear(desk.filled(bought)))
    assert again.square_off_id != square_off.square_off_id
    assert await desk.hear(*desk.flattened(again)) == []
    assert desk.books[FIRST, StrategyId(again.strategy_id or new_id()), bought.instrument] == 0


async def test_both_legs_refused_are_told_and_leave_nothing(spread: Spread) -> None:
    desk, bought, sold = spread
    said = await desk.hear(denied(bought), denied(sold))
    [square_off] = square_offs_of(said)
    assert len(broken_legs_of(said)) == 1
    assert await desk.hear(completed(square_off)) == []
    assert len(orders_of(await desk.hear(a_signal()))) == 2


async def test_an_algo_that_keeps_stays_in_position_and_says_which_leg_it_lacks(desk: Desk) -> None:
    await desk.keep(an_algo(SPREAD, on_leg_refused=LegRefusedRule.KEEP))
    bought, sold = orders_of(await desk.hear(a_signal()))
    said = await desk.hear(desk.filled(bought), denied(sold))
    assert square_offs_of(said) == []
    assert [(each.order_id, each.square_off_id) for each in broken_legs_of(said)] == [(sold.order_id, None)]
    assert len(square_offs_of(await desk.hear(an_exit()))) == 1


async def test_a_leg_refused_while_the_algo_is_closing_asks_for_no_second_square_off(spread: Spread) -> None:
    desk, bought, sold = spread
    await desk.hear(desk.filled(bought))
    assert len(square_offs_of(await desk.hear(an_exit()))) == 1
    assert await desk.hear(denied(sold)) == []


async def test_a_leg_refused_in_one_account_leaves_the_other_account_alone(desk: Desk) -> None:
    await desk.keep(an_algo(SPREAD, (FIRST, SECOND)))
    orders = orders_of(await desk.hear(a_signal()))
    await desk.hear(*(desk.filled(order) for order in orders[:3]))
    assert [each.account_id for each in square_offs_of(await desk.hear(denied(orders[3])))] == [SECOND]


async def test_the_same_refusal_handled_again_asks_for_the_same_square_off(
    spread: Spread, connection: Connection
) -> None:
    desk, bought, sold = spread
    await desk.hear(desk.filled(bought))
    savepoint = connection.transaction()
    await savepoint.start()
    once = await desk.hear(denied(sold))
    await savepoint.rollback()
    assert await desk.hear(denied(sold)) == once
