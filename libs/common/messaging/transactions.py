"""The transactions of a consumer's batches: on one connection, where a commit begins the next in its own round trip."""

import contextlib
from collections.abc import AsyncIterator

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from libs.common.clock import stopwatch
from libs.common.database import FAILURES, Connection

_KEPT_S = 1.0
"""How long a transaction that was begun waits for its batch, at most: its connection is another's meanwhile, and
PostgreSQL ends those that wait for long.
"""
_BEGIN = """
    BEGIN;
    SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off;
    SET enable_hashjoin = off; SET enable_mergejoin = off
"""
"""It tells the planner, for as long as the connection is ours: plan each statement once, and for index access.

A batch's statements are the same all day; planned anew each time they cost more than what they do, and a plan made
while a table was empty would scan it for ever.
"""
_END = """
    ROLLBACK;
    RESET plan_cache_mode; RESET enable_seqscan; RESET enable_hashjoin; RESET enable_mergejoin
"""


class Transactions:
    """One at a time. In SQL that runs in them now() is when the one before was committed: `statement_timestamp()`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._connection: PoolConnectionProxy[asyncpg.Record] | None = None
        self._committed_at = 0.0

    @contextlib.asynccontextmanager
    async def next(self) -> AsyncIterator[Connection]:
        connection = await self._begun()
        try:
            yield connection
            await connection.execute("COMMIT AND CHAIN")
        except BaseException:
            await self.end()
            raise
        self._committed_at = stopwatch()

    async def rest(self) -> None:
        """There is no batch now."""
        if self._connection is not None and stopwatch() - self._committed_at > _KEPT_S:
            with contextlib.suppress(*FAILURES):
                await self.end()

    async def end(self) -> None:
        """Begin none, and give the connection back as it came."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            if not _is_lost(connection):
                await connection.execute(_END)
        except BaseException:
            if not _is_lost(connection):
                connection.terminate()
            raise
        finally:
            await self._pool.release(connection)

    async def _begun(self) -> "PoolConnectionProxy[asyncpg.Record]":
        if self._connection is not None and _is_lost(self._connection):
            await self.end()
        if self._connection is None:
            self._connection = await self._pool.acquire(timeout=5)
            try:
                await self._connection.execute(_BEGIN)
            except BaseException:
                await self.end()
                raise
        return self._connection


def _is_lost(connection: "PoolConnectionProxy[asyncpg.Record]") -> bool:
    """A pool takes back at once what broke, and lets nobody ask for it any more."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True
