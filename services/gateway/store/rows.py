"""What a row looks like on its way in and out: column names to values."""

import asyncio
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, TypeAlias, TypeVar

import asyncpg
import orjson

from libs.common.database import Connection

A = TypeVar("A")
B = TypeVar("B")
Row: TypeAlias = dict[str, Any]
Database: TypeAlias = "asyncpg.Pool | Connection"


def columns(rows: "list[Row]", names: tuple[str, ...]) -> list[list[Any]]:
    """The rows turned into one array per column, for unnest."""
    return [[row[name] for row in rows] for name in names]


AT_ONCE = 500


async def each_of(rows: Iterable[A], make: Callable[[A], B]) -> list[B]:
    """What is made of each. After some hundred of them everybody else has a turn: ten thousand positions take longer
    than an order.
    """
    made: list[B] = []
    left = iter(rows)
    while some := list(islice(left, AT_ONCE)):
        made += map(make, some)
        if len(some) == AT_ONCE:
            await asyncio.sleep(0)
    return made


async def told_of_each(rows: Iterable[A], show: Callable[[A], object]) -> bytes:
    """A list in JSON of what is shown of each, in the same way."""
    return b"[%b]" % b",".join(await each_of(rows, lambda row: orjson.dumps(show(row), default=str)))
