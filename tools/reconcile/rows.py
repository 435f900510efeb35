"""The rows that the checker reads, a class each: its fields are the columns, `source` the table, `order` the reading
order. Written down anew from the schemas; no service's code is used."""

from dataclasses import dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from typing import ClassVar, TypeVar
from uuid import UUID

SERVICES = ("gateway", "signals", "strategy", "risk", "trading", "walkforward", "marketdata")


class Row:
    service: ClassVar[str]
    source: ClassVar[str]
    order: ClassVar[str] = "1"
    since: ClassVar[str | None] = None
    """The table that an older installation may not have yet: then there are no rows."""


R = TypeVar("R", bound=Row)


def columns(kind: type[Row]) -> str:
    return ", ".join(each.name for each in fields(kind))  # type: ignore[arg-type]  # every Row is a dataclass


# What every service keeps for its messages


@dataclass(frozen=True, slots=True)
class OffsetRow(Row):
    source: ClassVar[str] = "message_offsets"
    topic: str
    partition: int
    next_offset: int


@dataclass(frozen=True, slots=True)
class OutboxRow(Row):
    source: ClassVar[str] = "message_outbox"
    order: ClassVar[str] = "said_at"
    topic: str
    key: str
    message_id: UUID
    type: str
    said_at: datetime


@dataclass(frozen=True, slots=True)
class ParkedRow(Row):
    source: ClassVar[str] = "message_parked"
    order: ClassVar[str] = "key, seq"
    seq: int
    topic: str
    partition: int
    message_offset: int
    key: str
    type: str
    headers: str
    reason: str
    parked_at: datetime


@dataclass(frozen=True, slots=True)
class DiscardedRow(Row):
    """A message that somebody gave up by command."""

    source: ClassVar[str] = "message_discarded"
    since: ClassVar[str | None] = "message_discarded"
    topic: str
    partition: int
    message_offset: int


# Trading, the owner of orders, positions and funds


@dataclass(frozen=True, slots=True)
class TradingOrder(Row):
    service: ClassVar[str] = "trading"
    source: ClassVar[str] = "orders"
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
class BookedExecutions(Row):
    """The fills that trading remembers to have booked, by order."""

    service: ClassVar[str] = "trading"
    source: ClassVar[str] = (
        "(SELECT order_id, array_agg(execution_id) AS execution_ids FROM executions"
        " WHERE kind = 'FILLED' GROUP BY order_id) AS booked"
    )
    order_id: UUID
    execution_ids: list[str]


@dataclass(frozen=True, slots=True)
class TradingAccount(Row):
    service: ClassVar[str] = "trading"
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
class TradingPosition(Row):
    service: ClassVar[str] = "trading"
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


@dataclass(frozen=True, slots=True)
class TradingBook(Row):
    service: ClassVar[str] = "trading"
    source: ClassVar[str] = "books"
    account_id: UUID
    instrument: str
    product: str
    strategy_id: UUID
    quantity: int
    cost: Decimal
    realised_pnl: Decimal


@dataclass(frozen=True, slots=True)
class TradingSquareOff(Row):
    service: ClassVar[str] = "trading"
    source: ClassVar[str] = "square_offs"
    square_off_id: UUID
    account_id: UUID
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class PanicEpoch(Row):
    service: ClassVar[str] = "trading"
    source: ClassVar[str] = "panic_epochs"
    scope: str
    epoch: int
    halted: bool


@dataclass(frozen=True, slots=True)
class Panic(Row):
    service: ClassVar[str] = "trading"
    source: ClassVar[str] = "panics"
    panic_id: UUID
    scope: str
    epoch: int
    raised_at: datetime


@dataclass(frozen=True, slots=True)
class BrokerCall(Row):
    """An order that is to be placed at a broker behind HTTP, and when it was."""

    service: ClassVar[str] = "trading"
    source: ClassVar[str] = (
        "(SELECT order_id, call_id, attempts, called_at FROM broker_calls"
        " WHERE action = 'BrokerOrderRequested') AS placed"
    )
    since: ClassVar[str | None] = "broker_calls"
    order_id: UUID
    call_id: UUID
    attempts: int
    called_at: datetime | None


# The venue


@dataclass(frozen=True, slots=True)
class VenueOrder(Row):
    service: ClassVar[str] = "walkforward"
    source: ClassVar[str] = "orders"
    order_id: UUID
    account_id: UUID
    instrument: str
    side: str
    quantity: int
    status: str
    filled: int
    executions: int


# Risk's copies


@dataclass(frozen=True, slots=True)
class RiskAccount(Row):
    service: ClassVar[str] = "risk"
    source: ClassVar[str] = "accounts"
    account_id: UUID
    user_id: UUID | None
    active: bool
    opening_balance: Decimal
    realised_pnl: Decimal
    order_margin: Decimal
    position_margin: Decimal
    open_positions: int


@dataclass(frozen=True, slots=True)
class Reservation(Row):
    service: ClassVar[str] = "risk"
    source: ClassVar[str] = "reservations"
    order_id: UUID
    account_id: UUID
    strategy_id: UUID | None
    instrument: str
    product: str
    side: str
    quantity: int
    increasing: int
    unit_margin: Decimal
    proposed_quantity: int | None
    filled: int
    closed: bool
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class RiskExposure(Row):
    service: ClassVar[str] = "risk"
    source: ClassVar[str] = "exposures"
    account_id: UUID
    strategy_id: UUID
    instrument: str
    product: str
    quantity: int
    average_price: Decimal
    realised_pnl: Decimal
    margin: Decimal
    version: int
    pending_buy: int
    pending_sell: int


@dataclass(frozen=True, slots=True)
class RiskHalt(Row):
    service: ClassVar[str] = "risk"
    source: ClassVar[str] = "halts"
    scope: str
    epoch: int
    halted: bool


# Signals


@dataclass(frozen=True, slots=True)
class AcceptedAlert(Row):
    service: ClassVar[str] = "signals"
    source: ClassVar[str] = (
        "(SELECT signal_id, received_at FROM webhook_log WHERE fate = 'ACCEPTED' AND signal_id IS NOT NULL) AS taken"
    )
    signal_id: UUID
    received_at: datetime


# Strategy's copies


@dataclass(frozen=True, slots=True)
class StrategyAccount(Row):
    service: ClassVar[str] = "strategy"
    source: ClassVar[str] = "accounts"
    account_id: UUID
    user_id: UUID
    name: str
    active: bool


@dataclass(frozen=True, slots=True)
class StrategyHolding(Row):
    service: ClassVar[str] = "strategy"
    source: ClassVar[str] = "holdings"
    algo_id: UUID
    account_id: UUID
    state: str


@dataclass(frozen=True, slots=True)
class StrategyAlgo(Row):
    service: ClassVar[str] = "strategy"
    source: ClassVar[str] = "algos"
    algo_id: UUID


# The gateway's projections


@dataclass(frozen=True, slots=True)
class ShownOrder(Row):
    service: ClassVar[str] = "gateway"
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
class ShownFills(Row):
    service: ClassVar[str] = "gateway"
    source: ClassVar[str] = (
        "(SELECT order_id, array_agg(fill_id) AS fill_ids, sum(quantity)::bigint AS quantity,"
        " sum(quantity * price) AS value FROM fills GROUP BY order_id) AS shown"
    )
    order_id: UUID
    fill_ids: list[UUID]
    quantity: int
    value: Decimal


@dataclass(frozen=True, slots=True)
class ShownPosition(Row):
    service: ClassVar[str] = "gateway"
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
class ShownBook(Row):
    service: ClassVar[str] = "gateway"
    source: ClassVar[str] = "strategy_positions"
    account_id: UUID
    strategy_id: UUID
    instrument: str
    product: str
    quantity: int
    average_price: Decimal
    realised_pnl: Decimal


@dataclass(frozen=True, slots=True)
class ShownFunds(Row):
    service: ClassVar[str] = "gateway"
    source: ClassVar[str] = "funds"
    account_id: UUID
    opening_balance: Decimal
    realised_pnl: Decimal
    used_margin: Decimal
    available: Decimal
    version: int


@dataclass(frozen=True, slots=True)
class ShownAccount(Row):
    service: ClassVar[str] = "gateway"
    source: ClassVar[str] = "(SELECT entity_id, version, deleted FROM entities WHERE kind = 'account') AS accounts"
    entity_id: UUID
    version: int
    deleted: bool


@dataclass(frozen=True, slots=True)
class ShownPanic(Row):
    service: ClassVar[str] = "gateway"
    source: ClassVar[str] = "panics"
    scope: str
    epoch: int
    in_force: bool


@dataclass(frozen=True, slots=True)
class ShownSquareOff(Row):
    service: ClassVar[str] = "gateway"
    source: ClassVar[str] = "square_offs"
    square_off_id: UUID
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Answer(Row):
    """What the gateway answered to a request with an idempotency key; no status while the outcome is open."""

    service: ClassVar[str] = "gateway"
    source: ClassVar[str] = "idempotency_keys"
    order: ClassVar[str] = "message_id"
    key: str
    message_id: UUID
    status: int | None
    body: bytes | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Session(Row):
    service: ClassVar[str] = "gateway"
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
