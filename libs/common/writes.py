"""The statements of one flush, sent as one: each round trip costs more than what it carries."""

import re
from collections.abc import Sequence
from functools import lru_cache

from asyncpg import Record

from libs.common.database import Connection

_PLACE = re.compile(r"\$(\d+)")


class Writes:
    """Collects statements on different rows, each numbering its own arguments from $1.

    They become one statement, whose parts see the tables as they were before it: no two may write the same row.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._statements: list[tuple[str, int]] = []
        self._arguments: list[object] = []

    def add(self, statement: str, *arguments: object) -> None:
        self._statements.append((statement, len(arguments)))
        self._arguments += arguments

    def add_rows(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        """Add a statement over `unnest`ed columns, unless there is no row."""
        if rows:
            self.add(statement, *zip(*rows, strict=True))

    async def send(self) -> list[Record]:
        """Execute what was collected, in one round trip; the rows that the last statement returns."""
        statements, arguments = tuple(self._statements), self._arguments
        self._statements, self._arguments = [], []
        return await self._connection.fetch(_joined(statements), *arguments) if statements else []


@lru_cache(maxsize=64)
def _joined(statements: tuple[tuple[str, int], ...]) -> str:
    """`WITH w0 AS (INSERT …), w1 AS (UPDATE …) UPDATE …`, the arguments numbered through."""
    *first, last = numbered(statements)
    return f"WITH {', '.join(f'w{n} AS ({each})' for n, each in enumerate(first))} {last}" if first else last


def numbered(statements: Sequence[tuple[str, int]]) -> list[str]:
    """Statements with how many arguments each has, their places numbered through."""
    through: list[str] = []
    before = 0
    for statement, arguments in statements:
        through.append(_PLACE.sub(lambda place, by=before: f"${int(place[1]) + by}", statement))  # type: ignore[misc]
        before += arguments
    return through
