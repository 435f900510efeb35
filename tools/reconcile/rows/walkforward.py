"""The paper venue's book."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from tools.reconcile.rows.row import Row


class _Walkforward(Row):
    __slots__ = ()
    service: ClassVar[str] = "walkforward"


@dataclass(frozen=True, slots=True)
class VenueOrder(_Walkforward):
    source: ClassVar[str] = "orders"
    order_id: UUID
    account_id: UUID
    instrument: str
    side: str
    quantity: int
    status: str
    filled: int
    executions: int
