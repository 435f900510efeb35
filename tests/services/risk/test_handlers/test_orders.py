"""An order is decided once, within what is left of its account's margin."""

from decimal import Decimal
from typing import Any

import pytest

from libs.common.contracts.enums import DenialRule, OrderPurpose, OrderStatus, Side
from libs.common.contracts.orders import OrderCancelled, OrderCleared
from tests.services.risk.scene import OTHER_ACCOUNT, Scene, account_saved, fact, order, position, state
from tests.services.risk.test_handlers.saying import bound, cleared, rules


async def test_an_order_within_the_limits_is_cleared_and_blocks_its_margin(scene: Scene) -> None:
    request = order()
    [event] = await scene.tell(request)
    assert isinstance(event, OrderCleared)
    assert (event.margin, event.epoch) == (Decimal("1600.00"), 0)
    assert event.order_id == request.order_id
    assert event.requested_at == request.requested_at
    assert await bound(scene) == (1600, 0, 1)


async def test_orders_of_one_batch_share_the_margin_that_is_left(scene: Scene) -> None:
    said = await scene.tell(*(order(quantity=200) for _ in range(4)))
    assert cleared(said) == [True, True, True, False]
    assert rules(said) == [DenialRule.MARGIN]
    assert await bound(scene) == (96_000, 0, 1)


async def test_nautilus_3176_an_order_id_is_decided_once(scene: Scene) -> None:
    request = order()
    assert len(await scene.tell(request, request)) == 1
    assert await scene.tell(request) == []
    assert await bound(scene) == (1600, 0, 1)


async def test_a_denied_order_id_stays_denied(scene: Scene) -> None:
    wrong = order(quantity=0)
    assert rules(await scene.tell(wrong)) == [DenialRule.LOT_SIZE]
    assert await scene.tell(wrong.model_copy(update={"quantity": 10})) == []


async def test_two_exits_in_one_batch_never_flip_a_position(scene: Scene) -> None:
    await scene.tell(position(state(10, 800)))
    exits = [order(side=Side.SELL, quantity=6, purpose=OrderPurpose.EXIT) for _ in range(2)]
    said = await scene.tell(*exits)
    assert cleared(said) == [True, False]
    assert rules(said) == [DenialRule.NOT_REDUCING]
    await scene.tell(OrderCancelled(**fact(exits[0], OrderStatus.CANCELLED), reason="asked"))
    assert cleared(await scene.tell(order(side=Side.SELL, quantity=6, purpose=OrderPurpose.EXIT))) == [True]


@pytest.mark.parametrize(
    ("terms", "rule"),
    [
        ({"instrument": "NSE:\0"}, DenialRule.INSTRUMENT_UNKNOWN),
        ({"price": Decimal("1E+999")}, DenialRule.TICK_SIZE),
        ({"price": Decimal("1E-999999")}, DenialRule.TICK_SIZE),
        ({"quantity": 10**4000}, DenialRule.LOT_SIZE),
        ({"quantity": 10**9}, DenialRule.MARGIN),
    ],
)
async def test_absurd_orders_are_denied_and_stop_nobody(scene: Scene, terms: dict[str, Any], rule: DenialRule) -> None:
    said = await scene.tell(order(**terms), order())
    assert rules(said) == [rule]
    assert len(said) == 2


async def test_an_order_id_of_another_account_decides_nothing(scene: Scene) -> None:
    await scene.tell(account_saved(OTHER_ACCOUNT))
    request = order()
    await scene.tell(request)
    assert await scene.tell(request.model_copy(update={"account_id": OTHER_ACCOUNT})) == []
