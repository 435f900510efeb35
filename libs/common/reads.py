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
        self._common: list[tuple[str, int]] = []
        self._statements: list[tuple[str, int]] = []
        self._arguments: list[object] = []
        self._keepers: list[Callable[[Sequence[Row]], None]] = []

    def add(self, statement: str, keep: Callable[[Sequence[Row]], None], *arguments: object) -> None:
        self._statements.append((statement, len(arguments)))
        self._arguments += arguments
        self._keepers.append(keep)

    def write(self, common: str, *arguments: object) -> None:
        """Put these parts of a WITH before the first question: they write, whether a question names them or not."""
        assert not self._statements, "their arguments come first"
        self._common.append((common, len(arguments)))
        self._arguments += arguments

    async def send(self) -> None:
        """Ask what was collected, in one round trip, and hand out the answers in the order of the questions."""
        common, statements = tuple(self._common), tuple(self._statements)
        arguments, keepers = self._arguments, self._keepers
        self._common, self._statements, self._arguments, self._keepers = [], [], [], []
        if not statements:
            return
        answers = await self._connection.fetchrow(_joined(common, statements), *arguments)
        assert answers is not None, "a SELECT without FROM has one row"
        for keep, rows in zip(keepers, answers, strict=True):
            keep(rows)


@lru_cache(maxsize=64)
def _joined(common: tuple[tuple[str, int], ...], statements: tuple[tuple[str, int], ...]) -> str:
    """`WITH … SELECT ARRAY(SELECT q FROM (SELECT …) q), ARRAY(…)`, the arguments numbered through."""
    texts = numbered((*common, *statements))
    first, questions = texts[: len(common)], texts[len(common) :]
    asked = f"SELECT {', '.join(f'ARRAY(SELECT q FROM ({each}) q)' for each in questions)}"  # noqa: S608 - constants only
    return f"WITH {', '.join(first)} {asked}" if first else asked
