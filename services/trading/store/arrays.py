"""Rows into arrays, one array a column: the shape that `unnest` takes."""

from collections.abc import Sequence
from typing import TypeAlias

from libs.common.service import Connection

Row: TypeAlias = tuple[object, ...]


async def write(connection: Connection, statement: str, rows: Sequence[Row]) -> None:
    if rows:
        await connection.execute(statement, *zip(*rows, strict=True))
