"""The alerts that were taken."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from tools.reconcile.rows.row import Row


class _Signals(Row):
    __slots__ = ()
    service: ClassVar[str] = "signals"


@dataclass(frozen=True, slots=True)
class AcceptedAlert(_Signals):
    source: ClassVar[str] = (
        "(SELECT signal_id, received_at FROM webhook_log WHERE fate = 'ACCEPTED' AND signal_id IS NOT NULL) AS taken"
    )
    signal_id: UUID
    received_at: datetime


@dataclass(frozen=True, slots=True)
class SignalsUser(_Signals):
    source: ClassVar[str] = "users"
    user_id: UUID
    may_trade: bool
    version: int
