"""A change is checked as a new order would be, and blocks the dearer terms until it is answered."""

from datetime import timedelta
from decimal import Decimal

from libs.common import ids
from libs.common.contracts.enums import DenialRule, OrderPurpose, OrderStatus, OrderType, Side
from libs.common.contracts.ids import UserId
from libs.common.contracts.orders import OrderCancelled, OrderModified, OrderModifyCleared, OrderModifyRefused
from tests.services.risk.scene import ACCOUNT, NOW, USER, Scene, fact, order, position, state
from tests.services.risk.test_handlers.saying import bound, change, limit, rules


async def test_a_change_blocks_the_difference_and_holds_all_new_terms(scene: Scene) -> None:
    request = order()
    await scene.tell(request)
    [event] = await scene.tell(change(request, quantity=20))
    assert event == OrderModifyCleared(
        order_id=request.order_id,
        account_id=ACCOUNT,
        user_id=USER,
        quantity=20,
        order_type=OrderType.LIMIT,
        price=Decimal(800),
        trigger_price=None,
        margin=Decimal("3200.00"),
        increasing=20,
        unit_margin=Decimal(160),
        epoch=0,
    )
    assert await bound(scene) == (3200, 0, 1)
    taken = OrderModified(
        **fact(request, OrderStatus.ACCEPTED), quantity=20, order_type=OrderType.LIMIT, price=Decimal(800),
        trigger_price=None,
    )  # fmt: skip
    await scene.tell(taken)
    assert await bound(scene) == (3200, 0, 1)


async def test_a_change_that_the_venue_refused_blocks_nothing_more(scene: Scene) -> None:
    request = order()
    await scene.tell(request)
    await scene.tell(change(request, price=Decimal(850)))
    assert await bound(scene) == (1700, 0, 1)
    await scene.tell(OrderModifyRefused(order_id=request.order_id, account_id=ACCOUNT, user_id=USER, reason="late"))
    assert await bound(scene) == (1600, 0, 1)


async def test_one_change_at_a_time_and_a_refused_second_one_does_not_end_the_first(scene: Scene) -> None:
    request, first, second = order(), ids.new_id(), ids.new_id()
    await scene.tell(request)
    await scene.tell(change(request, price=Decimal(850)), story=first)
    [refused] = await scene.tell(change(request, price=Decimal(820)), story=second)
    assert isinstance(refused, OrderModifyRefused)
    assert refused.reason == f"another change of order {request.order_id} is under way"
    await scene.tell(refused, story=second)
    assert await bound(scene) == (1700, 0, 1), "trading said our refusal again"
    await scene.tell(refused, story=first)
    assert await bound(scene) == (1600, 0, 1), "trading refused what we cleared"
    [event] = await scene.tell(change(request, price=Decimal(820)))
    assert isinstance(event, OrderModifyCleared)


async def test_a_smaller_order_frees_its_margin_only_when_the_venue_has_taken_it(scene: Scene) -> None:
    request = order()
    await scene.tell(request)
    await scene.tell(change(request, quantity=5))
    assert await bound(scene) == (1600, 0, 1)
    await scene.tell(
        OrderModified(
            **fact(request, OrderStatus.ACCEPTED),
            quantity=5,
            order_type=OrderType.LIMIT,
            price=Decimal(800),
            trigger_price=None,
        )
    )
    assert await bound(scene) == (800, 0, 1)


async def test_a_change_is_checked_as_a_new_order_would_be(scene: Scene) -> None:
    request = order(quantity=100)
    await scene.tell(request)
    wrong = [
        (change(request, price=Decimal("800.03")), DenialRule.TICK_SIZE),
        (change(request, price=Decimal(1000)), DenialRule.PRICE_BAND),
        (change(request, quantity=700), DenialRule.MARGIN),
        (change(request, expires_at=NOW - timedelta(seconds=1)), DenialRule.REQUEST_EXPIRED),
        (change(request, order_type=OrderType.SL), DenialRule.TICK_SIZE),
    ]
    assert rules(await scene.tell(*(each for each, _ in wrong))) == [rule for _, rule in wrong]
    assert await bound(scene) == (16_000, 0, 1)


async def test_an_order_above_a_limit_that_came_later_may_be_moved_and_made_smaller_and_never_larger(
    scene: Scene,
) -> None:
    larger, moved, smaller = order(), order(), order()
    await scene.tell(larger, moved, smaller, limit(max_order_value=Decimal(5000)))
    assert rules(await scene.tell(change(larger, quantity=11))) == [DenialRule.MAX_ORDER_VALUE]
    for wish in (change(moved, price=Decimal(800)), change(smaller, quantity=9)):
        [event] = await scene.tell(wish)
        assert isinstance(event, OrderModifyCleared), event


async def test_only_the_difference_of_a_change_must_be_available(scene: Scene) -> None:
    request = order(quantity=600)
    await scene.tell(request)
    said = await scene.tell(change(request, quantity=625))
    assert isinstance(said[0], OrderModifyCleared)


async def test_a_quantity_below_what_is_filled_is_refused(scene: Scene) -> None:
    request = order()
    await scene.tell(request)
    await scene.tell(position(state(6, 800), order_id=request.order_id, fill_quantity=6))
    assert rules(await scene.tell(change(request, quantity=6))) == [DenialRule.LOT_SIZE]


async def test_an_order_that_is_unknown_final_or_somebody_elses_cannot_be_changed(scene: Scene) -> None:
    request, denied = order(), order(quantity=0)
    await scene.tell(request, denied)
    await scene.tell(OrderCancelled(**fact(request, OrderStatus.CANCELLED), reason="asked"))
    theirs = order()
    await scene.tell(theirs)
    stranger = change(theirs, quantity=20).model_copy(update={"user_id": UserId(ids.new_id())})
    for refused in (change(order()), change(request), change(denied), stranger):
        assert rules(await scene.tell(refused)) == [DenialRule.ORDER_NOT_OPEN]


async def test_a_change_of_type_drops_the_prices_that_it_does_not_take(scene: Scene) -> None:
    request = order()
    await scene.tell(request)
    [event] = await scene.tell(change(request, order_type=OrderType.MARKET))
    assert isinstance(event, OrderModifyCleared)
    assert (event.order_type, event.price, event.trigger_price) == (OrderType.MARKET, None, None)


async def test_a_person_cannot_make_a_square_off_larger_than_what_is_open(scene: Scene) -> None:
    await scene.tell(position(state(10, 800)))
    request = order(side=Side.SELL, purpose=OrderPurpose.SQUARE_OFF)
    await scene.tell(request)
    said = await scene.tell(change(request, quantity=20), change(request, price=Decimal(790)))
    assert rules(said) == [DenialRule.NOT_REDUCING]
    assert isinstance(said[1], OrderModifyCleared)
