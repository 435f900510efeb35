"""Limits, breaches and panics."""

from datetime import date, datetime
from decimal import Decimal

from libs.common.contracts.base import Event, Request, Value
from libs.common.contracts.enums import BreachKind, RiskLevel
from libs.common.contracts.ids import (
    AccountId,
    InstrumentId,
    PanicId,
    RiskLimitId,
    StrategyId,
    UserId,
)


class RiskLimit(Value):
    """Limits of one scope; a field left None limits nothing.

    The scope is the whole user, one account, one strategy, or one instrument in one account. MTM amounts are rupees of
    today's realised and unrealised profit: `stop_loss`, `trailing_stop` and `max_daily_loss` are positive losses.
    `trailing_stop` is the distance from the best MTM of the day, of a strategy or an instrument from the best since its
    position was opened, while anything is open that was carried overnight. `identical_order_window_s` denies an
    entry with the instrument, side, quantity, type and prices of another that was cleared within that many seconds.
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
    stop_loss: Decimal | None = None
    target: Decimal | None = None
    trailing_stop: Decimal | None = None
    identical_order_window_s: int | None = None
    active: bool = True


class RiskLimitSaveRequested(Request):
    limit_id: RiskLimitId
    user_id: UserId
    limit: RiskLimit
    expected_version: int


class RiskLimitDeleteRequested(Request):
    limit_id: RiskLimitId
    user_id: UserId


class RiskLimitSaved(Event):
    limit_id: RiskLimitId
    user_id: UserId
    limit: RiskLimit
    version: int


class RiskLimitDeleted(Event):
    limit_id: RiskLimitId
    user_id: UserId


class MTMBreached(Event):
    """A limit was crossed; said once until the scope is flat or the limit changes. A square-off follows."""

    user_id: UserId
    limit_id: RiskLimitId
    level: RiskLevel
    kind: BreachKind
    account_id: AccountId | None
    strategy_id: StrategyId | None
    instrument: InstrumentId | None
    limit: Decimal
    mtm: Decimal
    peak_mtm: Decimal
    breached_at: datetime


class WatchMoved(Event):
    """Where a limit's watch over MTM stands: its newest best MTM, or armed again from a new baseline.

    `watch` is `<limit_id>:<kind>`. `peak` is of its day, `carried_peak` of the days before. Said so that risk's
    state can be built anew from what it said.
    """

    watch: str
    limit_id: RiskLimitId
    user_id: UserId
    kind: BreachKind
    version: int
    armed: bool
    day: date
    baseline: Decimal
    peak: Decimal | None
    carried_peak: Decimal | None = None


class PanicRequested(Request):
    """Stop the scope: block new orders, cancel pending ones, close positions, until a person resets it.

    `scope` is `ALL`, `USER:<id>`, `ACCOUNT:<id>` or `STRATEGY:<id>`. What was stopped `by_admin` only admins
    begin again.
    """

    panic_id: PanicId
    scope: str
    level: RiskLevel
    requested_by: UserId
    reason: str
    by_admin: bool = False


class PanicResetRequested(Request):
    """Take new orders in the scope again. Refused as `forbidden` to others when it was stopped by an admin.

    Refused as `conflict` when a panic that was asked for later stopped the scope: ids tell.
    """

    panic_id: PanicId
    scope: str
    level: RiskLevel
    requested_by: UserId
    by_admin: bool = False


class PanicRaised(Event):
    """The epoch of the scope is raised and committed: nothing cleared under an older one leaves for a venue."""

    panic_id: PanicId
    scope: str
    level: RiskLevel
    epoch: int
    raised_by: UserId
    reason: str


class PanicReset(Event):
    """New orders are taken in the scope again, under the same epoch."""

    panic_id: PanicId
    scope: str
    level: RiskLevel
    epoch: int
    reset_by: UserId
