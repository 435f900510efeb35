"""The questions of one prefetch, asked as one: each round trip costs more than what it carries."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from libs.common.database import Connection
from libs.common.writes import numbered

Row: TypeAlias = tuple[Any, ...]
"""Columns in the order of the question, typed by whoever unpacks them. Numerics must be asked for as `::text`."""


class Reads:
    """Collects SELECTs, each numbering its own arguments from $1, and who wants the rows."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._statements: list[tuple[str, int]] = []
        self._arguments: list[object] = []
        self._keepers: list[Callable[[Sequence[Row]], None]] = []

    def add(self, statement: str, keep: Callable[[Sequence[Row]], None], *arguments: object) -> None:
        self._statements.append((statement, len(arguments)))
        self._arguments += arguments
        self._keepers.append(keep)

    async def send(self) -> None:
        """Ask what was collected, in one round trip, and hand out the answers in the order of the questions."""
        statements, arguments, keepers = tuple(self._statements), self._arguments, self._keepers
        self._statements, self._arguments, self._keepers = [], [], []
        if not statements:
            return
        answers = await self._connection.fetchrow(_joined(statements), *arguments)
        assert answers is not None, "a SELECT without FROM has one row"
        for keep, rows in zip(keepers, answers, strict=True):
            keep(rows)


@lru_cache(maxsize=64)
def _joined(statements: tuple[tuple[str, int], ...]) -> str:
    """`SELECT ARRAY(SELECT q FROM (SELECT …) q), ARRAY(…)`, the arguments numbered through."""
    return f"SELECT {', '.join(f'ARRAY(SELECT q FROM ({each}) q)' for each in numbered(statements))}"  # noqa: S608 - constants only
