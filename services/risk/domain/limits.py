"""The limits that people set: which orders they concern, and what a well-formed one is."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from libs.common.contracts.base import RequestRefused
from libs.common.contracts.enums import BreachKind, RiskLevel
from libs.common.contracts.ids import AccountId, InstrumentId, RiskLimitId, StrategyId, UserId
from libs.common.contracts.orders import OrderTerms
from libs.common.contracts.risk import (
    RiskLimit,
    RiskLimitDeleted,
    RiskLimitDeleteRequested,
    RiskLimitSaved,
    RiskLimitSaveRequested,
)


@dataclass(frozen=True, slots=True)
class OrderLimit:
    """The part of a limit that orders are checked against. `lost_on` is the day its daily loss was hit last,
    `mtm` what that day's MTM was then.
    """

    limit_id: RiskLimitId
    user_id: UserId
    level: RiskLevel
    account_id: AccountId | None = None
    strategy_id: StrategyId | None = None
    instrument: InstrumentId | None = None
    max_order_value: Decimal | None = None
    max_open_positions: int | None = None
    max_daily_loss: Decimal | None = None
    identical_order_window_s: int | None = None
    lost_on: date | None = None
    mtm: Decimal | None = None

    def concerns(self, order: OrderTerms) -> bool:
        if self.user_id != order.user_id:
            return False
        match self.level:
            case RiskLevel.USER:
                return True
            case RiskLevel.ACCOUNT:
                return self.account_id == order.account_id
            case RiskLevel.STRATEGY:
                return self.strategy_id == order.strategy_id
            case RiskLevel.INSTRUMENT:
                return self.account_id == order.account_id and self.instrument == order.instrument
            case RiskLevel.ALL:
                return False

    @property
    def scope(self) -> str:
        """The scope for people: `account`, `NSE:SBIN`."""
        return self.instrument or self.level.value.lower()


@dataclass(frozen=True, slots=True)
class KeptLimit:
    """What is stored of a limit, as far as changing it needs; `deleted` ones keep their version."""

    user_id: UserId
    version: int
    deleted: bool


def save(kept: KeptLimit | None, request: RiskLimitSaveRequested) -> RiskLimitSaved | RequestRefused:
    """Create with `expected_version` 0, replace with the version that the writer has seen."""
    limit = request.limit
    if kept is not None and kept.user_id != request.user_id:
        return refused(request, "not_found", "there is no such limit")
    if (kept is None or kept.deleted) and request.expected_version != 0:
        return refused(request, "not_found", "there is no such limit")
    version = kept.version if kept is not None else 0
    if request.expected_version != version and not (kept is not None and kept.deleted):
        return refused(request, "conflict", f"version {request.expected_version} was expected, it is {version} now")
    if wrong := flaw(request):
        return refused(request, "invalid", wrong)
    return RiskLimitSaved(limit_id=request.limit_id, user_id=request.user_id, limit=limit, version=version + 1)


def delete(kept: KeptLimit | None, request: RiskLimitDeleteRequested) -> RiskLimitDeleted | RequestRefused:
    if kept is None or kept.deleted or kept.user_id != request.user_id:
        return refused(request, "not_found", "there is no such limit")
    return RiskLimitDeleted(limit_id=request.limit_id, user_id=request.user_id)


def flaw(request: RiskLimitSaveRequested) -> str | None:
    """What is wrong with the limit, as a sentence; None when it is well formed."""
    limit = request.limit
    if (limit.limit_id, limit.user_id) != (request.limit_id, request.user_id):
        return "the limit's ids differ from the request's"
    return _scope_flaw(limit) or _amount_flaw(limit)


def _scope_flaw(limit: RiskLimit) -> str | None:
    scope = (limit.account_id is not None, limit.strategy_id is not None, limit.instrument is not None)
    match limit.level, scope:
        case RiskLevel.USER, (False, False, False):
            return None
        case RiskLevel.ACCOUNT, (True, False, False):
            return None
        case RiskLevel.STRATEGY, (False, True, False):
            return None
        case RiskLevel.INSTRUMENT, (True, False, True):
            return None
        case RiskLevel.ALL, _:
            return "a limit's level is USER, ACCOUNT, STRATEGY or INSTRUMENT"
        case _:
            return (
                f"a limit of level {limit.level} names exactly its own scope "
                "(USER none, ACCOUNT account_id, STRATEGY strategy_id, INSTRUMENT account_id and instrument)"
            )


def _amount_flaw(limit: RiskLimit) -> str | None:
    amounts = {
        name: getattr(limit, name)
        for name in (
            "max_order_value",
            "max_open_positions",
            "max_daily_loss",
            "stop_loss",
            "target",
            "trailing_stop",
            "identical_order_window_s",
        )
    }
    given = {name: amount for name, amount in amounts.items() if amount is not None}
    if not given:
        return "a limit needs at least one amount"
    wrong = next((name for name, amount in given.items() if not amount > 0), None)
    if wrong:
        return f"{wrong} {given[wrong]} is not above 0"
    if limit.level is RiskLevel.INSTRUMENT and limit.max_open_positions is not None:
        return "max_open_positions limits a user, an account or a strategy, not one instrument"
    return None


def watched(limit: RiskLimit) -> dict[BreachKind, Decimal]:
    """The amounts of a limit that are held against MTM."""
    amounts = {
        BreachKind.STOP_LOSS: limit.stop_loss,
        BreachKind.TARGET: limit.target,
        BreachKind.TRAILING_STOP: limit.trailing_stop,
        BreachKind.DAILY_LOSS: limit.max_daily_loss,
    }
    return {kind: amount for kind, amount in amounts.items() if amount is not None and limit.active}


def refused(request: RiskLimitSaveRequested | RiskLimitDeleteRequested, code: str, reason: str) -> RequestRefused:
    return RequestRefused(entity_id=str(request.limit_id), request=type(request).__name__, code=code, reason=reason)
