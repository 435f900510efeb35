"""Each example, run as its reader runs it, on the real servers."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from libs.common import ids
from libs.common.contracts import topics

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
KAFKA = os.environ.get("KAFKA_BOOTSTRAP", "")
OPEN = datetime(2026, 11, 23, 3, 45, tzinfo=UTC)
HEADERS = [("ce_type", b"CandleClosed"), ("ce_time", b"2026-11-23T03:46:02Z")]

pytestmark = pytest.mark.servers


@pytest.fixture
def instrument() -> str:
    """Of this test alone: the topics and tables are everybody's."""
    return f"NSE:EX{ids.new_id().hex[-10:].upper()}"


@pytest.fixture
async def producer() -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=KAFKA)
    await producer.start()
    yield producer
    await producer.stop()


def candle(instrument: str, minute: int, price: float, volume: int) -> bytes:
    start = (OPEN + timedelta(minutes=minute)).isoformat()
    prices = dict.fromkeys(("open", "high", "low", "close"), price)
    told = {"instrument": instrument, "start": start, "interval_s": 60, "source": "REPLAYED", "oi": 0}
    return json.dumps({**told, **prices, "volume": volume}).encode()


async def run(*words: str, **variables: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, *words, env={**os.environ, **variables},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip


async def output(process: asyncio.subprocess.Process) -> str:
    try:
        said, _ = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
    return said.decode()


async def test_the_plain_consumer_prints_messages_of_its_type(producer: AIOKafkaProducer, instrument: str) -> None:
    topic = topics.CANDLES.name
    value = candle(instrument, 0, 100, 10)
    await producer.send_and_wait(topic, value, key=instrument.encode(), headers=[("ce_type", instrument.encode())])
    words = ("--topic", topic, "--type", instrument, "--from-beginning", "--count", "1")
    said = await output(await run(str(EXAMPLES / "plain_consumer.py"), *words))
    assert json.loads(said[said.index("{") :]) == json.loads(value)


async def test_the_faust_app_tells_the_rolling_vwap(
    producer: AIOKafkaProducer, instrument: str, tmp_path: Path
) -> None:
    """Over a quarter of an hour by the candles' own time, although all of them come at once: at 09:30 the first minute
    is out, at 10:15 all but the last.
    """
    app = f"test-vwap-{ids.new_id().hex[-8:]}"
    candles, topic = f"{app}-candles", f"{app}-vwap"
    admin = AIOKafkaAdminClient(bootstrap_servers=KAFKA)
    await admin.start()
    await make(admin, candles, topic, *(f"{app}-{table}-changelog" for table in ("newest", "turnover", "volume")))
    process = await run(
        str(EXAMPLES / "rolling_vwap.py"), "worker", "-l", "warn", "--without-web",
        KAFKA_BOOTSTRAP=KAFKA, VWAP_APP=app, VWAP_CANDLES=candles, VWAP_TOPIC=topic, VWAP_DATA=str(tmp_path),
    )  # fmt: skip
    try:
        told_twice, without_trade = (1, 999, 30), (2, 120, 0)
        day = ((0, 100, 10), (1, 110, 30), told_twice, without_trade, (3, 90, 40), (15, 100, 30), (60, 80, 5))
        for minute, price, volume in day:
            value = candle(instrument, minute, price, volume)
            await producer.send_and_wait(candles, value, key=instrument.encode(), headers=HEADERS)
        told = await asyncio.wait_for(_told(topic, instrument, 5), 90)
        assert told == [(100, 10), (107.5, 40), (98.75, 80), (99, 100), (80, 5)]
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        sys.stdout.write(await output(process))
        known = [name for name in await admin.list_topics() if name.startswith(app)]
        await admin.delete_topics(known)
        await admin.close()


async def make(admin: AIOKafkaAdminClient, *names: str) -> None:
    """The changelogs too, which the worker makes where there are none: it joins before Kafka knows them now and then
    (examples/README.md).
    """
    await admin.create_topics([NewTopic(name, 6, 1) for name in names])
    async with asyncio.timeout(30):
        while not all(
            len(topic["partitions"]) == 6 and all(each["leader"] >= 0 for each in topic["partitions"])
            for topic in await admin.describe_topics(list(names))
        ):
            await asyncio.sleep(0.1)


async def _told(topic: str, instrument: str, count: int) -> list[tuple[float, int]]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=KAFKA, auto_offset_reset="earliest")
    await consumer.start()
    try:
        found: list[tuple[float, int]] = []
        async for record in consumer:
            value = json.loads(record.value)
            if value["instrument"] == instrument:
                found.append((value["vwap"], value["volume"]))
            if len(found) == count:
                return found
    finally:
        await consumer.stop()
    raise AssertionError("the topic ended")


@pytest.mark.parametrize(
    ("words", "url", "said"),
    [
        (("NSE:SBIN", "2026-11-23"), "http://127.0.0.1:9", "QuestDB at http://127.0.0.1:9 gives no candles: "),
        (("NSE:SBIN", "23-11-2026"), "http://127.0.0.1:9", "a_day.py: error: argument day: invalid "),
    ],
)
async def test_a_day_that_cannot_be_had_is_said_in_one_line(words: tuple[str, ...], url: str, said: str) -> None:
    """As for a newcomer whose stack does not run yet."""
    lines = (await output(await run(str(EXAMPLES / "a_day.py"), *words, QUESTDB_URL=url))).splitlines()
    assert lines[-1].startswith(said)
    assert "Traceback" not in "".join(lines)


async def test_the_day_is_drawn(instrument: str, tmp_path: Path) -> None:
    questdb = os.environ["QUESTDB_URL"]
    rows = "\n".join(
        f"candles,instrument={instrument},source=REPLAYED "
        f"open=100,high=101,low=99,close={100 + n / 100},volume=10i,oi=0i "
        f"{int((OPEN + timedelta(minutes=n)).timestamp()) * 1_000_000_000}"
        for n in range(375)
    )
    async with httpx.AsyncClient(trust_env=False) as client:
        (await client.post(f"{questdb}/write", content=rows)).raise_for_status()
        where = f"instrument = '{instrument}'"
        async with asyncio.timeout(30):
            while True:
                query = {"query": f"SELECT count() FROM candles WHERE {where}"}  # noqa: S608 - a name of our own
                answer = (await client.get(f"{questdb}/exec", params=query)).json()
                if answer.get("dataset") == [[375]]:
                    break
                await asyncio.sleep(0.2)
    chart = tmp_path / "day.png"
    said = await output(await run(str(EXAMPLES / "a_day.py"), instrument, "2026-11-23", "--out", str(chart)))
    assert "375" in said
    assert chart.read_bytes().startswith(b"\x89PNG")


async def test_a_day_without_candles_is_said(instrument: str, tmp_path: Path) -> None:
    said = await output(await run(str(EXAMPLES / "a_day.py"), instrument, "2026-11-23"))
    assert f"no candles of {instrument}" in said
