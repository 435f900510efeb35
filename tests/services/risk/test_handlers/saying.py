"""What risk is told, and how what it says and keeps is read."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from libs.common import ids
from libs.common.contracts.base import Message
from libs.common.contracts.enums import DenialRule, RiskLevel
from libs.common.contracts.ids import PanicId, RiskLimitId
from libs.common.contracts.orders import (
    OrderCleared,
    OrderDenied,
    OrderModifyRefused,
    OrderModifyRequested,
    OrderRequested,
)
from libs.common.contracts.risk import PanicRaised, PanicReset, RiskLimit, RiskLimitSaveRequested
from tests.services.risk.scene import ACCOUNT, NOW, USER, Scene


async def bound(scene: Scene) -> tuple[object, ...]:
    """Margin of orders, margin of positions, positions open or being opened."""
    row = await scene.connection.fetchrow(
        "SELECT order_margin, position_margin, open_positions FROM accounts WHERE account_id = $1", ACCOUNT
    )
    assert row is not None
    return row[0], row[1], row[2]


def cleared(said: Sequence[Message]) -> list[bool]:
    return [isinstance(each, OrderCleared) for each in said]


def rules(said: Sequence[Message]) -> list[DenialRule | None]:
    denied = [each for each in said if isinstance(each, OrderDenied | OrderModifyRefused)]
    assert all(each.limit and each.value for each in denied), denied
    return [each.rule for each in denied]


def change(request: OrderRequested, **terms: Any) -> OrderModifyRequested:
    facts: dict[str, Any] = {"expires_at": NOW + timedelta(seconds=30), **terms}
    return OrderModifyRequested(order_id=request.order_id, account_id=ACCOUNT, user_id=USER, **facts)


def limit(level: RiskLevel = RiskLevel.USER, version: int = 0, **terms: Any) -> RiskLimitSaveRequested:
    limit_id = terms.pop("limit_id", None) or RiskLimitId(ids.new_id())
    amounts = RiskLimit(limit_id=limit_id, user_id=USER, level=level, **terms)
    return RiskLimitSaveRequested(limit_id=limit_id, user_id=USER, limit=amounts, expected_version=version)


def panic(scope: str, epoch: int = 1) -> PanicRaised:
    return PanicRaised(
        panic_id=PanicId(ids.new_id()), scope=scope, level=RiskLevel.ALL, epoch=epoch, raised_by=USER, reason="test"
    )


def reset(scope: str, epoch: int = 1) -> PanicReset:
    return PanicReset(panic_id=PanicId(ids.new_id()), scope=scope, level=RiskLevel.ALL, epoch=epoch, reset_by=USER)
