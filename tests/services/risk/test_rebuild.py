"""What risk can be built anew from. That it comes to the same is proven on the running stack (tests/chaos)."""

from libs.common.clock import SystemClock
from libs.common.contracts.base import Event
from libs.common.contracts.enums import DenialRule, OrderPurpose, OrderType, Product, Side
from libs.common.contracts.orders import OrderCleared, OrderDenied, OrderTerms
from libs.common.database import Connection
from services.risk.app import app, retold
from services.risk.store.rebuild import forget
from tests.services.risk.scene import order, position, state
from tests.services.risk.watched import Watched

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


async def test_an_exit_that_was_given_up_while_risk_was_away_is_not_cleared_after_a_rebuild(
    connection: Connection,
) -> None:
    """Its request still waited. Trading had told of its end before, and passed over a clearance without a word: as much
    of the position counted as being closed for ever, so that its owner's own sale of it was refused.
    """
    scene = await Watched(connection).open()
    await scene.tell(position(state(10, 800), product=Product.CNC, version=1))
    exit_ = order(side=Side.SELL, purpose=OrderPurpose.SQUARE_OFF, order_type=OrderType.MARKET, price=None)
    exit_ = exit_.model_copy(update={"product": Product.CNC})
    terms = {name: getattr(exit_, name) for name in OrderTerms.model_fields}
    await scene.tell(OrderDenied(**terms, rule=DenialRule.REQUEST_EXPIRED, reason="risk did not decide in time"))
    await scene.build_anew()
    [answer] = await scene.tell(exit_)
    assert isinstance(answer, OrderDenied)
    [sale] = await scene.tell(order(side=Side.SELL, product=Product.CNC))
    assert isinstance(sale, OrderCleared)
