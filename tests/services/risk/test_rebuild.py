"""What risk can be built anew from. That it comes to the same is proven on the running stack (tests/chaos)."""

from libs.common.clock import SystemClock
from libs.common.contracts.base import Event
from libs.common.database import Connection
from services.risk.app import app, retold
from services.risk.store.rebuild import forget

ANY = {
    "uuid": "'01890000-0000-7000-8000-000000000000'",
    "text": "''",
    "numeric": "0",
    "bigint": "0",
    "integer": "0",
    "boolean": "false",
    "date": "current_date",
    "timestamp with time zone": "now()",
}


def test_a_rebuild_hears_every_event_that_the_service_hears() -> None:
    heard = {(s.topic.name, s.message) for s in app.consumes if issubclass(s.message, Event)}
    assert heard <= {(s.topic.name, s.message) for s in retold.consumes}


def test_a_rebuild_hears_no_wish_and_says_nothing() -> None:
    assert all(issubclass(s.message, Event) for s in retold.consumes), "a wish would be decided a second time"
    assert retold.produces == ()


async def test_every_table_is_forgotten_before_it_is_built_anew(connection: Connection) -> None:
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'risk'")
    tables = [row[0] for row in rows if not row[0].startswith(("message_", "alembic"))]
    for table in sorted(tables, key="watches".__eq__):  # a watch needs its limit
        await fill(connection, table)
    await forget(connection, SystemClock().now())
    assert [table for table in tables if await connection.fetchval(f"SELECT count(*) FROM {table}")] == []  # noqa: S608


async def fill(connection: Connection, table: str) -> None:
    """With a row that means nothing."""
    columns = "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'risk'"
    rows = await connection.fetch(f"{columns} AND table_name = $1", table)
    names, values = ", ".join(row[0] for row in rows), ", ".join(ANY[row[1]] for row in rows)
    await connection.execute(f"INSERT INTO {table} ({names}) VALUES ({values})")  # noqa: S608
