"""What every service keeps for its messages."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from tools.reconcile.rows.row import Row


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
