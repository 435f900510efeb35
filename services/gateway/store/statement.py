"""Several writes as one statement: what a batch changed costs one trip to the database, whatever it was."""

from collections.abc import Sequence
from functools import lru_cache

from libs.common.database import Connection
from libs.common.writes import numbered
from services.gateway.store.rows import Row, columns


class Statement:
    """Parts of a WITH, each with its own `$1`…, and the query at the end. Parts must touch different rows."""

    def __init__(self) -> None:
        self._parts: list[tuple[str, str, int]] = []
        self._values: list[object] = []

    def add(self, name: str, text: str, values: Sequence[object]) -> None:
        self._parts.append((name, text, len(values)))
        self._values += values

    def add_rows(self, name: str, text: str, rows: list[Row], names: tuple[str, ...]) -> None:
        self.add(name, text, columns(rows, names))

    async def fetch(self, connection: Connection, query: str) -> "list[Row]":
        rows = await connection.fetch(_compose((*self._parts, ("", query, 0))), *self._values)
        return [dict(row) for row in rows]


@lru_cache(maxsize=256)
def _compose(parts: tuple[tuple[str, str, int], ...]) -> str:
    """The places of all parts numbered through. The texts are constants, so there are few of these."""
    texts = numbered([(text, values) for _, text, values in parts])
    *named, query = [f"{name} AS ({text})" if name else text for (name, _, _), text in zip(parts, texts, strict=True)]
    return f"WITH {', '.join(named)} {query}"
