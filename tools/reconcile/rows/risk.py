"""Risk's copies, and what it keeps for open orders."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import ClassVar
from uuid import UUID

from tools.reconcile.rows.row import Row


class _Risk(Row):
    __slots__ = ()
    service: ClassVar[str] = "risk"


@dataclass(frozen=True, slots=True)
class RiskAccount(_Risk):
    source: ClassVar[str] = "accounts"
    account_id: UUID
    user_id: UUID | None
    active: bool
    opening_balance: Decimal
    realised_pnl: Decimal
    order_margin: Decimal
    position_margin: Decimal
    open_positions: int
    broker: str | None


@dataclass(frozen=True, slots=True)
class Reservation(_Risk):
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
class RiskExposure(_Risk):
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
class KeptLimit(_Risk):
    source: ClassVar[str] = "limits"
    limit_id: UUID
    user_id: UUID
    level: str
    account_id: UUID | None
    strategy_id: UUID | None
    instrument: str | None
    max_order_value: Decimal | None
    max_open_positions: int | None
    max_daily_loss: Decimal | None
    identical_order_window_s: int | None
    active: bool
    deleted: bool
    version: int


@dataclass(frozen=True, slots=True)
class KeptWatch(_Risk):
    """An amount of a limit that the MTM is held against."""

    source: ClassVar[str] = "watches"
    limit_id: UUID
    kind: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class RiskHalt(_Risk):
    source: ClassVar[str] = "halts"
    scope: str
    epoch: int
    halted: bool
