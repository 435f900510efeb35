"""Real data for tests: SHARED_DATA, which a user's machine may lack and CI may not."""

import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as AIOTopicPartition
from confluent_kafka import Consumer, TopicPartition

from libs.common import http, ids
from libs.common.clock import FixedClock
from libs.common.contracts import topics
from libs.common.contracts.ids import InstrumentId
from libs.common.testing.apps import opened
from services.marketdata.app import app
from services.marketdata.memory import MarketMemory
from services.marketdata.store.series import TimeSeries
from tests.services.marketdata.samples import OPEN, keeping_all, listed


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = Path(os.environ.get("SHARED_DATA", "../shared/data"))
    if not folder.is_dir():
        reason = f"no real market data at {folder}: set SHARED_DATA"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture
def symbol() -> str:
    """QuestDB is shared: a stock of this test alone."""
    return f"H{ids.new_id().hex[-10:].upper()}"


@pytest.fixture
def name(symbol: str) -> InstrumentId:
    return InstrumentId(f"NSE:{symbol}")


@pytest.fixture
async def memory(client: httpx.AsyncClient) -> MarketMemory:
    transport = client._transport
    assert isinstance(transport, httpx.ASGITransport)
    found: MarketMemory = transport.app.state.memory  # type: ignore[attr-defined]
    return found


@pytest.fixture
async def client(symbol: str, real_servers: None) -> AsyncIterator[httpx.AsyncClient]:
    async with opened(app, clock=FixedClock(OPEN + timedelta(days=30))) as runtime:
        contract = listed(symbol)
        runtime.memory.listed = {contract.instrument: contract}
        await keeping_all(runtime.memory.series)
        application = http.build_app(runtime)
        application.state.memory = runtime.memory
        await runtime.pool.execute(_KNOWN_TO_BROKER, contract.instrument, symbol)
        transport = httpx.ASGITransport(application, raise_app_exceptions=False)
        token = {"X-Internal-Token": os.environ["INTERNAL_TOKEN"]}
        async with httpx.AsyncClient(transport=transport, base_url="http://test/internal", headers=token) as client:
            yield client
        await runtime.pool.execute("DELETE FROM broker_contracts WHERE instrument = $1", contract.instrument)


_KNOWN_TO_BROKER = """
    INSERT INTO broker_contracts
        (source, instrument, exchange, symbol, name, kind, lot_size, tick_size, token, broker_symbol, listed, seen_on)
    VALUES ('zerodha', $1, 'NSE', $2, $2, 'EQUITY', 1, 0.05, '5633', $2, true, '2026-11-23'),
        ('dhan', $1, 'NSE', $2, $2, 'EQUITY', 1, 0.05, '77', $2, true, '2026-11-23')
"""


@pytest.fixture(scope="session")
async def kafka(real_servers: None) -> str:
    """Its address, once every partition of the ticks has a leader: new ones have none for a moment."""
    async with opened(app) as runtime, AIOKafkaConsumer(bootstrap_servers=runtime.settings.kafka_bootstrap) as reader:
        partitions = [AIOTopicPartition(topics.TICKS.name, number) for number in range(topics.TICKS.partitions)]
        await reader.end_offsets(partitions)
        return runtime.settings.kafka_bootstrap


@pytest.fixture
def group(kafka: str) -> str:
    """A consumer group that has read everything there is."""
    name = f"test-{ids.new_id().hex[-12:]}"
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": name})
    marks = []
    for partition in range(topics.TICKS.partitions):
        mark = TopicPartition(topics.TICKS.name, partition)
        mark.offset = consumer.get_watermark_offsets(mark, timeout=10)[1]
        marks.append(mark)
    consumer.commit(offsets=marks, asynchronous=False)
    consumer.close()
    return name


@pytest.fixture
async def series(real_servers: None) -> AsyncIterator[TimeSeries]:
    series = TimeSeries(os.environ["QUESTDB_URL"])
    await keeping_all(series)
    yield series
    await series.close()
