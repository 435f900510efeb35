"""A record of a topic as the checker sees it, read by code of its own."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

Partition: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Span:
    """What a partition holds: the first offset that is kept, and the next that will be written."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Record:
    """`millis` is when the producer sent it (Kafka's timestamp); `time` is when the service decided it."""

    topic: str
    partition: int
    offset: int
    millis: int
    key: str
    headers: dict[str, bytes]
    value: bytes

    @property
    def type(self) -> str:
        return self.headers.get("ce_type", b"").decode(errors="replace")

    @property
    def id(self) -> str:
        return self.headers.get("ce_id", b"").decode(errors="replace")

    @property
    def story(self) -> str:
        """The correlation id: the id of the message that began it."""
        return self.headers.get("ce_correlationid", b"").decode(errors="replace") or self.id

    @property
    def source(self) -> str:
        return self.headers.get("ce_source", b"").decode(errors="replace")

    @property
    def time(self) -> datetime:
        try:
            return datetime.fromisoformat(self.headers["ce_time"].decode())
        except (KeyError, ValueError):
            return self.sent_at

    @property
    def sent_at(self) -> datetime:
        return datetime.fromtimestamp(self.millis / 1000, UTC)

    @property
    def place(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"
