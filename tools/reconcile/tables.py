"""The services' tables, each schema read in one transaction that sees one moment and may not write."""

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

import asyncpg

from tools.reconcile.rows import R, Row, columns

ANSWER_S = 10.0
STATEMENT_S = 60.0
PREFETCH = 2_000


class TablesUnreadable(Exception):
    """A database does not answer, or has not what is asked for; says which."""


class Tables(Protocol):
    async def begin(self) -> None:
        """See every schema as it is now; what is read afterwards is of this moment."""

    def read(self, kind: type[R], service: str | None = None) -> AsyncIterator[R]:
        """All rows of a kind, in their order; `service` for a table that every service has."""

    async def close(self) -> None: ...


class PostgresTables:
    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = urls
        self._connections: dict[str, asyncpg.Connection] = {}

    async def begin(self) -> None:
        for service, url in self._urls.items():
            try:
                await self._begin(service, url)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                raise TablesUnreadable(f"the database of {service} does not answer: {error!r}") from error

    async def _begin(self, service: str, url: str) -> None:
        connection = self._connections.get(service)
        if connection is None or connection.is_closed():
            settings = {"search_path": service, "application_name": "reconcile", "jit": "off"}
            connection = await asyncpg.connect(
                url, timeout=ANSWER_S, command_timeout=STATEMENT_S, server_settings=settings
            )
            self._connections[service] = connection
        else:
            await connection.execute("ROLLBACK")
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        # The moment that a transaction sees is taken by its first statement.
        await connection.execute("SELECT 1 FROM message_offsets LIMIT 1")

    async def read(self, kind: type[R], service: str | None = None) -> AsyncIterator[R]:
        where = service or kind.service
        connection = self._connections[where]
        query = f"SELECT {columns(kind)} FROM {kind.source} ORDER BY {kind.order}"  # noqa: S608 - our own words
        try:
            if kind.since and not await connection.fetchval("SELECT to_regclass($1)", kind.since):
                return
            async for row in connection.cursor(query, prefetch=PREFETCH):
                yield kind(*row)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise TablesUnreadable(f"{where}.{_name(kind)}: {error!r}") from error

    async def close(self) -> None:
        for connection in self._connections.values():
            await connection.close(timeout=ANSWER_S)
        self._connections.clear()


def _name(kind: type[Row]) -> str:
    return kind.__name__
