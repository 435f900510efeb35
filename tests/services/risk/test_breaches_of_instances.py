"""A breach is acted on once, whoever sees it, restarts or was away; what one process knows the next one learns."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer
from confluent_kafka.admin import AdminClient, NewTopic

from libs.common import ids
from libs.common.clock import FixedClock
from libs.common.contracts import topics
from libs.common.contracts.base import Message, Topic
from libs.common.contracts.enums import BreachKind, RiskLevel
from libs.common.contracts.ids import AccountId
from libs.common.contracts.risk import MTMBreached
from libs.common.database import FAILURES, Connection
from libs.common.messaging.consumer import Consumer
from libs.common.messaging.envelope import record, type_of
from libs.common.messaging.work import Work, origin
from libs.common.runtime import Runtime
from libs.common.settings import CommonSettings
from libs.common.testing import Databases, deliver
from libs.common.testing.apps import opened
from libs.common.testing.delivery import envelope_of
from services.risk import timers
from services.risk.app import app
from services.risk.domain.watches import Watch
from services.risk.memory import RiskMemory
from services.risk.store import RiskStore
from tests.common.ledger import publish
from tests.services.risk.scene import (
    ACCOUNT,
    INFY,
    NOW,
    OTHER_ACCOUNT,
    SBIN,
    STRATEGY,
    account_saved,
    conflated,
    market,
    order,
    position,
    quote,
    state,
)
from tests.services.risk.watched import Watched, limit, long


@pytest.fixture
async def scene(connection: Connection) -> Watched:
    watched = Watched(connection)
    await watched.open()
    return watched


async def test_a_peak_outlives_the_process(scene: Watched) -> None:
    await scene.tell(limit(trailing_stop=Decimal(500)), long())
    await scene.price(900.0)
    store = RiskStore(scene.connection)
    await store.watches.keep_peaks(scene.memory.watches.raised_peaks())
    scene.memory = RiskMemory()
    scene.memory.clock = FixedClock(NOW)
    await scene.memory.follow(store)
    [breach, _] = await scene.price(850.0)
    assert isinstance(breach, MTMBreached)
    assert (breach.peak_mtm, breach.mtm) == (Decimal(1000), Decimal(500))


async def test_a_peak_that_could_not_be_kept_is_kept_when_the_database_is_back(scene: Watched) -> None:
    """The market fell from there: the next process measured its trailing stop from a lower one."""
    await scene.tell(limit(trailing_stop=Decimal(500)), long())
    await scene.price(900.0)
    pool = await Databases.pool("risk")
    async with pool.acquire() as broken:
        broken.terminate()
        with pytest.raises(FAILURES):
            await timers.follow(Work(app, scene.memory, broken, NOW).context(origin(app, NOW)))
    await scene.follow()
    await scene.restart()
    [breach, _] = await scene.price(850.0)
    assert isinstance(breach, MTMBreached)
    assert breach.peak_mtm == 1000


async def test_a_peak_is_never_lowered_by_an_instance_that_saw_less(scene: Watched) -> None:
    await scene.tell(limit(trailing_stop=Decimal(500)), long())
    watches = RiskStore(scene.connection).watches

    async def kept() -> Watch:
        [[watch]] = (await watches.all()).values()
        return watch

    watch = await kept()
    await watches.keep_peaks([(watch, Decimal(1000))])
    await watches.keep_peaks([(watch, Decimal(700))])
    assert (await kept()).peak == 1000


async def test_a_peak_that_one_instance_saw_is_known_to_another_that_outlives_it(scene: Watched) -> None:
    """A process that had just been started, and heard no prices yet, took over: it measured from a lower peak."""
    await scene.tell(limit(trailing_stop=Decimal(500)), long())
    successor = RiskMemory()
    successor.clock = FixedClock(NOW)
    await successor.follow(RiskStore(scene.connection))
    for table in ("limits", "watches"):
        await scene.connection.execute(f"UPDATE {table} SET changed_at = now() - interval '1 hour'")  # noqa: S608
    assert await scene.price(900.0) == []
    await scene.follow()
    scene.memory = successor
    await scene.follow()
    [breach, _] = await scene.price(850.0)
    assert isinstance(breach, MTMBreached)
    assert breach.peak_mtm == 1000


async def test_two_instances_that_keep_the_same_peaks_in_other_orders_do_not_wait_for_each_other(
    pool: asyncpg.Pool,
) -> None:
    """In a market that rises all peaks do, each second: PostgreSQL ended one of the two after a second."""
    async with pool.acquire() as connection:
        wanted = [limit(trailing_stop=Decimal(500)) for _ in range(100)]
        await deliver(app, connection, account_saved(), *wanted, now=NOW)
        await connection.execute("ANALYZE watches")
        found = await RiskStore(connection).watches.all()
    watches = sorted((watch for each in found.values() for watch in each), key=lambda watch: watch.limit_id)
    middle = watches.pop(50)

    async def keep(order: list[Watch]) -> None:
        async with pool.acquire() as connection, connection.transaction():
            await RiskStore(connection).watches.keep_peaks([(watch, Decimal(1000)) for watch in order])

    up, down = [*watches[:50], middle, *watches[50:]], [*watches[:49:-1], middle, *watches[49::-1]]
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.TaskGroup() as group, pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM watches WHERE limit_id = $1 FOR UPDATE", middle.limit_id)
        for order in (up, down):
            group.create_task(keep(order))
        async with asyncio.timeout(20):
            while await pool.fetchval(waiting) < 2:
                await asyncio.sleep(0.01)
    assert await pool.fetchval("SELECT count(*) FROM watches WHERE peak = 1000") == 100


@pytest.mark.parametrize("is_kept", [False, True])
async def test_the_peak_before_a_breach_is_nothing_to_an_instance_that_heard_of_it_when_all_was_over(
    scene: Watched, is_kept: bool
) -> None:
    """Of two instances one told the breach, and the limit was armed again, within the second in which the other looks:
    to that one the old peak stood, and it squared the next position off as soon as it was opened.
    """
    await scene.tell(limit(trailing_stop=Decimal(500)), long())
    other = RiskMemory()
    other.clock = FixedClock(NOW)

    async def follow() -> None:
        await scene.connection.execute("UPDATE exposures SET moved_by = $1", ids.new_id())
        work = Work(app, other, scene.connection, NOW)
        await timers.follow(work.context(origin(app, NOW)))

    await follow()
    other.take([conflated(quote(SBIN, 900.0, NOW))])
    other.revalue()
    if is_kept:
        await follow()
    await scene.price(900.0)
    assert len(await scene.price(850.0)) == 2
    flat, next_one = state(0, realised=500), state(10, 850, 500)
    await scene.tell(position(flat, version=2), position(next_one, strategy_id=STRATEGY, version=3))
    other.take([conflated(quote(SBIN, 850.0, NOW))])
    await follow()
    assert other.crossed == {}
    await follow()
    assert await scene.connection.fetchval("SELECT peak FROM watches") == 500


async def test_nautilus_4736_a_restarted_process_knows_what_is_open(scene: Watched) -> None:
    await scene.tell(limit(stop_loss=Decimal(500)), long())
    scene.memory = RiskMemory()
    scene.memory.clock = FixedClock(NOW)
    await scene.memory.follow(RiskStore(scene.connection))
    assert len(await scene.price(750.0)) == 2


@asynccontextmanager
async def instances(count: int) -> AsyncIterator[list[Runtime[RiskStore, RiskMemory]]]:
    """Running instances of risk, each acting on its watches."""
    async with AsyncExitStack() as stack:
        found = [await stack.enter_async_context(opened(app, clock=FixedClock(NOW))) for _ in range(count)]
        for each in found:
            each.caught_up.set()
        tasks = [asyncio.create_task(timers.act_on_watches(each)) for each in found]
        try:
            yield found
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def test_two_instances_that_see_the_same_breach_say_it_once(pool: asyncpg.Pool) -> None:
    request = limit(stop_loss=Decimal(500))
    async with pool.acquire() as connection:
        await deliver(app, connection, account_saved(), request, long(), now=NOW)
    topic, requests = topics.RISK_BREACHES.name, topics.TRADING_REQUESTS.name
    async with instances(2) as running:
        reader = AIOKafkaConsumer(topic, requests, bootstrap_servers=running[0].settings.kafka_bootstrap)
        await reader.start()
        await reader.seek_to_end()
        for partition in reader.assignment():
            await reader.position(partition)
        for instance in running:
            instance.memory.take([conflated(quote(SBIN, 700.0, NOW))])
            instance.memory.revalue()
        said: list[str] = []
        async with asyncio.timeout(20):
            while len(said) < 2:
                polled = await reader.getmany(timeout_ms=100)
                said += [type_of(record.headers) for records in polled.values() for record in records]
        polled = await reader.getmany(timeout_ms=500)
        said += [type_of(record.headers) for records in polled.values() for record in records]
        await reader.stop()
        assert sorted(said) == ["MTMBreached", "SquareOffRequested"]
        for instance in running:
            assert instance.memory.crossed == {}
            instance.memory.revalue()
            assert instance.memory.crossed == {}, "both know that it fired"


async def test_a_breach_that_recovered_while_the_database_was_away_does_not_fire_when_it_is_back(
    pool: asyncpg.Pool,
) -> None:
    """Each of many waits in turn for a connection that does not come; the last was reached minutes ago."""
    async with pool.acquire() as connection:
        await deliver(app, connection, account_saved(), limit(stop_loss=Decimal(500)), long(), now=NOW)
    clock = FixedClock(NOW)
    async with opened(app, clock=clock) as instance:
        memory = instance.memory
        instance.caught_up.set()
        await timers.know_positions(instance)
        memory.take([conflated(quote(SBIN, 700.0, NOW))])
        memory.revalue()
        assert len(memory.crossed) == 1
        clock.at += timedelta(seconds=60)
        memory.take([conflated(quote(SBIN, 800.0, clock.at))])
        memory.revalue()
        task = asyncio.create_task(timers.act_on_watches(instance))
        try:
            async with asyncio.timeout(20):
                while memory.crossed or memory.found.is_set():
                    await asyncio.sleep(0.01)
            memory.take([conflated(quote(SBIN, 700.0, clock.at))])
            memory.revalue()
            [crossing] = memory.crossed.values()
            assert crossing.watch.armed, "it waits for the next loss"
            async with asyncio.timeout(20):
                while await pool.fetchval("SELECT armed FROM watches"):
                    await asyncio.sleep(0.01)
        finally:
            task.cancel()
            await asyncio.wait([task])


@pytest.fixture
async def events(real_servers: None) -> AsyncIterator[Topic]:
    """What trading tells, for one test."""
    told = topics.TRADING_EVENTS
    made = Topic(f"risk{ids.new_id().hex[-12:]}", *told.carries, key=told.key, partitions=1, retention=told.retention)
    admin = AdminClient({"bootstrap.servers": CommonSettings().kafka_bootstrap})
    await asyncio.to_thread(admin.create_topics([NewTopic(made.name, 1, 1)])[made.name].result)
    yield made
    await asyncio.to_thread(admin.delete_topics([made.name])[made.name].result)


async def test_what_was_closed_while_no_risk_ran_breaks_no_limit_of_the_process_that_begins(
    pool: asyncpg.Pool, events: Topic
) -> None:
    """A stop had closed it at the venue. The process valued it as open, at the prices of an hour later, before it had
    read of that: for a loss that nobody made the rest of the account was squared off.
    """
    heard = [replace(each, topic=events) for each in app.consumes if each.topic is topics.TRADING_EVENTS]
    service = replace(app, consumes=heard, streams=(), timers=(), background=())

    async def tell(message: Message) -> None:
        await publish([record(events, message, replace(envelope_of(message, now=NOW), key=str(ACCOUNT)))])

    async def until(sql: str) -> None:
        async with asyncio.timeout(20):
            while not await pool.fetchval(sql):
                await asyncio.sleep(0.02)

    async with pool.acquire() as connection:
        await deliver(app, connection, account_saved(), limit(stop_loss=Decimal(500)), long(), now=NOW)
    await tell(position(state(0, realised=-100), strategy_id=STRATEGY, version=2))
    async with opened(service, clock=FixedClock(NOW)) as instance, asyncio.TaskGroup() as group:
        memory = instance.memory
        memory.take([conflated(quote(SBIN, 700.0, NOW))])
        memory.revalue()
        acting = group.create_task(timers.act_on_watches(instance))
        await asyncio.sleep(0.5)
        assert await pool.fetchval("SELECT armed FROM watches")
        consumer = Consumer(instance)
        consuming = group.create_task(consumer.run())
        await until("SELECT bool_and(quantity = 0) FROM exposures")
        async with asyncio.timeout(20):
            while not memory.is_watching:
                await asyncio.sleep(0.02)
        memory.revalue()
        await asyncio.sleep(0.3)
        assert await pool.fetchval("SELECT armed FROM watches")
        await tell(position(state(10, 800, realised=-100), strategy_id=STRATEGY, version=3))
        await until("SELECT bool_and(quantity = 10) FROM exposures")
        async with asyncio.timeout(20):
            while await pool.fetchval("SELECT armed FROM watches"):
                memory.revalue()
                await asyncio.sleep(0.02)
        await consumer.stop()
        acting.cancel()
        consuming.cancel()


async def test_a_limit_is_armed_again_when_two_instances_close_what_is_open_in_one_moment(pool: asyncpg.Pool) -> None:
    """Each saw the other's position open still; until all was flat again the next one was not watched."""
    both = long(), long(account_id=OTHER_ACCOUNT)
    limits = limit(RiskLevel.USER, stop_loss=Decimal(500))
    async with pool.acquire() as connection:
        await deliver(app, connection, account_saved(), account_saved(OTHER_ACCOUNT), limits, *both, now=NOW)
        await connection.execute("UPDATE watches SET armed = false")

    async def close(account_id: AccountId) -> None:
        closed = position(state(0, realised=-500), strategy_id=STRATEGY, account_id=account_id, version=2)
        async with pool.acquire() as connection, connection.transaction():
            await deliver(app, connection, closed, now=NOW)
            await asyncio.sleep(0.1)

    await asyncio.gather(close(ACCOUNT), close(OTHER_ACCOUNT))
    assert await pool.fetchval("SELECT armed FROM watches")


async def test_what_another_instance_closed_a_moment_ago_breaks_no_limit(scene: Watched) -> None:
    """Who got out just before his stop was reached had the rest of the account squared off, and his entries denied
    until midnight, by the instance that had not looked yet at what the other did.
    """
    await scene.tell(limit(stop_loss=Decimal(500), max_daily_loss=Decimal(400)), long())
    await deliver(app, scene.connection, position(state(0, realised=-300), strategy_id=STRATEGY, version=2), now=NOW)
    assert await scene.price(740.0) == []
    await scene.tell(position(state(10, 740, -300), strategy_id=STRATEGY, version=3))
    assert await scene.price(731.0) == []
    await deliver(app, scene.connection, position(state(0, realised=-50), instrument=INFY), now=NOW)
    [breach, _] = await scene.price(730.0)
    assert isinstance(breach, MTMBreached)
    assert (breach.kind, breach.mtm) == (BreachKind.DAILY_LOSS, Decimal(-450))


async def test_an_instance_learns_what_another_did(pool: asyncpg.Pool) -> None:
    memory = RiskMemory()
    memory.clock = FixedClock(NOW)
    async with pool.acquire() as connection:
        store = RiskStore(connection)
        await memory.follow(store)
        await deliver(app, connection, account_saved(), limit(stop_loss=Decimal(500)), long(), now=NOW)
        await connection.execute("UPDATE exposures SET moved_by = $1", ids.new_id())
        await deliver(app, connection, order(strategy_id=STRATEGY), memory=market(), now=NOW)
        await memory.follow(store)
    memory.take([conflated(quote(SBIN, 700.0, NOW))])
    memory.revalue()
    assert len(memory.crossed) == 1
