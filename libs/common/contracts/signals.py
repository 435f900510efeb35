"""Alerts from outside, and the groups that receive them."""

from datetime import date, datetime
from decimal import Decimal

from libs.common.contracts.base import Event, Request, Value
from libs.common.contracts.enums import Side, SignalSource, SignalType
from libs.common.contracts.ids import AccountId, SignalGroupId, SignalId, UserId


class SignalGroup(Value):
    """A receiver of alerts. Its URL id, token and signing key derive from the server's webhook secret,
    the id and `rotation` (libs.common.security), so that no secret is stored or sent.

    `expiry_date` is the last day (Asia/Kolkata) on which alerts are taken.
    """

    group_id: SignalGroupId
    user_id: UserId
    name: str
    source: SignalSource
    max_signals_per_day: int = 100
    expiry_date: date | None = None
    market_hours_only: bool = False
    duplicate_window_s: int = 0
    max_per_minute: int = 60
    signature_required: bool = False
    active: bool = True
    rotation: int = 0


class SignalGroupSaveRequested(Request):
    group_id: SignalGroupId
    user_id: UserId
    group: SignalGroup
    expected_version: int


class SignalGroupDeleteRequested(Request):
    group_id: SignalGroupId
    user_id: UserId


class SignalGroupSaved(Event):
    group_id: SignalGroupId
    user_id: UserId
    group: SignalGroup
    version: int


class SignalGroupDeleted(Event):
    group_id: SignalGroupId
    user_id: UserId


class SignalReceived(Event):
    """An alert that passed every rule of its group and is durably kept. `symbol`, the `exchange` beside it and the
    `stocks` that a scan found are as the sender wrote them.
    """

    signal_id: SignalId
    group_id: SignalGroupId
    user_id: UserId
    signal_type: SignalType
    action: Side
    symbol: str | None
    quantity: int | None
    price: Decimal | None
    account_id: AccountId | None
    alert_name: str | None
    received_at: datetime
    exchange: str | None = None
    stocks: tuple[str, ...] = ()
