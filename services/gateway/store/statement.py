"""Several writes as one statement: what a batch changed costs one trip to the database, whatever it was."""

import re
from collections.abc import Sequence
from functools import lru_cache

from libs.common.service import Connection
from services.gateway.store.rows import Row, columns

_PLACE = re.compile(r"\$(\d+)")


class Statement:
    """Parts of a WITH, each with its own `$1`…, and the query at the end. Parts must touch different rows."""

    def __init__(self) -> None:
        self._parts: list[tuple[str, str]] = []
        self._values: list[object] = []

    def add(self, name: str, text: str, values: Sequence[object]) -> None:
        self._parts.append((name, text))
        self._values += values

    def add_rows(self, name: str, text: str, rows: list[Row], names: tuple[str, ...]) -> None:
        self.add(name, text, columns(rows, names))

    async def fetch(self, connection: Connection, query: str) -> "list[Row]":
        rows = await connection.fetch(_compose((*self._parts, ("", query))), *self._values)
        return [dict(row) for row in rows]


@lru_cache(maxsize=256)
def _compose(parts: tuple[tuple[str, str], ...]) -> str:
    """Number the places of all parts through. The texts are constants, so there are few of these."""
    used = 0
    composed: list[str] = []
    for name, text in parts:
        first = used
        places = [int(place) for place in _PLACE.findall(text)]
        used += max(places, default=0)
        numbered = _PLACE.sub(lambda match, first=first: f"${int(match[1]) + first}", text)  # type: ignore[misc]
        composed.append(f"{name} AS ({numbered})" if name else numbered)
    return f"WITH {', '.join(composed[:-1])} {composed[-1]}"
