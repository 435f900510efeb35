"""The same history on real servers: written to Kafka and PostgreSQL, read back by the checker's own readers."""

import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from os import environ
from typing import Any

import asyncpg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from libs.common.ids import new_id
from libs.common.settings import KafkaSettings
from libs.common.testing import Databases
from services.gateway.memory.cache import Cache
from tests.tools.reconcile.world.world import World, expired_world
from tools.reconcile import Options, Report, Rule, Sources, reconcile, rows
from tools.reconcile.cache import RedisCache
from tools.reconcile.log import KafkaLog
from tools.reconcile.rows import SERVICES
from tools.reconcile.tables import PostgresTables

pytestmark = pytest.mark.servers

WAIT_S = 30
EMPTY: dict[str, Any] = {
    "uuid": uuid.UUID(int=0),
    "text": "",
    "numeric": 0,
    "double precision": 0.0,
    "bigint": 0,
    "integer": 0,
    "boolean": False,
    "date": datetime(2026, 11, 20, tzinfo=UTC).date(),
    "timestamp with time zone": datetime(2026, 11, 20, tzinfo=UTC),
    "ARRAY": [],
    "bytea": b"",
    "jsonb": "{}",
}
"""For columns that must have a value and that the checker does not read."""


class Servers:
    """A prefix for topics, and a migrated database of each service, that are this test's own."""

    def __init__(self) -> None:
        self.prefix = f"reconcile-{new_id().hex[-8:]}."
        self.kafka = environ["KAFKA_BOOTSTRAP"]
        self.topics: list[str] = []
        self.urls: dict[str, str] = {}

    async def open(self) -> None:
        for service in SERVICES:
            self.urls[service] = await Databases.url(service)

    async def close(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.kafka})
        for future in admin.delete_topics(self.topics).values():
            future.result(timeout=WAIT_S)
        for service in SERVICES:
            await Databases.empty(service)

    def write(self, world: World) -> None:
        self.topics = sorted({self.prefix + record.topic for record in world.records})
        admin = AdminClient({"bootstrap.servers": self.kafka})
        kept = {"retention.ms": "-1"}  # the history is of a fixed day: soon Kafka would take it for too old to keep
        made = [NewTopic(name, num_partitions=1, config=kept) for name in self.topics]
        for future in admin.create_topics(made).values():
            future.result(timeout=WAIT_S)
        producer = Producer({"bootstrap.servers": self.kafka, "acks": "all"})
        for record in world.records:
            producer.produce(
                self.prefix + record.topic,
                record.value,
                record.key,
                partition=record.partition,
                headers=list(record.headers.items()),
                timestamp=record.millis,
            )
        assert producer.flush(WAIT_S) == 0

    async def keep(self, world: World) -> None:
        """In place of what is there."""
        world.sources()
        for service in SERVICES:
            await Databases.empty(service)
            connection = await asyncpg.connect(self.urls[service], server_settings={"search_path": service})
            async with connection.transaction():
                for table, row in tables_of(service, world):
                    await insert(connection, service, table, row)
            await connection.close()

    async def execute(self, service: str, statement: str) -> None:
        connection = await asyncpg.connect(self.urls[service], server_settings={"search_path": service})
        await connection.execute(statement)
        await connection.close()

    async def check(self, world: World) -> Report:
        log = KafkaLog(KafkaSettings(), prefix=self.prefix)
        now = world.now + timedelta(seconds=1)
        return await reconcile(Sources(log, PostgresTables(self.urls)), Options(wait_s=0, now=now))


def tables_of(service: str, world: World) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is stored where: most kinds of rows are rows of a table, the others are made of some."""
    for (kind, owner), found in world.common.items():
        if owner == service:
            yield from ((kind.source, values(row)) for row in found)
    for kind, found in world.rows.items():
        table = "orders" if kind is rows.TradingOrder else kind.source  # some of trading's may be archived
        if kind.service == service and table.isidentifier():
            yield from ((table, values(row)) for row in found)
    made = {"trading": executions, "gateway": shown, "signals": arrivals}.get(service)
    if made is not None:
        yield from made(world)


def arrivals(world: World) -> Iterator[tuple[str, dict[str, Any]]]:
    for row in world.rows[rows.AcceptedAlert]:
        yield "webhook_log", {"id": row.signal_id, "fate": "ACCEPTED", **values(row)}


def executions(world: World) -> Iterator[tuple[str, dict[str, Any]]]:
    for row in world.rows[rows.BookedExecutions]:
        for execution_id in row.execution_ids:
            named = {"venue": "paper", "execution_id": execution_id, "kind": "FILLED"}
            yield "executions", {**named, "order_id": row.order_id}


def shown(world: World) -> Iterator[tuple[str, dict[str, Any]]]:
    for row in world.rows[rows.ShownFills]:
        for fill_id, fill in zip(row.fill_ids, fills_of(world, row.order_id), strict=True):
            [[account, *strategy, instrument, side, product]] = [each.split() for each in row.told_of]
            by_hand = strategy == ["by", "hand"]
            yield (
                "fills",
                {
                    **{"fill_id": fill_id, "order_id": row.order_id, "quantity": fill[0], "price": fill[1]},
                    **{"account_id": account, "strategy_id": None if by_hand else strategy[0]},
                    **{"instrument": instrument, "side": side, "product": product},
                },
            )
    for row in world.rows[rows.ShownSettlement]:
        yield "fills", values(row)
    for row in world.rows[rows.ShownAccount]:
        yield "entities", {"kind": "account", **values(row)}
    for limit in world.rows[rows.ShownLimit]:
        yield "entities", {"kind": "risk_limit", **values(limit)}
    for row in world.rows[rows.UserAccess]:
        access = {"active": row.may_trade, "told_may_trade": row.may_trade, "access_version": row.version}
        yield "users", {"user_id": row.user_id, **access}


def fills_of(world: World, order_id: uuid.UUID) -> list[tuple[int, Any]]:
    return [(fill.quantity, fill.price) for fill in world.fills if fill.order_id == order_id]


def values(row: Any) -> dict[str, Any]:
    return {each.name: getattr(row, each.name) for each in fields(row)}


async def insert(connection: asyncpg.Connection, service: str, table: str, row: dict[str, Any]) -> None:
    needed = await connection.fetch(
        """
        SELECT column_name, data_type FROM information_schema.columns
        WHERE table_schema = $1 AND table_name = $2 AND is_nullable = 'NO' AND column_default IS NULL
          AND is_identity = 'NO' AND is_generated = 'NEVER'
        """,
        service,
        table,
    )
    whole = {name: EMPTY[kind] for name, kind in needed} | row
    if table == "message_parked":
        del whole["seq"]
    places = ", ".join(f"${n}" for n in range(1, len(whole) + 1))
    await connection.execute(f"INSERT INTO {table} ({', '.join(whole)}) VALUES ({places})", *whole.values())  # noqa: S608


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    made = Servers()
    await made.open()
    yield made
    await made.close()


@pytest.fixture(scope="module")
async def sound() -> AsyncIterator[Servers]:
    """With the log of a sound history, which is the same each time."""
    made = Servers()
    await made.open()
    made.write(expired_world())
    yield made
    await made.close()


async def test_a_sound_history_on_real_servers_breaks_no_rule(sound: Servers) -> None:
    world = expired_world().settle()
    await sound.keep(world)
    report = await sound.check(world)
    assert report.passed, report.text()
    assert (report.orders, report.fills, report.messages) == (9, 5, len(world.records))
    assert all(report.findings.checked[rule] for rule in Rule if rule is not Rule.CACHE)


WRONG = {
    Rule.POSITIONS: ("trading", "UPDATE positions SET quantity = quantity + 1"),
    Rule.PNL: ("trading", "UPDATE positions SET realised_pnl = realised_pnl + 0.01"),
    Rule.FUNDS: ("trading", "UPDATE accounts SET used_margin = used_margin + 10"),
    Rule.HISTORY: ("trading", "DELETE FROM orders WHERE status = 'CANCELLED'"),
    Rule.FILLS: ("trading", "DELETE FROM executions WHERE execution_id LIKE '%-2'"),
    Rule.VENUE: ("walkforward", "DELETE FROM orders WHERE status = 'FILLED'"),
    Rule.COPIES: ("gateway", "UPDATE fills SET price = price + 1"),
    Rule.SETTLED: ("trading", "UPDATE settlements SET price = price + 1"),
    Rule.ANSWERED: ("gateway", "UPDATE orders SET order_id = gen_random_uuid() WHERE status = 'ACCEPTED'"),
    Rule.PARKED: (
        "signals",
        """
        INSERT INTO message_parked (topic, partition, message_offset, key, type, headers, value, reason, parked_at)
        VALUES ('signals.group-requests.v1', 0, 1, 'k', 'X', '[["ce_id", "a"]]', '', 'a bug', now())
        """,
    ),
}
OLD_OUTBOX_ROW = """
    INSERT INTO message_outbox (owner, topic, key, message_id, type, correlation_id, said_at, value)
    VALUES (1, 't', 'k', gen_random_uuid(), 'X', gen_random_uuid(), '2026-11-20 04:00+00', '')
"""


async def test_rows_that_are_wrong_in_real_tables_are_named(sound: Servers) -> None:
    world = expired_world().settle()
    await sound.keep(world)
    for service, statement in WRONG.values():
        await sound.execute(service, statement)
    report = await sound.check(world)
    assert set(report.broken) == set(WRONG), report.text()


async def test_a_session_that_was_ended_just_now_is_not_shown_by_a_real_redis(real_servers: None) -> None:
    """Seen: `make reconcile` broken for half a minute after every logout."""
    living, ended = new_id(), new_id()
    cache, shown = Cache(environ["REDIS_URL"]), RedisCache(environ["REDIS_URL"])
    try:
        for session_id in (living, ended):
            await cache.put(f"session:{session_id}", "trader", 60)
        await cache.drop(f"session:{ended}")
        sessions = await shown.sessions()
        assert sessions[str(living)] == "trader"
        assert str(ended) not in sessions
    finally:
        await cache.redis.delete(*(f"gateway:session:{each}" for each in (living, ended)))
        await cache.close()
        await shown.close()


async def test_an_old_row_in_a_real_outbox_is_named(sound: Servers) -> None:
    await sound.keep(expired_world().settle())
    await sound.execute("risk", OLD_OUTBOX_ROW)
    report = await sound.check(expired_world())
    assert report.broken == [Rule.OUTBOX]


async def test_a_message_too_many_in_real_topics_is_named_with_its_trail(servers: Servers) -> None:
    world = expired_world().settle()
    first = next(iter(world.orders.values()))
    world.send(first.terms)
    servers.write(world)
    await servers.keep(world)
    report = await servers.check(world)
    assert report.broken == [Rule.VENUE]
    assert f"order {first.order_id} was sent to the venue 2 times" in report.text()
    assert [each.type for each in report.trails[Rule.VENUE]].count("VenueOrderRequested") == 2


async def test_a_message_that_nobody_has_handled_yet_is_waited_for_and_then_said(servers: Servers) -> None:
    world = expired_world().settle()
    await servers.keep(world)
    world.request(world.wish(world.orders[next(iter(world.orders))].terms["side"], 1))
    servers.write(world)
    report = await servers.check(world)
    assert report.exit_code == 2
    assert "risk has not handled the OrderRequested" in str(report.unrest)
