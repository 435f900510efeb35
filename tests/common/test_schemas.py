"""Schemas and their migrations, on a database of their own."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from urllib.parse import quote, urlsplit

import asyncpg
import pytest

from libs.common.clock import stopwatch
from libs.common.ids import new_id
from libs.common.schemas import SERVICES, migrate, provision
from libs.common.testing.databases import unmigrated


@pytest.fixture
async def url(real_servers: None) -> AsyncIterator[str]:
    """An empty database with every service's schema."""
    async with unmigrated("schemas") as made:
        connection = await asyncpg.connect(made)
        for service in SERVICES:
            await connection.execute(f"CREATE SCHEMA {service}")
        await connection.close()
        yield made


async def test_openalgo_1726_two_who_migrate_at_once_both_end_well(url: str) -> None:
    """`database is locked` ended an installation. Here `make up` is asked for twice, or a job is started again."""
    urls = {f"{service.upper()}_DATABASE_URL": url for service in SERVICES}
    command = (sys.executable, "-m", "libs.common.schemas", "migrate")
    pipe, same = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
    both = os.environ | urls
    jobs = [await asyncio.create_subprocess_exec(*command, env=both, stdout=pipe, stderr=same) for _ in range(2)]
    told = [(await job.communicate())[0].decode()[-600:] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], told
    connection = await asyncpg.connect(url)
    migrated = await connection.fetch("SELECT schemaname FROM pg_tables WHERE tablename = 'alembic_version'")
    await connection.close()
    assert {row["schemaname"] for row in migrated} == set(SERVICES)


@pytest.mark.parametrize(("scheme", "query"), [("postgresql", "?sslmode=disable"), ("postgres", "")])
async def test_what_a_service_connects_by_its_schema_is_migrated_by(url: str, scheme: str, query: str) -> None:
    """With the `sslmode` of a server that asks for TLS the migration ended with a traceback, and nothing started."""
    await migrate(urlsplit(url)._replace(scheme=scheme).geturl() + query, "signals")
    connection = await asyncpg.connect(url)
    assert await connection.fetchval("SELECT count(*) FROM signals.alembic_version") == 1
    await connection.close()


async def test_a_service_comes_in_with_a_password_whose_signs_its_url_has_to_escape(url: str) -> None:
    """Its role was given the escapes: PostgreSQL would not have the service, whatever was provisioned again."""
    server, role = urlsplit(url), f"gateway_{new_id().hex[-8:]}"
    own = server._replace(netloc=f"{role}:{quote('p@ss/w:rd', safe='')}@{server.hostname}:{server.port}").geturl()
    await provision(url, {"gateway": own})
    try:
        connection = await asyncpg.connect(own)
        assert await connection.fetchval("SELECT current_user") == role
        await connection.close()
    finally:
        admin = await asyncpg.connect(url)
        await admin.execute(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')
        await admin.close()


async def test_who_migrates_beside_a_backup_holds_nobody_up_and_goes_on_behind_it(url: str) -> None:
    """It waited for the table, and everybody who wanted it waited behind: no order was handled for ten seconds, and the
    migration had failed then.
    """
    await migrate(url, "gateway")
    backup, service = [await asyncpg.connect(url, server_settings={"search_path": "gateway"}) for _ in range(2)]
    try:
        copied = backup.transaction()
        await copied.start()
        await backup.fetchval("SELECT count(*) FROM message_offsets")
        migrating, longest = asyncio.create_task(migrate(url, "gateway")), 0.0
        for _ in range(60):
            asked_at = stopwatch()
            await service.fetchval("SELECT count(*) FROM message_offsets")
            longest = max(longest, stopwatch() - asked_at)
            await asyncio.sleep(0.1)
        await copied.rollback()
        await asyncio.wait_for(migrating, 20)
    finally:
        for each in (backup, service):
            await each.close()
    assert longest < 3
