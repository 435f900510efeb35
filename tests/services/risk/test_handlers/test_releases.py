"""Fills and endings release or move what an order blocked, once."""

from decimal import Decimal
from typing import Any

import pytest

from libs.common.contracts.base import RequestRefused
from libs.common.contracts.enums import DenialRule, OrderPurpose, OrderStatus, Side
from libs.common.contracts.orders import (
    OrderCancelled,
    OrderCleared,
    OrderDenied,
    OrderExpired,
    OrderModifyCleared,
    OrderRejected,
    OrderReopened,
    OrderRequested,
)
from tests.services.risk.scene import Scene, fact, order, position, state
from tests.services.risk.test_handlers.saying import bound, change, cleared, limit, rules


async def test_a_fill_moves_margin_from_the_order_to_the_position(scene: Scene) -> None:
    request = order()
    await scene.tell(request)
    half = position(state(5, 800), order_id=request.order_id, fill_quantity=5, margin=Decimal(810))
    await scene.tell(half)
    assert await bound(scene) == (800, 810, 1)
    await scene.tell(half)
    assert await bound(scene) == (800, 810, 1), "the same version again changes nothing"
    rest = position(state(10, 800), order_id=request.order_id, fill_quantity=5, margin=Decimal(1620), version=2)
    await scene.tell(rest)
    assert await bound(scene) == (0, 1620, 1)


async def test_a_closed_position_blocks_nothing(scene: Scene) -> None:
    entry, leave = order(), order(side=Side.SELL)
    await scene.tell(entry)
    await scene.tell(position(state(10, 800), order_id=entry.order_id, margin=Decimal(1600)))
    [event] = await scene.tell(leave)
    assert isinstance(event, OrderCleared)
    assert event.margin == 0
    await scene.tell(position(state(0), order_id=leave.order_id, fill_quantity=10, version=2))
    assert await bound(scene) == (0, 0, 0)


async def test_a_stop_that_opens_a_position_after_all_takes_the_account_below_zero(scene: Scene) -> None:
    await scene.tell(position(state(-500, 800), margin=Decimal(80_000)))
    stop, target = order(quantity=500), order(quantity=100)
    [by_stop, by_target] = await scene.tell(stop, target)
    assert isinstance(by_stop, OrderCleared)
    assert isinstance(by_target, OrderCleared)
    assert (by_stop.margin, by_stop.unit_margin, by_target.margin) == (Decimal(0), Decimal(160), Decimal(16_000))
    await scene.tell(position(state(-400, 800), order_id=target.order_id, fill_quantity=100, margin=64_000, version=2))
    assert await bound(scene) == (0, 64_000, 1), "what was set aside for the target is free"
    await scene.tell(position(state(100, 800), order_id=stop.order_id, fill_quantity=500, margin=100_160, version=3))
    assert await bound(scene) == (0, 100_160, 1)
    said = await scene.tell(order(quantity=1, price=Decimal(799)), order(side=Side.SELL, quantity=100))
    assert cleared(said) == [False, True]
    assert rules(said) == [DenialRule.MARGIN]


@pytest.mark.parametrize(
    "ending",
    [
        lambda r: OrderCancelled(**fact(r, OrderStatus.CANCELLED), reason="asked"),
        lambda r: OrderExpired(**fact(r, OrderStatus.EXPIRED), reason="session over"),
        lambda r: OrderRejected(**fact(r, OrderStatus.REJECTED), reason="venue"),
        lambda r: OrderDenied(
            **{k: v for k, v in r.__dict__.items() if k not in ("expires_at", "epoch")},
            rule=DenialRule.STALE_EPOCH,
            reason="a panic was raised",
        ),
    ],
)
async def test_hummingbot_2416_every_way_to_end_releases_what_was_blocked(scene: Scene, ending: Any) -> None:
    request = order()
    await scene.tell(request)
    await scene.tell(ending(request))
    await scene.tell(ending(request))
    assert await bound(scene) == (0, 0, 0)


async def test_an_order_that_somebody_discarded_is_denied_for_good(scene: Scene) -> None:
    """Its owner was never told, and waited."""
    request = order()
    assert rules(await scene.give_up(request)) == [DenialRule.GIVEN_UP]
    assert await scene.tell(request) == []
    assert await bound(scene) == (0, 0, 0)


async def test_a_change_and_a_limit_that_somebody_discarded_are_refused(scene: Scene) -> None:
    request = order()
    await scene.tell(request)
    assert rules(await scene.give_up(change(request, quantity=20))) == [DenialRule.GIVEN_UP]
    [changed] = await scene.tell(change(request, quantity=20))
    assert isinstance(changed, OrderModifyCleared)
    [refused] = await scene.give_up(limit(max_daily_loss=Decimal(1)))
    assert isinstance(refused, RequestRefused)
    assert refused.code == "given_up"


async def test_a_partly_filled_order_that_is_cancelled_releases_the_rest(scene: Scene) -> None:
    request = order()
    await scene.tell(request)
    await scene.tell(
        position(state(4, 800), order_id=request.order_id, fill_quantity=4, margin=Decimal(640)),
        OrderCancelled(**fact(request, OrderStatus.CANCELLED, filled_quantity=4), reason="asked"),
    )
    assert await bound(scene) == (0, 640, 1)


async def test_an_exit_that_trading_gave_up_before_it_was_decided_binds_nothing(scene: Scene) -> None:
    """After an outage the two topics come as they come. What was let through then would be bound for ever."""
    await scene.tell(position(state(10, 800)))
    late = order(side=Side.SELL, purpose=OrderPurpose.SQUARE_OFF)
    terms = {name: value for name, value in late.__dict__.items() if name not in ("expires_at", "epoch")}
    await scene.tell(OrderDenied(**terms, rule=DenialRule.REQUEST_EXPIRED, reason="given up"))
    assert rules(await scene.tell(late)) == [DenialRule.REQUEST_EXPIRED]
    assert cleared(await scene.tell(order(side=Side.SELL, purpose=OrderPurpose.EXIT))) == [True]


def reopened(request: OrderRequested) -> OrderReopened:
    terms = fact(request, OrderStatus.ACCEPTED, version=4)
    return OrderReopened(**terms, broker_order_id="2611", purpose=request.purpose, quantity=request.quantity)


async def test_an_order_that_its_venue_has_after_all_binds_again_what_it_may_still_fill(scene: Scene) -> None:
    """It was told to be rejected, and its margin was free: as much again could be traded behind its back."""
    request = order(quantity=600)
    await scene.tell(request)
    await scene.tell(OrderRejected(**fact(request, OrderStatus.REJECTED), reason="no book shows it"))
    assert await bound(scene) == (0, 0, 0)
    await scene.tell(reopened(request))
    assert await bound(scene) == (96_000, 0, 1)
    assert rules(await scene.tell(reopened(request), order(quantity=100))) == [DenialRule.MARGIN]
    await scene.tell(position(state(600, 800), order_id=request.order_id, margin=Decimal(96_000)))
    assert await bound(scene) == (0, 96_000, 1)


async def test_what_was_found_after_its_rejection_and_ends_is_free_again(scene: Scene) -> None:
    request = order()
    rejected = OrderRejected(**fact(request, OrderStatus.REJECTED), reason="no book shows it")
    await scene.tell(request, rejected, reopened(request))
    await scene.tell(OrderCancelled(**fact(request, OrderStatus.CANCELLED, version=5), reason="asked"))
    assert await bound(scene) == (0, 0, 0)


async def test_an_exit_that_was_found_after_its_rejection_closes_what_no_other_may_close(scene: Scene) -> None:
    await scene.tell(position(state(10, 800)))
    lost = order(side=Side.SELL, purpose=OrderPurpose.EXIT)
    rejected = OrderRejected(**fact(lost, OrderStatus.REJECTED), reason="no book shows it")
    await scene.tell(lost, rejected, reopened(lost))
    again = order(side=Side.SELL, purpose=OrderPurpose.EXIT)
    assert rules(await scene.tell(again)) == [DenialRule.NOT_REDUCING]


async def test_a_settlement_at_expiry_frees_the_position_and_leaves_its_last_order_as_it_was(scene: Scene) -> None:
    """No order made the change: the one that moved the position last, still open in part, fills no further by it."""
    request = order(quantity=10)
    await scene.tell(request, position(state(6, 800), margin=Decimal(960), order_id=request.order_id, fill_quantity=6))
    before = await bound(scene)
    settled = position(state(0, 0, 50), version=2, order_id=request.order_id, fill_quantity=0)
    await scene.tell(settled)
    assert await bound(scene) == (before[0], 0, 1), "the order's margin stays, and it is what is still in use"
    await scene.tell(OrderExpired(**fact(request, OrderStatus.EXPIRED), reason="the session is over"))
    assert await bound(scene) == (0, 0, 0)
