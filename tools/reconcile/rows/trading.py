"""Trading, the owner of orders, positions and funds."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import ClassVar
from uuid import UUID

from tools.reconcile.rows.row import Row


class _Trading(Row):
    __slots__ = ()
    service: ClassVar[str] = "trading"


@dataclass(frozen=True, slots=True)
class TradingOrder(_Trading):
    source: ClassVar[str] = "(SELECT * FROM orders UNION ALL SELECT * FROM archived_orders) AS ever"
    order_id: UUID
    account_id: UUID
    user_id: UUID
    strategy_id: UUID | None
    instrument: str
    side: str
    quantity: int
    order_type: str
    product: str
    price: Decimal | None
    trigger_price: Decimal | None
    purpose: str
    status: str
    is_open: bool
    version: int
    epoch: int
    margin: Decimal
    filled_quantity: int
    filled_value: Decimal
    broker_order_id: str | None
    tag: str
    change: str | None


@dataclass(frozen=True, slots=True)
class BookedExecutions(_Trading):
    """The fills that trading remembers to have booked, by order."""

    source: ClassVar[str] = (
        "(SELECT order_id, array_agg(execution_id) AS execution_ids"
        " FROM (SELECT * FROM executions UNION ALL SELECT * FROM archived_executions) AS ever"
        " WHERE kind = 'FILLED' GROUP BY order_id) AS booked"
    )
    order_id: UUID
    execution_ids: list[str]


@dataclass(frozen=True, slots=True)
class TradingAccount(_Trading):
    source: ClassVar[str] = "accounts"
    account_id: UUID
    user_id: UUID
    name: str
    broker: str
    active: bool
    deleted: bool
    capital: Decimal
    version: int
    opening_balance: Decimal
    realised_pnl: Decimal
    used_margin: Decimal
    funds_version: int
    day: date
    square_offs: int


@dataclass(frozen=True, slots=True)
class TradingPosition(_Trading):
    source: ClassVar[str] = "positions"
    account_id: UUID
    instrument: str
    product: str
    quantity: int
    cost: Decimal
    realised_pnl: Decimal
    bought_quantity: int
    sold_quantity: int
    bought_value: Decimal
    sold_value: Decimal
    margin: Decimal
    version: int

    @property
    def is_live(self) -> bool:
        """Open, or traded today."""
        return bool(self.quantity or self.bought_quantity or self.sold_quantity)


@dataclass(frozen=True, slots=True)
class TradingBook(_Trading):
    source: ClassVar[str] = "books"
    account_id: UUID
    instrument: str
    product: str
    strategy_id: UUID
    quantity: int
    cost: Decimal
    realised_pnl: Decimal


@dataclass(frozen=True, slots=True)
class TradingSettlement(_Trading):
    """What trading noted that an expired contract was worth."""

    source: ClassVar[str] = "settlements"
    since: ClassVar[str | None] = "settlements"
    instrument: str
    price: Decimal
    spot_price: Decimal


@dataclass(frozen=True, slots=True)
class WaitingBook(_Trading):
    """A book that is to be settled, if there is one."""

    source: ClassVar[str] = (
        "(SELECT account_id, instrument FROM books JOIN settlements USING (instrument)"
        " WHERE quantity <> 0 LIMIT 1) AS waiting"
    )
    since: ClassVar[str | None] = "settlements"
    account_id: UUID
    instrument: str


@dataclass(frozen=True, slots=True)
class WaitingAction(_Trading):
    """A split or bonus that is to be booked on what an account on paper carried into its ex-date, if there is one."""

    source: ClassVar[str] = (
        "(SELECT account_id, instrument, a.ex_date, a.kind"
        " FROM books JOIN positions p USING (account_id, instrument, product) JOIN accounts USING (account_id)"
        " JOIN corporate_actions a USING (instrument)"
        " WHERE books.quantity <> 0 AND broker = 'paper' AND p.order_id < a.begins"
        " AND a.ex_date <= (now() AT TIME ZONE 'Asia/Kolkata')::date"
        " AND NOT EXISTS (SELECT FROM booked_actions b"
        " WHERE (b.account_id, b.instrument, b.product, b.ex_date, b.kind)"
        " = (p.account_id, p.instrument, p.product, a.ex_date, a.kind)) LIMIT 1) AS waiting"
    )
    since: ClassVar[str | None] = "corporate_actions"
    account_id: UUID
    instrument: str
    ex_date: date
    kind: str


@dataclass(frozen=True, slots=True)
class TradingComparison(_Trading):
    """Where the account's positions and its broker's differ, as trading knows it; `told` is a JSON list."""

    source: ClassVar[str] = "broker_comparisons"
    since: ClassVar[str | None] = "broker_comparisons"
    account_id: UUID
    version: int
    told: str
    problem: str


@dataclass(frozen=True, slots=True)
class TradingSquareOff(_Trading):
    source: ClassVar[str] = "square_offs"
    square_off_id: UUID
    account_id: UUID
    instrument: str | None
    product: str | None
    reason: str
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class PanicEpoch(_Trading):
    source: ClassVar[str] = "panic_epochs"
    scope: str
    epoch: int
    halted: bool


@dataclass(frozen=True, slots=True)
class Panic(_Trading):
    source: ClassVar[str] = "panics"
    panic_id: UUID
    scope: str
    epoch: int
    raised_at: datetime


@dataclass(frozen=True, slots=True)
class BrokerCall(_Trading):
    """An order that is to be placed at a broker behind HTTP, and when it was."""

    source: ClassVar[str] = (
        "(SELECT order_id, call_id, attempts, called_at FROM broker_calls"
        " WHERE action = 'BrokerOrderRequested') AS placed"
    )
    since: ClassVar[str | None] = "broker_calls"
    order_id: UUID
    call_id: UUID
    attempts: int
    called_at: datetime | None
