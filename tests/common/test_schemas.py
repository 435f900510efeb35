"""Schemas and their migrations, on a database of their own."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator

import asyncpg
import pytest

from libs.common.schemas import SERVICES
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
