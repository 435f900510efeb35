"""A log, tables and a cache in memory, for what a real one would hold."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TypeVar

from tools.reconcile.record import Partition, Record, Span
from tools.reconcile.rows import Row

R = TypeVar("R", bound=Row)


class MemoryLog:
    """`lost` says how many of a topic's records retention has taken away."""

    def __init__(self, records: Sequence[Record], lost: Mapping[str, int] | None = None) -> None:
        self._records = records
        self._lost = lost or {}
        self._read = 0

    def spans(self) -> Mapping[Partition, Span]:
        ends: dict[Partition, int] = defaultdict(int)
        for record in self._records:
            ends[record.topic, record.partition] = record.offset + 1
        return {each: Span(self._lost.get(each[0], 0), end) for each, end in ends.items()}

    def read(self, until: Mapping[Partition, int]) -> Iterator[Record]:
        fresh, self._read = self._records[self._read :], len(self._records)
        return (each for each in fresh if each.offset >= self._lost.get(each.topic, 0))

    def again(self, until: Mapping[Partition, int]) -> Iterator[Record]:
        return (each for each in self._records if each.offset >= self._lost.get(each.topic, 0))

    def newest(self, topic: str, seconds: float) -> list[Record]:
        return [each for each in self._records if each.topic == topic]

    def close(self) -> None:
        pass


class MemoryTables:
    """Rows by kind; those that every service has by kind and service."""

    def __init__(
        self, rows: Mapping[type[Row], Sequence[Row]], common: Mapping[tuple[type[Row], str], Sequence[Row]]
    ) -> None:
        self._rows = rows
        self._common = common

    async def begin(self) -> None:
        pass

    async def read(self, kind: type[R], service: str | None = None) -> AsyncIterator[R]:
        found = self._rows.get(kind, ()) if service is None else self._common.get((kind, service), ())
        for row in found:
            assert isinstance(row, kind)
            yield row

    async def close(self) -> None:
        pass


class MemoryCache:
    def __init__(self, quotes: dict[str, bytes], sessions: dict[str, str]) -> None:
        self._quotes = quotes
        self._sessions = sessions

    async def quotes(self) -> dict[str, bytes]:
        return self._quotes

    async def sessions(self) -> dict[str, str]:
        return self._sessions

    async def close(self) -> None:
        pass
