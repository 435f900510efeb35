"""PostgreSQL: pools and sessions on a service's own schema."""

import contextlib
from collections.abc import Iterator
from decimal import Decimal
from typing import TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
"""A session of its own or one of a pool's: whoever asks does not mind."""

STATEMENT_S = 10.0
_FORSAKEN_MS = "5000"
"""A transaction whose process was stopped in the midst of it ends so soon, and frees what it locked for the others. Not
between the preparation of a statement and its execution: then it ends with its process's lease.
"""
FAILURES = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What may come of a question to a PostgreSQL that is away, or goes in the midst of it: the last of them is what a
roll-back raises on a connection that broke within a statement.
"""


@contextlib.contextmanager
def or_exit() -> Iterator[None]:
    """For what a person runs: a PostgreSQL that is away, or refuses, ends the process with one line."""
    try:
        yield
    except FAILURES as error:
        raise SystemExit(f"PostgreSQL does not answer, or refuses: {error!r}") from error


def session_name(schema: str, owner: int | None) -> str:
    """Of all sessions of a process that owns an outbox, so that they can be ended with it."""
    return schema if owner is None else f"{schema} {owner}"


async def open_pool(
    url: str, schema: str, *, size: int = 10, patient: bool = False, owner: int | None = None
) -> asyncpg.Pool:
    """A pool on the service's own schema. Every statement ends within STATEMENT_S or fails.

    `patient` is for work that nobody else waits for, as a rebuild: on years of data one statement takes minutes.
    """
    pool = await asyncpg.create_pool(
        url,
        min_size=min(2, size),
        max_size=size,
        max_queries=1_000_000,
        timeout=5,
        command_timeout=None if patient else STATEMENT_S,
        init=_money_as_written,
        reset=_nothing_to_reset,
        server_settings={
            "search_path": schema,
            "application_name": session_name(schema, owner),
            "jit": "off",
            "idle_in_transaction_session_timeout": "0" if patient else _FORSAKEN_MS,
        },
    )
    assert pool is not None
    return pool


async def _money_as_written(connection: Connection) -> None:
    """Numerics travel as text: the binary form reads 10000000 back as 1.000E+7, which would reach the API."""
    await connection.set_type_codec("numeric", schema="pg_catalog", encoder=str, decoder=Decimal, format="text")


async def _nothing_to_reset(_: Connection) -> None:
    """Nobody sets anything on a session that outlives its transaction, so returning one costs no round trip."""


async def connect(url: str, schema: str, owner: int | None = None) -> asyncpg.Connection:
    settings = {"search_path": schema, "application_name": session_name(schema, owner)}
    return await asyncpg.connect(url, timeout=5, command_timeout=STATEMENT_S, server_settings=settings)
