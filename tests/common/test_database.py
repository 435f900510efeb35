"""What services may rely on in PostgreSQL."""

from decimal import Decimal

import asyncpg
import pytest

from libs.common.testing import Databases


@pytest.fixture
async def pool(real_servers: None) -> asyncpg.Pool:
    return await Databases.pool("walkforward")


@pytest.mark.parametrize("amount", ["10000000", "0.05", "1234567.8900", "-3"])
async def test_money_comes_back_from_the_database_as_it_was_written(pool: asyncpg.Pool, amount: str) -> None:
    assert str(await pool.fetchval("SELECT $1::numeric", Decimal(amount))) == amount
    rows = await pool.fetch("SELECT unnest($1::numeric[])", [Decimal(amount), None])
    assert [row[0] if row[0] is None else str(row[0]) for row in rows] == [amount, None]


async def test_a_service_finds_its_tables_without_naming_its_schema(pool: asyncpg.Pool) -> None:
    assert await pool.fetchval("SELECT current_schema()") == "walkforward"
    assert await pool.fetchval("SELECT count(*) FROM message_outbox") == 0
