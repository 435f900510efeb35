"""What a row looks like on its way in and out: column names to values."""

from typing import Any, TypeAlias

import asyncpg

from libs.common.database import Connection

Row: TypeAlias = dict[str, Any]
Database: TypeAlias = "asyncpg.Pool | Connection"


def columns(rows: "list[Row]", names: tuple[str, ...]) -> list[list[Any]]:
    """The rows turned into one array per column, for unnest."""
    return [[row[name] for row in rows] for name in names]
