"""A schema and a role per service, and its migrations. Services import none of it: Alembic would slow their start.

python -m libs.common.schemas provision    roles and schemas, from POSTGRES_ADMIN_URL
python -m libs.common.schemas migrate      every service's schema to its newest version
"""

import asyncio
import importlib.util
import os
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncpg
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection as SyncConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from libs.common.clock import stopwatch
from libs.common.database import connect, or_exit
from libs.common.messaging.schema import TABLES
from libs.common.settings import SettingsError, variable

SERVICES = ("gateway", "trading", "risk", "strategy", "marketdata", "signals", "walkforward")
_ROOT = Path(__file__).resolve().parents[2]
_TURN_S = 300.0
"""How long the migrations of one service may take."""
_LOCK_S = 1.0
"""How long a migration waits for a table that somebody reads for long, as a backup does: whoever wants the table after
it waits behind it.
"""
_AGAIN_S = 2.0
"""How long they have the table then, before the migration asks again."""


async def migrate(url: str, service: str, to: str = "head") -> None:
    """Bring one service's schema to its newest version, or up `to` one: the runtime's tables, then its own migrations.

    Whoever comes while another does waits for him, and finds everything done.
    """
    connection = await connect(url, service)
    try:
        await connection.execute("SELECT pg_advisory_lock(hashtext($1))", f"{service}.migrate", timeout=_TURN_S)
        await connection.execute(f"SET lock_timeout = '{_LOCK_S}s'")
        until = stopwatch() + _TURN_S
        while True:
            try:
                for statement in TABLES:
                    await connection.execute(statement)
                return await _migrate_own(url, service, to)
            except asyncpg.LockNotAvailableError:
                if stopwatch() > until:
                    raise
            await asyncio.sleep(_AGAIN_S)
    finally:
        await connection.close()


async def _migrate_own(url: str, service: str, to: str) -> None:
    versions = _ROOT / "services" / service / "migrations"
    if not any(versions.glob("[0-9]*.py")):
        return

    async def connected() -> asyncpg.Connection:
        """By asyncpg's own reading of the URL, as services have it: SQLAlchemy's knows no `sslmode`."""
        return await asyncpg.connect(url, server_settings={"search_path": service, "lock_timeout": f"{_LOCK_S}s"})

    engine = create_async_engine("postgresql+asyncpg://", poolclass=NullPool, async_creator=connected)
    try:
        async with engine.connect() as async_connection:
            await async_connection.run_sync(_upgrade, versions, to)
            await async_connection.commit()
    except DBAPIError as error:
        raise (error.orig and error.orig.__cause__) or error from error  # as PostgreSQL said it
    finally:
        await engine.dispose()


def _upgrade(connection: SyncConnection, versions: Path, to: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(_ROOT / "libs" / "common" / "migrations"))
    config.set_main_option("version_locations", str(versions))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, to)


async def provision(admin_url: str, urls: dict[str, str]) -> None:
    """Make each service's role and schema, or set its password anew. No role sees another's schema."""
    connection = await asyncpg.connect(admin_url, timeout=5)
    try:
        for service, url in urls.items():
            parts = urlsplit(url)
            role = unquote(parts.username or service)
            exists = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role)
            verb = "ALTER" if exists else "CREATE"
            password = await connection.fetchval("SELECT quote_literal($1::text)", unquote(parts.password or ""))
            await connection.execute(f'{verb} ROLE "{role}" LOGIN PASSWORD {password}')
            await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{service}" AUTHORIZATION "{role}"')
            await connection.execute(f'ALTER ROLE "{role}" SET search_path = "{service}"')
    finally:
        await connection.close()


def _urls() -> dict[str, str]:
    missing = [f"{s.upper()}_DATABASE_URL" for s in SERVICES if f"{s.upper()}_DATABASE_URL" not in os.environ]
    if missing:
        raise SettingsError(f"settings: set {', '.join(missing)}")
    present = [s for s in SERVICES if importlib.util.find_spec(f"services.{s}")]
    return {s: os.environ[f"{s.upper()}_DATABASE_URL"] for s in present}


async def _main(words: list[str]) -> None:
    match words:
        case ["provision"]:
            await provision(variable("POSTGRES_ADMIN_URL"), _urls())
        case ["migrate"]:
            for service, url in _urls().items():
                await migrate(url, service)
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    with or_exit():
        asyncio.run(_main(sys.argv[1:]))
