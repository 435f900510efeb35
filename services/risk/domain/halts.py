"""The kill switch: which scopes are stopped, and how often they were."""

from collections.abc import Iterable
from dataclasses import dataclass

from libs.common.contracts.ids import AccountId, StrategyId, UserId


@dataclass(frozen=True, slots=True)
class Halt:
    """The newest word of trading on one scope. The epoch stays when the halt is lifted."""

    scope: str
    epoch: int
    halted: bool


def scopes_of(user_id: UserId, account_id: AccountId, strategy_id: StrategyId | None) -> tuple[str, ...]:
    """Every scope whose panic stops an order."""
    common = ("ALL", f"USER:{user_id}", f"ACCOUNT:{account_id}")
    return common if strategy_id is None else (*common, f"STRATEGY:{strategy_id}")


def epoch_of(halts: Iterable[Halt]) -> int:
    return sum(halt.epoch for halt in halts)


def halted_scope(halts: Iterable[Halt]) -> str | None:
    return next((halt.scope for halt in halts if halt.halted), None)
