"""Trading accounts. A person may hold several, each at its own broker."""

from decimal import Decimal

from libs.common.contracts.base import Event, Request, Value
from libs.common.contracts.enums import Broker
from libs.common.contracts.ids import AccountId, UserId


class Account(Value):
    """`opening_balance` is the paper account's capital in rupees."""

    account_id: AccountId
    user_id: UserId
    name: str
    broker: Broker
    labels: tuple[str, ...] = ()
    is_master: bool = False
    active: bool = True
    opening_balance: Decimal = Decimal("10000000")


class AccountSaveRequested(Request):
    """Create (`expected_version` 0) or replace an account. Stale versions are refused with `conflict`."""

    account_id: AccountId
    user_id: UserId
    account: Account
    expected_version: int


class AccountDeleteRequested(Request):
    """Refused with `conflict` while the account has open orders or positions."""

    account_id: AccountId
    user_id: UserId


class AccountSaved(Event):
    account_id: AccountId
    user_id: UserId
    account: Account
    version: int


class AccountDeleted(Event):
    """Should a fill of one of its orders be told only now, or its broker have an order after all, AccountSaved follows:
    the account is there again, deactivated, until what it holds is closed.
    """

    account_id: AccountId
    user_id: UserId
