"""What risk can be built anew from. That it comes to the same is proven on the running stack (tests/chaos)."""

from libs.common.contracts.base import Event
from libs.common.database import Connection
from services.risk.app import app, retold
from services.risk.store.rebuild import STATE


def test_a_rebuild_hears_every_event_that_the_service_hears() -> None:
    heard = {(s.topic.name, s.message) for s in app.consumes if issubclass(s.message, Event)}
    assert heard <= {(s.topic.name, s.message) for s in retold.consumes}


def test_a_rebuild_hears_no_wish_and_says_nothing() -> None:
    assert all(issubclass(s.message, Event) for s in retold.consumes), "a wish would be decided a second time"
    assert retold.produces == ()


async def test_every_table_is_forgotten_and_built_anew(connection: Connection) -> None:
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'risk'")
    assert {row[0] for row in rows if not row[0].startswith(("message_", "alembic"))} == set(STATE)
