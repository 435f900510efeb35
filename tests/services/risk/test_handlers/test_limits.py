"""Limits are saved, obeyed at once, and changed by nobody but their user."""

from decimal import Decimal
from typing import Any

import pytest

from libs.common import ids
from libs.common.contracts.base import RequestRefused
from libs.common.contracts.enums import DenialRule, OrderPurpose, OrderType, RiskLevel
from libs.common.contracts.ids import UserId
from libs.common.contracts.risk import (
    RiskLimitDeleted,
    RiskLimitDeleteRequested,
    RiskLimitSaved,
    RiskLimitSaveRequested,
)
from tests.services.risk.scene import (
    ACCOUNT,
    INFY,
    OTHER_ACCOUNT,
    SBIN,
    STRATEGY,
    USER,
    Scene,
    account_saved,
    order,
    position,
    state,
)
from tests.services.risk.test_handlers.saying import bound, cleared, limit, rules


async def test_go_trader_1269_a_limit_is_obeyed_from_the_batch_that_saves_it_on(scene: Scene) -> None:
    said = await scene.tell(order(), limit(max_order_value=Decimal(7000)), order())
    assert isinstance(said[1], RiskLimitSaved)
    assert said[1].version == 1
    assert rules(said) == [DenialRule.MAX_ORDER_VALUE]
    assert await bound(scene) == (1600, 0, 1)


async def test_a_count_limit_saved_amid_a_batch_counts_what_the_batch_opened_before(scene: Scene) -> None:
    infy = order(quantity=1, instrument=INFY, price=Decimal(1500))
    said = await scene.tell(order(quantity=1), limit(max_open_positions=1), infy)
    assert rules(said) == [DenialRule.MAX_OPEN_POSITIONS]


async def test_a_deleted_or_inactive_limit_limits_nothing(scene: Scene) -> None:
    request = limit(max_order_value=Decimal(7000))
    await scene.tell(request)
    inactive = limit(limit_id=request.limit_id, version=1, max_order_value=Decimal(7000), active=False)
    assert cleared(await scene.tell(inactive, order())) == [False, True]
    again = limit(limit_id=request.limit_id, version=2, max_order_value=Decimal(7000))
    assert rules(await scene.tell(again, order())) == [DenialRule.MAX_ORDER_VALUE]
    gone = RiskLimitDeleteRequested(limit_id=request.limit_id, user_id=USER)
    assert await scene.tell(gone) == [RiskLimitDeleted(limit_id=request.limit_id, user_id=USER)]
    assert cleared(await scene.tell(order())) == [True]


async def test_a_limit_saved_under_an_old_version_is_refused(scene: Scene) -> None:
    first = limit(stop_loss=Decimal(1))
    await scene.tell(first)
    [event] = await scene.tell(limit(limit_id=first.limit_id, version=0, stop_loss=Decimal(2)))
    assert event == RequestRefused(
        entity_id=str(first.limit_id),
        request="RiskLimitSaveRequested",
        code="conflict",
        reason="version 0 was expected, it is 1 now",
    )


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ({"version": 3, "stop_loss": Decimal(1)}, "not_found"),
        ({}, "invalid"),
        ({"stop_loss": Decimal(-5)}, "invalid"),
        ({"max_open_positions": 0}, "invalid"),
        ({"level": RiskLevel.ALL, "stop_loss": Decimal(1)}, "invalid"),
        ({"level": RiskLevel.ACCOUNT, "stop_loss": Decimal(1)}, "invalid"),
        ({"account_id": ACCOUNT, "stop_loss": Decimal(1)}, "invalid"),
        ({"level": RiskLevel.INSTRUMENT, "account_id": ACCOUNT, "stop_loss": Decimal(1)}, "invalid"),
        (
            {"level": RiskLevel.INSTRUMENT, "account_id": ACCOUNT, "instrument": SBIN, "max_open_positions": 1},
            "invalid",
        ),
    ],
)
async def test_a_limit_that_makes_no_sense_is_refused(scene: Scene, terms: dict[str, Any], code: str) -> None:
    [event] = await scene.tell(limit(**terms))
    assert isinstance(event, RequestRefused)
    assert event.code == code


async def test_nobody_changes_another_persons_limit(scene: Scene) -> None:
    mine = limit(stop_loss=Decimal(1))
    await scene.tell(mine)
    thief = UserId(ids.new_id())
    stolen = mine.limit.model_copy(update={"user_id": thief})
    [saved, deleted] = await scene.tell(
        RiskLimitSaveRequested(limit_id=mine.limit_id, user_id=thief, limit=stolen, expected_version=1),
        RiskLimitDeleteRequested(limit_id=mine.limit_id, user_id=thief),
    )
    assert isinstance(saved, RequestRefused)
    assert isinstance(deleted, RequestRefused)
    assert (saved.code, deleted.code) == ("not_found", "not_found")


async def test_positions_are_counted_with_those_being_opened(scene: Scene) -> None:
    await scene.tell(limit(RiskLevel.ACCOUNT, account_id=ACCOUNT, max_open_positions=1))
    said = await scene.tell(order(quantity=1), order(quantity=1, instrument=INFY, price=Decimal(1500)))
    assert rules(said) == [DenialRule.MAX_OPEN_POSITIONS]


async def test_a_user_counts_positions_over_all_accounts_and_a_strategy_over_its_books(scene: Scene) -> None:
    await scene.tell(account_saved(OTHER_ACCOUNT), limit(max_open_positions=2))
    infy = {"instrument": INFY, "price": Decimal(1500), "quantity": 1}
    said = await scene.tell(order(quantity=1), order(account_id=OTHER_ACCOUNT, quantity=1), order(**infy))
    assert cleared(said) == [True, True, False]
    await scene.tell(limit(RiskLevel.STRATEGY, strategy_id=STRATEGY, max_open_positions=1))
    own = {"strategy_id": STRATEGY, "account_id": OTHER_ACCOUNT}
    said = await scene.tell(order(quantity=1, **own), order(**{**infy, **own}))
    assert cleared(said) == [True, False]
    assert "max open positions 2" in str(said[1]), "the user's limit is the first to refuse"


async def test_identical_orders_are_denied_within_the_window_only(scene: Scene) -> None:
    assert cleared(await scene.tell(order(), order())) == [True, True], "off unless configured"
    await scene.tell(limit(identical_order_window_s=5))
    assert cleared(await scene.tell(order(), order(), order(price=Decimal(801)))) == [True, False, True]
    assert rules(await scene.tell(order())) == [DenialRule.IDENTICAL_ORDER]
    scene.later(seconds=5)
    assert cleared(await scene.tell(order())) == [True]


@pytest.mark.parametrize("purpose", [OrderPurpose.EXIT, OrderPurpose.SQUARE_OFF])
async def test_an_entry_repeats_no_exit(scene: Scene, purpose: OrderPurpose) -> None:
    """Who reversed a position, as algos do, was out of the market: its exit had been cleared in the same words."""
    at_market: dict[str, Any] = {"order_type": OrderType.MARKET, "price": None}
    leaving = order(purpose=purpose, **at_market)
    await scene.tell(limit(identical_order_window_s=60), position(state(-10, 800)))
    assert cleared(await scene.tell(leaving)) == [True]
    await scene.tell(position(state(0), version=2, order_id=leaving.order_id, fill_quantity=10))
    said = await scene.tell(order(**at_market), order(**at_market))
    assert (cleared(said), rules(said)) == ([True, False], [DenialRule.IDENTICAL_ORDER])


async def test_an_order_that_wakes_at_another_trigger_is_another_order(scene: Scene) -> None:
    await scene.tell(limit(identical_order_window_s=60))
    stop: dict[str, Any] = {"quantity": 1, "order_type": OrderType.SL_M, "price": None}
    at = [order(**stop, trigger_price=Decimal(each)) for each in (810, 820, 810)]
    assert cleared(await scene.tell(*at)) == [True, True, False]
