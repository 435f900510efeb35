"""The instance that has the feed is killed: another goes on with it."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import asyncpg
import pytest
from aiokafka import ConsumerRecord
from confluent_kafka.admin import AdminClient
from redis.asyncio import Redis

from libs.common.clock import SystemClock
from libs.common.contracts import topics
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import Tick
from libs.common.testing.databases import Databases
from tests.services.marketdata.test_standby import Instance, hearing, until

pytestmark = pytest.mark.servers
TAKEN_OVER_WITHIN = timedelta(seconds=12)
"""As for every other service: `tests/chaos/test_kills.py`."""
WHOLE_MARKET = 100
"""More instruments than any one partition has."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
async def leader(kafka: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that will lead, as no other instance is there yet."""
    redis_url = urlsplit(os.environ["REDIS_URL"])._replace(path="/13").geturl()
    async with Redis.from_url(redis_url) as redis:
        await redis.flushdb()
    variables = {
        "KAFKA_BOOTSTRAP": kafka,
        "MARKETDATA_DATABASE_URL": await Databases.url("marketdata"),
        "MARKETDATA_PORT": str(free_port()),
        "REDIS_URL": redis_url,
        "INSTANCE_ID": "0",
        "LOG_LEVEL": "WARNING",
    }
    command = (sys.executable, "-m", "tests.services.marketdata.leading")
    process = await asyncio.create_subprocess_exec(*command, env=os.environ | variables)
    yield process
    if process.returncode is None:
        process.kill()
    await process.wait()


async def test_ticks_are_written_by_who_leads_and_by_nobody_else(pool: asyncpg.Pool, kafka: str, group: str) -> None:
    """Several writers bring rows out of their order in time, which QuestDB pays for with a quarter of a core."""
    one = await Instance(0, writers=group).start()
    other = Instance(1, writers=group)
    try:
        await until(lambda: one.memory.writing.ticks)
        await other.start()
        await until(lambda: other.stands_by)
        before = one.memory.writing.ticks
        await until(lambda: one.memory.writing.ticks > before + WHOLE_MARKET)
        assert other.memory.writing.ticks == 0
        await one.stop()
        await until(lambda: other.memory.writing.ticks)
        assert await asyncio.to_thread(writers_of, group, kafka) == [f"{group}-leader"], (
            "it waited for the first to expire"
        )
    finally:
        await other.stop()
        await one.stop()


def writers_of(group: str, bootstrap: str) -> list[str]:
    client = AdminClient({"bootstrap.servers": bootstrap})
    found = client.describe_consumer_groups([group])[group].result(timeout=10)
    return [member.group_instance_id for member in found.members]


def told_at(record: ConsumerRecord) -> datetime:
    return datetime.fromtimestamp(record.timestamp / 1000, UTC)


async def test_ticks_go_on_within_seconds_of_the_death_of_who_had_the_feed_and_none_is_older_than_before(
    leader: asyncio.subprocess.Process,
) -> None:
    async with hearing(topics.TICKS.name) as read:
        async with asyncio.timeout(60):
            while not await read():
                assert leader.returncode is None
                await asyncio.sleep(0.2)
        successor = await Instance(1).start()
        try:
            await until(lambda: successor.stands_by)
            await asyncio.sleep(1)
            before = await read()
            leader.kill()
            await leader.wait()
            killed = SystemClock().now()
            before += await read()
            await until(lambda: successor.leads)
            after: list[ConsumerRecord] = []
            async with asyncio.timeout(30):
                while len({record.key for record in after}) <= WHOLE_MARKET:
                    after += await read()
        finally:
            await successor.stop()
    last, first = max(map(told_at, before)), min(map(told_at, after))
    sys.stdout.write(f"ticks stood still for {(first - last).total_seconds():.2f} s\n")
    assert last <= killed + timedelta(seconds=1)
    assert first - last <= TAKEN_OVER_WITHIN
    of_each: dict[InstrumentId, list[datetime]] = {}
    for record in (*before, *after):
        tick = Tick.model_validate_json(record.value)
        of_each.setdefault(tick.instrument, []).append(tick.at)
    for times in of_each.values():
        assert times == sorted(set(times)), "a tick came twice, or time went back"
