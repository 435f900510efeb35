"""What the gateway shows: its projections, its answers, its sessions."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import ClassVar
from uuid import UUID

from tools.reconcile.rows.row import Row


class _Gateway(Row):
    __slots__ = ()
    service: ClassVar[str] = "gateway"


@dataclass(frozen=True, slots=True)
class ShownOrder(_Gateway):
    source: ClassVar[str] = "orders"
    order_id: UUID
    account_id: UUID
    strategy_id: UUID | None
    instrument: str
    side: str
    quantity: int
    order_type: str
    product: str
    price: Decimal | None
    trigger_price: Decimal | None
    status: str
    filled_quantity: int
    average_price: Decimal | None
    broker_order_id: str | None
    version: int
    requested_at: datetime


@dataclass(frozen=True, slots=True)
class ShownFills(_Gateway):
    source: ClassVar[str] = (
        "(SELECT order_id, array_agg(fill_id) AS fill_ids, sum(quantity)::bigint AS quantity,"
        " sum(quantity * price) AS value, array_agg(DISTINCT concat_ws(' ', account_id,"
        " coalesce(strategy_id::text, 'by hand'), instrument, side, product)) AS told_of FROM fills"
        " WHERE order_id IS NOT NULL GROUP BY order_id) AS shown"
    )
    order_id: UUID
    fill_ids: list[UUID]
    quantity: int
    value: Decimal
    told_of: list[str]
    """Account, strategy, instrument, side and product: the same of all fills of an order."""


@dataclass(frozen=True, slots=True)
class ShownSettlement(_Gateway):
    source: ClassVar[str] = "(SELECT * FROM fills WHERE order_id IS NULL) AS settled"
    fill_id: UUID
    account_id: UUID
    strategy_id: UUID | None
    instrument: str
    product: str
    side: str
    quantity: int
    price: Decimal


@dataclass(frozen=True, slots=True)
class ShownPosition(_Gateway):
    source: ClassVar[str] = "positions"
    account_id: UUID
    instrument: str
    product: str
    quantity: int
    average_price: Decimal
    realised_pnl: Decimal
    bought_quantity: int
    sold_quantity: int
    bought_value: Decimal
    sold_value: Decimal
    margin: Decimal
    version: int


@dataclass(frozen=True, slots=True)
class ShownBook(_Gateway):
    source: ClassVar[str] = "strategy_positions"
    account_id: UUID
    strategy_id: UUID
    instrument: str
    product: str
    quantity: int
    average_price: Decimal
    realised_pnl: Decimal


@dataclass(frozen=True, slots=True)
class ShownFunds(_Gateway):
    source: ClassVar[str] = "funds"
    account_id: UUID
    opening_balance: Decimal
    realised_pnl: Decimal
    used_margin: Decimal
    available: Decimal
    version: int


@dataclass(frozen=True, slots=True)
class ShownAccount(_Gateway):
    source: ClassVar[str] = "(SELECT entity_id, version, deleted FROM entities WHERE kind = 'account') AS accounts"
    entity_id: UUID
    version: int
    deleted: bool


@dataclass(frozen=True, slots=True)
class ShownLimit(_Gateway):
    """`body` is the RiskLimit that is shown."""

    source: ClassVar[str] = (
        "(SELECT entity_id, version, deleted, body FROM entities WHERE kind = 'risk_limit') AS limits"
    )
    entity_id: UUID
    version: int
    deleted: bool
    body: str


@dataclass(frozen=True, slots=True)
class ShownComparison(_Gateway):
    """`body` is the PositionsCompared that is shown."""

    source: ClassVar[str] = "broker_positions"
    since: ClassVar[str | None] = "broker_positions"
    account_id: UUID
    version: int
    body: str


@dataclass(frozen=True, slots=True)
class ShownPanic(_Gateway):
    source: ClassVar[str] = "panics"
    scope: str
    epoch: int
    in_force: bool


@dataclass(frozen=True, slots=True)
class UserAccess(_Gateway):
    """Of whom it ever changed whether he may trade, and whether he may now, as the others were told."""

    source: ClassVar[str] = (
        "(SELECT user_id, told_may_trade AS may_trade, access_version AS version FROM users"
        " WHERE access_version > 0) AS access"
    )
    user_id: UUID
    may_trade: bool
    version: int


@dataclass(frozen=True, slots=True)
class ShownSquareOff(_Gateway):
    source: ClassVar[str] = "square_offs"
    square_off_id: UUID
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Answer(_Gateway):
    """What the gateway answered to a request with an idempotency key; no status while the outcome is open."""

    source: ClassVar[str] = "idempotency_keys"
    order: ClassVar[str] = "message_id"
    key: str
    message_id: UUID
    status: int | None
    body: bytes | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Session(_Gateway):
    source: ClassVar[str] = (
        "(SELECT session_id, role, active, revoked_at, s.expires_at, u.updated_at"
        " FROM sessions s JOIN users u USING (user_id)) AS known"
    )
    session_id: UUID
    role: str
    active: bool
    revoked_at: datetime | None
    expires_at: datetime
    updated_at: datetime
