"""A migrated PostgreSQL database per service and test run, dropped at the end."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import ClassVar
from urllib.parse import urlsplit

import asyncpg

from libs.common import database, ids, schemas


@contextlib.asynccontextmanager
async def unmigrated(prefix: str) -> AsyncIterator[str]:
    """The URL of a database that holds nothing yet, dropped at the end."""
    admin = os.environ["POSTGRES_ADMIN_URL"]
    name = f"{prefix}{ids.new_id().hex[-12:]}"
    server = await asyncpg.connect(admin)
    await server.execute(f"CREATE DATABASE {name}")
    try:
        yield urlsplit(admin)._replace(path=f"/{name}").geturl()
    finally:
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.close()


class Databases:
    """Makes a service's database when it is first asked for."""

    _urls: ClassVar[dict[str, str]] = {}
    _pools: ClassVar[dict[str, asyncpg.Pool]] = {}
    _making = asyncio.Lock()

    @classmethod
    async def url(cls, service: str) -> str:
        async with cls._making:
            if service not in cls._urls:
                cls._urls[service] = await cls._make(service)
        return cls._urls[service]

    @classmethod
    async def pool(cls, service: str) -> asyncpg.Pool:
        url = await cls.url(service)
        if service not in cls._pools:
            cls._pools[service] = await database.open_pool(url, service)
        return cls._pools[service]

    @classmethod
    async def empty(cls, service: str) -> None:
        """Forget all rows of the service, but not its schema. A transaction that a test broke off may end meanwhile.

        TRUNCATE would say the same in one word, and make files anew for each table and index: 0.1 s for every test.
        """
        pool = await cls.pool(service)
        names = await pool.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = $1 AND tablename <> 'alembic_version'", service
        )
        tables = [f'"{row[0]}"' for row in names]
        forget = [
            "SET LOCAL session_replication_role = replica",  # no foreign key is looked at
            f"LOCK TABLE {', '.join(tables)}",
            *(f"DELETE FROM {table}" for table in tables),  # noqa: S608 - of the catalogue
            "SELECT setval(quote_ident(schemaname) || '.' || quote_ident(sequencename), 1, false) FROM pg_sequences",
        ]
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(asyncpg.DeadlockDetectedError):
                    async with pool.acquire() as connection, connection.transaction():
                        await connection.execute("; ".join(forget))
                    return

    @classmethod
    async def drop_all(cls) -> None:
        for pool in cls._pools.values():
            await pool.close()
        if not cls._urls:
            return
        connection = await asyncpg.connect(os.environ["POSTGRES_ADMIN_URL"])
        for url in cls._urls.values():
            await connection.execute(f'DROP DATABASE IF EXISTS "{urlsplit(url).path[1:]}" WITH (FORCE)')
        await connection.close()
        cls._pools.clear()
        cls._urls.clear()

    @staticmethod
    async def _make(service: str) -> str:
        admin = os.environ["POSTGRES_ADMIN_URL"]
        name = f"test_{service}_{os.getpid()}"
        connection = await asyncpg.connect(admin)
        await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await connection.execute(f'CREATE DATABASE "{name}"')
        await connection.close()
        url = urlsplit(admin)._replace(path=f"/{name}").geturl()
        connection = await asyncpg.connect(url)
        await connection.execute(f'CREATE SCHEMA "{service}"')
        await connection.close()
        await schemas.migrate(url, service)
        return url
