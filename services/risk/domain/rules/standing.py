"""Whether anybody may trade here at all: the request's age, the account, halts."""

from libs.common.contracts.enums import DenialRule
from services.risk.domain.halts import halted_scope
from services.risk.domain.rules.check import Denial, OrderCheck


def request_is_fresh(check: OrderCheck) -> Denial | None:
    if check.expires_at >= check.now:
        return None
    age = (check.now - check.expires_at).total_seconds()
    return Denial(
        DenialRule.REQUEST_EXPIRED,
        f"the request expired {age:.1f} s ago",
        check.expires_at.isoformat(),
        check.now.isoformat(),
    )


def account_is_the_users(check: OrderCheck) -> Denial | None:
    if check.ledger.account.user_id == check.order.user_id:
        return None
    account_id = str(check.order.account_id)
    return Denial(
        DenialRule.ACCOUNT_UNKNOWN, f"account {account_id} is not known", "an account of the user", account_id
    )


def account_is_active(check: OrderCheck) -> Denial | None:
    if check.ledger.account.active:
        return None
    account_id = str(check.order.account_id)
    return Denial(DenialRule.ACCOUNT_INACTIVE, f"account {account_id} is deactivated", "an active account", account_id)


def scope_is_not_halted(check: OrderCheck) -> Denial | None:
    scope = halted_scope(check.halts)
    if scope is None:
        return None
    return Denial(DenialRule.HALTED, f"trading is halted for {scope} until it is reset", "no halt", scope)
