"""How many ticks a second the road from a feed's process through Kafka into QuestDB carries, and what a kill costs.

Ticks are made, encoded and published here as a feed does it (libs.common.messaging.bulk), at a constant rate; they are
of instruments that nobody lists. Everything else of the stack goes on meanwhile.
"""

import asyncio
import os
import signal
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx

from bench.cpu import Meter, between
from bench.report import Figures
from bench.window import Bench
from deploy.local import environment
from deploy.local.instance import Instance
from deploy.local.supervisor import Supervisor
from libs.common.clock import SystemClock, stopwatch
from libs.common.contracts import topics
from libs.common.contracts.enums import FeedSource
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import Tick
from libs.common.messaging.bulk import BulkPublisher
from libs.common.service import Memory, Service, Store
from libs.common.settings import KafkaSettings, kafka_of

RATE = 60_000
STEADY_SECONDS = 30.0
MOST, MOST_SECONDS = 100_000, 10.0
"""More than the road carries: what is written a second meanwhile is the most that it does."""
KILL_SECONDS = 12.0
INSTRUMENTS = [InstrumentId(f"NFO:BENCH{n:04}CE") for n in range(1_000)]
STEP_SECONDS = 0.01
PATIENCE = 180.0
APART = timedelta(microseconds=1)

FEED = Service(name="marketdata", store=Store, memory=Memory, produces=[topics.TICKS])


@dataclass(frozen=True)
class Sent:
    """What was offered: how many ticks, their times, how long the offering took; `dropped` never left this process."""

    count: int
    first: datetime
    last: datetime
    seconds: float
    dropped: int


async def measure(bench: Bench, instance: Instance) -> dict[str, Figures]:
    kafka = kafka_of(environment.load(instance))
    async with httpx.AsyncClient(base_url=instance.url("questdb"), timeout=30, trust_env=False) as questdb:
        await offer(kafka, RATE / 5, 3)
        first = bench.meter.read()
        sent = await offer(kafka, RATE, STEADY_SECONDS)
        found, drained = await arrived(questdb, sent)
        used = between(first, bench.meter.read())
        steady: Figures = {
            "ticks": sent.count,
            "offered_per_s": round(sent.count / sent.seconds),
            "written_per_s": round(found / (sent.seconds + drained)),
            "behind_s": round(drained, 2),
            "lost": sent.count - found,
            "dropped": sent.dropped,
            "cpu_us_per_tick": {
                name: round(value * 1_000 / sent.count, 2) for name, value in used.items() if value > 1
            },
        }
        sent = await offer(kafka, MOST, MOST_SECONDS)
        found, drained = await arrived(questdb, sent)
        most: Figures = {
            "offered_per_s": round(sent.count / sent.seconds),
            "written_per_s": round(found / (sent.seconds + drained)),
            "lost": sent.count - found,
            "dropped": sent.dropped,
        }
        killing = asyncio.create_task(kill_both(instance))
        sent = await offer(kafka, RATE, KILL_SECONDS)
        await killing
        found, drained = await arrived(questdb, sent)
    bench.meter.programs = Meter(instance).programs
    killed: Figures = {
        "ticks": sent.count,
        "lost": sent.count - found,
        "dropped": sent.dropped,
        "all_there_after_s": round(drained, 2),
    }
    return {"ingest": {**steady, "most": most, "killed": killed}}


async def offer(kafka: KafkaSettings, rate: float, seconds: float) -> Sent:
    """Publishes at the rate, open loop; returns once Kafka has what was not dropped."""
    publisher = BulkPublisher(FEED, kafka, SystemClock())
    count, total = 0, int(rate * seconds)
    began = stopwatch()
    first = at = SystemClock().now()
    while count < total:
        at = max(at + APART, SystemClock().now())
        due = min(int((stopwatch() - began) * rate), total)
        for n in range(count, due):
            at += APART
            publisher.publish(_tick(n, at))
        count = due
        await asyncio.sleep(STEP_SECONDS)
    offered = stopwatch() - began
    await publisher.flush(PATIENCE)
    return Sent(count, first, at, offered, publisher.dropped)


def _tick(n: int, at: datetime) -> Tick:
    price = 100 + n % 97 / 20
    return Tick(
        instrument=INSTRUMENTS[n % len(INSTRUMENTS)],
        at=at,
        received_at=at,
        source=FeedSource.SIMULATED,
        ltp=price,
        ltq=25,
        volume=n,
        oi=1_000 + n % 50,
        bid=price - 0.05,
        ask=price,
        bid_quantity=500,
        ask_quantity=750,
    )


async def arrived(questdb: httpx.AsyncClient, sent: Sent) -> tuple[int, float]:
    """How many of them QuestDB has, each once, and how long after the last was offered it had all."""
    began = stopwatch()
    found = 0
    while found < sent.count - sent.dropped and stopwatch() - began < PATIENCE:
        await asyncio.sleep(0.25)
        try:
            found = await counted(questdb, sent)
        except (httpx.HTTPError, KeyError, ValueError):  # killed, and not back yet
            continue
    return found, stopwatch() - began


async def counted(questdb: httpx.AsyncClient, sent: Sent) -> int:
    first, last = (at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") for at in (sent.first, sent.last))
    question = (
        "SELECT count() FROM (SELECT DISTINCT ts, instrument FROM ticks"  # noqa: S608 - our own words
        f" WHERE ts >= '{first}' AND ts <= '{last}' AND instrument LIKE 'NFO:BENCH%')"
    )
    answer = await questdb.get("/exec", params={"query": question})
    return int(answer.json()["dataset"][0][0])


async def kill_both(instance: Instance) -> None:
    """SIGKILL to marketdata, then to QuestDB; the supervisor brings each back."""
    supervisor = Supervisor(instance)
    for group, name in (("services", "marketdata"), ("servers", "questdb")):
        await asyncio.sleep(KILL_SECONDS / 3)
        os.kill(supervisor.pid(group, name), signal.SIGKILL)
