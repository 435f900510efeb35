"""Panic epochs: the fence that every order passes in the transaction that records its sending."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from pydantic import TypeAdapter

from libs.common import ids
from libs.common.contracts.base import RequestRefused
from libs.common.contracts.enums import DenialRule, OrderPurpose
from libs.common.contracts.ids import AccountId, PanicId, StrategyId, UserId
from libs.common.contracts.risk import PanicRaised, PanicRequested, PanicReset, PanicResetRequested
from services.trading.domain.accounts import TradingAccount

ALL = "ALL"
SCOPE = re.compile(r"ALL|(USER|ACCOUNT|STRATEGY):[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_STRATEGY_ID: TypeAdapter[StrategyId] = TypeAdapter(StrategyId)


@dataclass(frozen=True, slots=True)
class PanicEpoch:
    """How often a scope was stopped, and whether it is now. `panic_id` raised the newest epoch. `by_admin`: an admin
    stopped it, or asked for it too while it was stopped, so only admins reset it.
    """

    scope: str
    epoch: int = 0
    halted: bool = False
    panic_id: PanicId | None = None
    by_admin: bool = False


@dataclass(frozen=True, slots=True)
class Denial:
    rule: DenialRule
    reason: str
    limit: str
    value: str


def scopes_of(user_id: UserId, account_id: AccountId, strategy_id: StrategyId | None) -> tuple[str, ...]:
    """Every scope whose panic stops an order."""
    common = (ALL, f"USER:{user_id}", f"ACCOUNT:{account_id}")
    return common if strategy_id is None else (*common, f"STRATEGY:{strategy_id}")


def strategy_of(scope: str) -> StrategyId | None:
    """The strategy that a scope stops; None for one that stops whole accounts."""
    kind, _, owner = scope.partition(":")
    return _STRATEGY_ID.validate_python(owner) if kind == "STRATEGY" else None


def epoch_of(epochs: Iterable[PanicEpoch]) -> int:
    return sum(each.epoch for each in epochs)


def unknown_account(account_id: AccountId) -> Denial:
    return Denial(DenialRule.ACCOUNT_UNKNOWN, "there is no such account", "an account of the user", str(account_id))


def halted(epochs: Iterable[PanicEpoch]) -> tuple[PanicEpoch, ...]:
    return tuple(each for each in epochs if each.halted)


def stop_strategy_only(stopped: Iterable[PanicEpoch]) -> bool:
    """Whether no wider scope than a strategy is stopped."""
    return all(each.scope.startswith("STRATEGY:") for each in stopped)


def refuse(
    account: TradingAccount, epochs: Iterable[PanicEpoch], cleared_under: int, purpose: OrderPurpose
) -> Denial | None:
    """Why what risk let through may not leave for the venue; None when it may."""
    return refuse_account(account, purpose) or refuse_epoch(epochs, cleared_under, purpose)


def refuse_account(account: TradingAccount, purpose: OrderPurpose) -> Denial | None:
    """A deactivated account takes no new orders, but what it holds can still be squared off."""
    if account.deleted:
        return unknown_account(account.account_id)
    if not account.active and purpose is not OrderPurpose.SQUARE_OFF:
        return Denial(
            DenialRule.ACCOUNT_INACTIVE, "the account is not active", "an active account", str(account.account_id)
        )
    return None


def refuse_epoch(epochs: Iterable[PanicEpoch], cleared_under: int, purpose: OrderPurpose) -> Denial | None:
    """What was cleared before a panic never leaves after it; while it lasts, only square-offs do."""
    known = tuple(epochs)
    current = epoch_of(known)
    if current > cleared_under:
        reason = f"cleared under panic epoch {cleared_under}, it is {current} now"
        return Denial(DenialRule.STALE_EPOCH, reason, str(current), str(cleared_under))
    stopped = halted(known)
    if stopped and purpose is not OrderPurpose.SQUARE_OFF:
        scope = stopped[0].scope
        return Denial(DenialRule.HALTED, f"trading is stopped for {scope}", "no halt", scope)
    return None


def refuse_scope(request: PanicRequested | PanicResetRequested) -> RequestRefused | None:
    if SCOPE.fullmatch(request.scope):
        return None
    return RequestRefused(
        entity_id=str(request.panic_id),
        request=type(request).__name__,
        code="invalid",
        reason=f"scope {request.scope!r} is not ALL, USER:<id>, ACCOUNT:<id> or STRATEGY:<id>",
    )


def refuse_reset(
    current: PanicEpoch, newest: PanicId | None, request: PanicResetRequested, now: datetime
) -> RequestRefused | None:
    """An owner may stop his own, but what an admin stopped he must not begin again. `newest` stopped the scope last: a
    wish from before it (ids tell) may have waited for Kafka for long, when its sender had heard that nothing was taken.
    An id of the future is of a clock that was wrong, and tells nothing.
    """
    if not current.halted:
        return None
    if current.by_admin and not request.by_admin:
        code, reason = "forbidden", f"an admin stopped {request.scope}; only an admin may reset it"
    elif newest is not None and request.panic_id < newest and ids.unix_time(newest) <= now.timestamp():
        code, reason = "conflict", f"{request.scope} was stopped again after this reset was asked for: ask anew"
    else:
        return None
    return RequestRefused(entity_id=str(request.panic_id), request=type(request).__name__, code=code, reason=reason)


def raise_epoch(current: PanicEpoch, panic_id: PanicId, *, by_admin: bool) -> PanicEpoch:
    """A scope that is stopped already stays under its epoch: the exits on their way must not become stale."""
    if current.halted:
        return replace(current, by_admin=current.by_admin or by_admin)
    return replace(current, epoch=current.epoch + 1, halted=True, panic_id=panic_id, by_admin=by_admin)


def reset(current: PanicEpoch) -> PanicEpoch:
    return replace(current, halted=False, by_admin=False)


def raised(request: PanicRequested, epoch: int) -> PanicRaised:
    return PanicRaised(
        panic_id=request.panic_id,
        scope=request.scope,
        level=request.level,
        epoch=epoch,
        raised_by=request.requested_by,
        reason=request.reason,
    )


def was_reset(request: PanicResetRequested, epoch: int) -> PanicReset:
    return PanicReset(
        panic_id=request.panic_id,
        scope=request.scope,
        level=request.level,
        epoch=epoch,
        reset_by=request.requested_by,
    )
