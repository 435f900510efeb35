"""The statements of one flush, sent as one: each round trip costs more than what it carries."""

import re
from functools import lru_cache

from libs.common.service import Connection

_PLACE = re.compile(r"\$(\d+)")


class Writes:
    """Collects statements on different rows, each numbering its own arguments from $1."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._statements: list[tuple[str, int]] = []
        self._arguments: list[object] = []

    def add(self, statement: str, *arguments: object) -> None:
        self._statements.append((statement, len(arguments)))
        self._arguments += arguments

    async def send(self) -> None:
        if self._statements:
            await self._connection.execute(_joined(tuple(self._statements)), *self._arguments)
        self._statements, self._arguments = [], []


@lru_cache(maxsize=64)
def _joined(statements: tuple[tuple[str, int], ...]) -> str:
    """`WITH w0 AS (INSERT …), w1 AS (UPDATE …) UPDATE …`, the arguments numbered through."""
    numbered: list[str] = []
    before = 0
    for statement, arguments in statements:
        numbered.append(_PLACE.sub(lambda place, by=before: f"${int(place[1]) + by}", statement))  # type: ignore[misc]
        before += arguments
    *first, last = numbered
    return f"WITH {', '.join(f'w{n} AS ({each})' for n, each in enumerate(first))} {last}" if first else last
