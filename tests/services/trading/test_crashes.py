"""Processes that die at every step of what moves money or tells of it without an order: their successors make it good.

A settlement at expiry, one by hand, and a comparison with a broker. Nothing of it may be lost, or be done twice.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from libs.common import ids
from libs.common.clock import SystemClock
from libs.common.contracts import topics
from libs.common.contracts.base import Envelope, Message, Topic
from libs.common.contracts.brokers import PositionsCompared, PositionsCompareRequested
from libs.common.contracts.enums import OrderStatus as S
from libs.common.contracts.enums import Product, SettledAs, Side
from libs.common.contracts.ids import AccountId
from libs.common.contracts.portfolio import PositionSettled
from libs.common.contracts.venue import ExecutionReported
from libs.common.database import Connection
from libs.common.ids import derive
from libs.common.messaging.envelope import decode, read_envelope, record
from libs.common.messaging.work import Work, origin
from libs.common.testing import Databases, deliver
from libs.common.testing.delivery import envelope_of
from services.trading.app import app
from services.trading.handlers.settlements import settle
from services.trading.memory import TradingMemory
from tests.common import crashes
from tests.common.instance import Process
from tests.common.ledger import publish, reading
from tests.services.trading.broker_world import SECRET, World
from tests.services.trading.making import (
    ACCOUNT,
    ALPHA,
    BETA,
    CALL,
    INFY,
    USER,
    account_save,
    cleared,
    filled,
    order_id,
    worth,
)
from tests.services.trading.process import CASES, STORIES, own
from tests.services.trading.test_comparing import sbin, trade_elsewhere
from tests.services.trading.test_settling import unknown, wish

Tables = dict[str, list[dict[str, Any]]]
SCRATCH = {"message_members", "message_offsets", "message_inbox", "message_outbox", "broker_leases", "alembic_version"}
"""How the runtime and the desks work, not what they have done."""
OTHER = AccountId(order_id(90))


@dataclass
class Stage:
    """One story's topics, its tables, and its processes, one at a time."""

    story: str
    prefix: str
    pool: asyncpg.Pool

    def topic(self, topic: Topic) -> Topic:
        return own(topic, self.prefix)

    async def ask(self, topic: Topic, message: Message, cause: Envelope) -> None:
        heard = self.topic(topic)
        key = heard.key_of(message)
        envelope = Envelope(cause.id, cause.type, cause.source, cause.time, key, cause.correlation_id, cause.user_id)
        await publish([record(heard, message, envelope)])

    @contextlib.asynccontextmanager
    async def process(self, **environment: str) -> AsyncIterator[Process]:
        url = await Databases.url("trading")
        process = Process(self.prefix, url, 0, "tests.services.trading.process")
        try:
            await process.start(STORY=self.story, TRADING_VAULT_SECRET=SECRET, **environment)
            yield process
        finally:
            process.end()

    async def dies(self, point: str, **environment: str) -> None:
        async with self.process(CRASH_AT=point, **environment) as process:
            assert await process.ended() == crashes.STATUS, f"it never came to {point}"

    async def until(self, holds: Callable[[], Awaitable[bool]], what: str) -> None:
        try:
            async with asyncio.timeout(20):
                while not await holds():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise TimeoutError(f"never came: {what}") from None

    async def is_told(self) -> bool:
        """Nothing waits to be published."""
        return not await self.pool.fetchval("SELECT EXISTS (SELECT FROM message_outbox)")

    async def tables(self) -> Tables:
        async with self.pool.acquire() as connection:
            return await tables(connection)

    async def heard(self, topic: Topic = topics.TRADING_EVENTS) -> list[Message]:
        """What readers make of the topic: each id once, in order. They end where Kafka ends now."""
        found: dict[UUID, Message] = {}
        types = {kind.__name__: kind for kind in topic.carries}
        async with reading(self.topic(topic)) as consumer, asyncio.timeout(20):
            ends = await consumer.end_offsets(consumer.assignment())
            while any([await consumer.position(place) < end for place, end in ends.items()]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    for each in records:
                        envelope = read_envelope(each.headers, each.key)
                        found.setdefault(envelope.id, decode(types[envelope.type], each.value))
        return list(found.values())


async def tables(connection: Connection) -> Tables:
    """All that is kept, but for when it was."""
    names = "SELECT tablename FROM pg_tables WHERE schemaname = 'trading' AND NOT tablename = ANY($1::text[])"
    found: Tables = {}
    for (name,) in await connection.fetch(names, list(SCRATCH)):
        rows = [dict(row) for row in await connection.fetch(f'SELECT * FROM "{name}"')]  # noqa: S608 - of the catalogue
        kept = [{key: value for key, value in row.items() if not isinstance(value, datetime)} for row in rows]
        found[name] = sorted(kept, key=repr)
    return found


def words(said: Sequence[Message]) -> list[tuple[str, str]]:
    """What was said, but for when it was."""
    return [(type(m).__name__, json.dumps(timeless(m.model_dump(mode="json")), sort_keys=True)) for m in said]


def timeless(dumped: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in dumped.items() if not name.endswith("_at")}


@pytest.fixture
async def prefix() -> AsyncIterator[str]:
    """Of topics that exist for one test."""
    name = f"crash{ids.new_id().hex[-12:]}"
    kafka = AdminClient({"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP"]})
    used = {topic for story in STORIES.values() for topic in (*story.hears, *story.says)}
    made = [NewTopic(own(topic, name).name, num_partitions=1) for topic in used]
    for future in kafka.create_topics(made, operation_timeout=10).values():
        future.result(10)
    yield name
    kafka.delete_topics([topic.topic for topic in made])


@contextlib.asynccontextmanager
async def as_if(pool: asyncpg.Pool) -> AsyncIterator[Connection]:
    """What is done here has not been done: it shows what a life without a death would make."""
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            yield connection
        finally:
            await transaction.rollback()


async def hold_what_expires(pool: asyncpg.Pool, now: datetime) -> None:
    """Two accounts, two strategies that offset each other in part, a short position, and paise."""
    async with pool.acquire() as connection:
        await deliver(app, connection, account_save(), now=now)
        await deliver(app, connection, account_save(account_id=OTHER), now=now)
        for account_id, strategy, product, quantity, price in (
            (ACCOUNT, ALPHA, Product.NRML, 75, "100.15"),
            (ACCOUNT, BETA, Product.NRML, -25, "110.05"),
            (ACCOUNT, None, Product.MIS, 50, "0.05"),
            (OTHER, None, Product.NRML, -150, "99.95"),
        ):
            side = Side.BUY if quantity > 0 else Side.SELL
            order = cleared(
                side, abs(quantity), instrument=CALL, strategy=strategy, product=product, account_id=account_id
            )
            await deliver(app, connection, order, now=now)
            await deliver(app, connection, filled(order, abs(quantity), price), now=now)


@pytest.mark.parametrize("point", CASES["settled at expiry"])
async def test_a_settlement_at_expiry_is_booked_once_whenever_a_process_dies(
    pool: asyncpg.Pool, prefix: str, point: str
) -> None:
    stage, now = Stage("settled at expiry", prefix, pool), SystemClock().now()
    await hold_what_expires(pool, now)
    told = worth("150.35")
    cause = envelope_of(told, now=now)
    async with as_if(pool) as connection:
        await deliver(app, connection, told, now=now, cause=cause)
        work = Work(app, TradingMemory(), connection, now)
        said = await settle(work.context(origin(app, now)))
        await work.store.write()
        expected = await tables(connection)
    assert [type(message) for message in said].count(PositionSettled) == 4
    await stage.ask(topics.SETTLEMENTS, told, cause)
    await stage.dies(point)

    async def is_settled() -> bool:
        return await stage.tables() == expected and await stage.is_told()

    async with stage.process():
        await stage.until(is_settled, "the settlement")
        assert sorted(words(await stage.heard())) == sorted(words(said))
        await asyncio.sleep(0.5)
        assert await stage.tables() == expected, "some ticks later"
    assert sorted(words(await stage.heard())) == sorted(words(said)), "and nothing more was said"


@pytest.mark.parametrize("point", CASES["settled by hand"])
async def test_an_order_settled_by_hand_is_settled_once_whenever_a_process_dies(
    the_world: World, prefix: str, point: str
) -> None:
    """Sold in part at a profit, then cancelled: an order, a position, its margin and the day's profit change."""
    stage, now = Stage("settled by hand", prefix, the_world.pool), the_world.runtime.clock.now()
    account_id = await the_world.account()
    number = the_world.start(broker_leave_s=60.0)
    bought = the_world.market(account_id)
    await the_world.tell(bought)
    await the_world.becomes(bought, S.FILLED)
    sold = await unknown(the_world, account_id, side=Side.SELL)
    the_world.kill(number)
    request = wish(sold, SettledAs.CANCELLED, 4, "103.35")
    cause = envelope_of(request, now=now)
    async with as_if(the_world.pool) as connection:
        said = await deliver(app, connection, request, now=now, cause=cause)
        for n, report in enumerate(tuple(said)):
            if isinstance(report, ExecutionReported):
                heard = envelope_of(report, now=now, message_id=derive(cause.id, "trading", n))
                said += await deliver(app, connection, report, now=now, cause=heard)
        expected = await tables(connection)
    said = [message for message in said if not isinstance(message, ExecutionReported)]
    assert [row["quantity"] for row in expected["positions"]] == [6]
    await stage.ask(topics.TRADING_REQUESTS, request, cause)
    await stage.dies(point)

    async def is_settled() -> bool:
        return await stage.tables() == expected and await stage.is_told()

    async with stage.process():
        await stage.until(is_settled, "the settlement")
    assert words(await stage.heard()) == words(said)
    assert await stage.heard(topics.TRADING_REFUSALS) == []


@pytest.mark.parametrize("point", CASES["compared"])
async def test_a_comparison_that_was_asked_for_is_answered_once_whenever_a_process_dies(
    the_world: World, prefix: str, point: str
) -> None:
    """The broker squared off what we hold, and an order rests there: both its positions and its book are read."""
    stage, pool = Stage("compared", prefix, the_world.pool), the_world.pool
    account_id = await the_world.account()
    number = the_world.start(broker_leave_s=60.0)
    bought, resting = the_world.market(account_id), the_world.order(account_id, instrument=INFY)
    await the_world.tell(bought, resting)
    await the_world.becomes(bought, S.FILLED)
    await the_world.becomes(resting, S.ACCEPTED)
    the_world.kill(number)
    trade_elsewhere(the_world, account_id, bought.instrument, -10, "MIS")
    await pool.execute("UPDATE broker_comparisons SET due_at = now() + interval '1 day'")
    before = await stage.tables()
    request = PositionsCompareRequested(account_id=account_id, user_id=USER)
    cause = envelope_of(request, now=the_world.runtime.clock.now())
    patience = {
        "TRADING_ZERODHA_URL": the_world.settings.zerodha_url,
        "TRADING_BROKER_COMPARE_S": "600",
        "TRADING_BROKER_COMPARE_AGAIN_S": "0.1",
    }
    await stage.ask(topics.TRADING_REQUESTS, request, cause)
    await stage.dies(point, **patience)
    await pool.execute("UPDATE broker_comparisons SET due_at = now() WHERE claim IS NOT NULL")  # its claim runs out

    async def is_answered() -> bool:
        [row] = (await stage.tables())["broker_comparisons"]
        return row["version"] > 0 and row["claim"] is None and await stage.is_told()

    async with stage.process(**patience):
        await stage.until(is_answered, "the answer")
    [told] = await stage.heard()
    assert await stage.heard(topics.TRADING_REFUSALS) == []
    assert isinstance(told, PositionsCompared)
    assert (told.differences, told.version, told.problem) == ((sbin(10, 0),), 1, "")
    after = await stage.tables()
    [row] = after.pop("broker_comparisons")
    [known] = before.pop("broker_comparisons")
    difference = json.loads(row["told"])
    assert [(each["symbol"], each["ours"], each["theirs"]) for each in difference] == [("NSE:SBIN", 10, 0)]
    assert json.loads(row["suspected"]) == []
    left = {"requests": [], "looks": 0, "failures": 0, "problem": ""}
    assert {name: row[name] for name in left} == left == {name: known[name] for name in left}
    assert after == before, "no book is touched"
    assert await the_world.held(account_id) == 10
