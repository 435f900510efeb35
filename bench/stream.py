"""The price stream: messages a second at 200 clients, from a price to its clients, and what idle clients cost.

The prices are of instruments that do not exist (`NSE:BENCH000`), published on marketdata.watched.v1, which nobody but
the gateway reads; their time is that of their publication. The clients are another process (`bench/listener.py`).
"""

import asyncio
import contextlib
import math
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import psutil

from bench.report import Figures
from deploy.local import environment
from deploy.local.instance import Instance
from libs.common.clock import SystemClock
from libs.common.contracts import topics
from libs.common.contracts.enums import FeedSource
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import Quote, WatchedConflated
from libs.common.messaging.bulk import BulkPublisher
from libs.common.service import Memory, Service, Store
from libs.common.settings import KafkaSettings, kafka_of
from tools.client import Platform, Refused

CLIENTS = 200
EACH_WATCHES = 50
INSTRUMENTS = 500
SECONDS = 10.0
WARM_UP = 3.0
RATES = (20_000, 50_000, 110_000, 150_000)
IDLE_CLIENTS = 5_000
PER_USER = 50
"""Of the clients that stream: one user may not watch everything. Idle ones may be a hundred."""
TURN = 0.01


@dataclass(frozen=True)
class Target:
    """A running gateway: where it is, which process it is, and the keys of enough users."""

    stream_url: str
    kafka: KafkaSettings
    process: psutil.Process
    keys: Sequence[str]

    def key(self, client: int) -> str:
        return self.keys[client // PER_USER % len(self.keys)]


def users_needed() -> int:
    return math.ceil(IDLE_CLIENTS / PER_USER)


async def make_users(platform: Platform, count: int) -> list[str]:
    """API keys of new users: one user may not have all connections."""
    keys = []
    for _ in range(count):
        name = f"stream.{secrets.token_hex(5)}"
        person = {"email": f"{name}@example.com", "username": name, "password": secrets.token_hex(12)}
        await platform.post("/api/v2/auth/register", person)
        await platform.log_in(person["email"], person["password"])
        keys.append((await platform.post("/api/v2/auth/api-keys", {"name": "bench", "scopes": ["read"]}))["api_key"])
    return keys


class Source:
    """Publishes a steady number of prices a second, as marketdata does of what is watched."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._clock = SystemClock()
        self._names = [InstrumentId(f"NSE:BENCH{n:03}") for n in range(INSTRUMENTS)]
        service = Service(name="bench", store=Store, memory=Memory, produces=[topics.WATCHED])
        self._bulk = BulkPublisher(service, kafka, self._clock)
        self._next = 0

    async def run(self, per_second: float) -> None:
        loop = asyncio.get_running_loop()
        began, published = loop.time(), 0
        while True:
            due = int((loop.time() - began) * per_second) - published
            if due > 0:
                self._publish(due)
                published += due
            await asyncio.sleep(TURN)

    async def close(self) -> None:
        await self._bulk.close()

    def _publish(self, count: int) -> None:
        now = self._clock.now()
        some = [self._names[(self._next + n) % INSTRUMENTS] for n in range(min(count, INSTRUMENTS))]
        self._next += count
        quotes = tuple(
            Quote(
                instrument=name,
                at=now,
                source=FeedSource.SIMULATED,
                ltp=100.0 + self._next % 1000 / 20,
                bid=99.95,
                ask=100.05,
                bid_quantity=1000,
                ask_quantity=1000,
                open=100,
                high=150,
                low=100,
                previous_close=100,
                volume=self._next,
                oi=0,
            )
            for name in some
        )
        self._bulk.publish(WatchedConflated(shard="bench", at=now, quotes=quotes))


Wishes = list[list[dict[str, Any]]]
"""What each client says first."""


def silent(target: Target, clients: int) -> Wishes:
    return [[{"action": "authenticate", "api_key": target.key(n)}] for n in range(clients)]


def made_up(client: int) -> list[str]:
    return [f"NSE:BENCH{(client * EACH_WATCHES + n) % INSTRUMENTS:03}" for n in range(EACH_WATCHES)]


def watching(target: Target, names: Callable[[int], list[str]]) -> Wishes:
    wish = {"action": "subscribe", "mode": "quote"}
    return [[*said, {**wish, "quotes": names(n)}] for n, said in enumerate(silent(target, CLIENTS))]


class Listeners:
    """The process of the clients."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def reading(self) -> dict[str, float]:
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        return await self.told()

    async def told(self) -> dict[str, float]:
        assert self._process.stdout is not None
        async with asyncio.timeout(120):
            line = await self._process.stdout.readline()
        found: dict[str, float] = orjson.loads(line)
        return found


@contextlib.asynccontextmanager
async def listening(target: Target, wishes: Wishes) -> AsyncIterator[Listeners]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.listener", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdin is not None
        asked = {"url": target.stream_url, "clients": wishes}
        process.stdin.write(orjson.dumps(asked) + b"\n")
        listeners = Listeners(process)
        await listeners.told()
        yield listeners
    finally:
        process.kill()
        await process.wait()


async def delivered(target: Target, rate: int) -> Figures:
    """`rate` messages a second are due to all clients together."""
    source = Source(target.kafka)
    publishing = asyncio.create_task(source.run(rate * INSTRUMENTS / (CLIENTS * EACH_WATCHES)))
    await asyncio.sleep(1)
    try:
        return {"rate": rate, **await heard(target, watching(target, made_up))}
    finally:
        publishing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await publishing
        await source.close()


async def heard(target: Target, wishes: Wishes) -> Figures:
    """What reaches the clients, and how old it is then."""
    async with listening(target, wishes) as listeners:
        await asyncio.sleep(WARM_UP)
        first, used = await listeners.reading(), target.process.cpu_times()
        await asyncio.sleep(SECONDS)
        last, now_used = await listeners.reading(), target.process.cpu_times()
    seconds = last["seconds"] - first["seconds"]
    return {
        **{name: last[name] for name in ("p50_ms", "p95_ms", "p99_ms", "p999_ms")},
        "clients": CLIENTS,
        "messages_per_s": round((last["messages"] - first["messages"]) / seconds),
        "connections_lost": last["lost"],
        "gateway_cpu_ms_per_s": round(1000 * (sum(now_used[:2]) - sum(used[:2])) / seconds),
        "listener_cpu_ms_per_s": round(1000 * (last["cpu_s"] - first["cpu_s"]) / seconds),
    }


async def idle(target: Target) -> Figures:
    """What authenticated clients that watch nothing cost in memory; some come first, so that pools are warm."""
    async with listening(target, silent(target, 500)):
        await asyncio.sleep(1)
        before = target.process.memory_info().rss
        async with listening(target, silent(target, IDLE_CLIENTS)) as listeners:
            await asyncio.sleep(3)
            admitted = int((await listeners.reading())["admitted"])
            after = target.process.memory_info().rss
    return {"idle_clients": admitted, "kb_each": round((after - before) / max(admitted, 1) / 1024, 1)}


async def ticks(target: Target, platform: Platform) -> dict[str, Figures]:
    """From the feed's tick, through marketdata, Kafka and the gateway, to every client: fifty shares of the feed.

    The replay has no shares. What a stack with the simulator gave before stays then as it is.
    """
    found = await platform.get("/api/v2/market/contracts/search", kind="EQUITY", exchange="NSE", limit=200)
    quoted = await platform.post(
        "/api/v2/market/quotes/bulk", {"symbols": [each["instrument"] for each in found["data"]]}
    )
    names = [quote["instrument"] for quote in quoted["data"] if not quote["stale"]][:EACH_WATCHES]
    if not names:
        print("  this feed has no shares: `make up FEED=simulator` and `python -m bench ticks` add it to the others")
        return {}
    figures = await heard(target, watching(target, lambda _: names))
    return {"ticks": {"rate": figures["messages_per_s"], "instruments": len(names), **figures}}


async def measure(target: Target) -> dict[str, Figures]:
    found: Figures = {f"at_{rate}": await delivered(target, rate) for rate in RATES}
    return {"stream": {**found, "idle": await idle(target)}}


async def find_target(instance: Instance, process: psutil.Process) -> Target:
    """The gateway of a running stack itself, not the edge before it; its users are kept for the next time."""
    url = instance.url("gateway")
    place = instance.home / "bench" / "stream.json"
    keys: list[str] = orjson.loads(place.read_bytes()) if place.exists() else []
    async with Platform(url, patience=30) as platform:
        if keys:
            platform.use_key(keys[-1])
            try:
                await platform.get("/api/v2/auth/profile")
            except Refused:
                keys = []
        if len(keys) < users_needed():
            keys = await make_users(platform, users_needed())
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch(mode=0o600)
            place.write_bytes(orjson.dumps(keys))
    stream_url = url.replace("http", "ws", 1) + "/api/v2/stream"
    return Target(stream_url, kafka_of(environment.load(instance)), process, keys)
