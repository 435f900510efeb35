"""One measured window of orders: offer them, time them, weigh them, and look whether every one is there once."""

import asyncio
import gc
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from bench import latency
from bench.audit import Verdict, audit, positions
from bench.cpu import Meter, Milliseconds, between
from bench.load import Attempt, offer, settled
from bench.orders import Kind, Mix
from bench.report import Figures
from bench.watch import Watch
from bench.wire import Pool
from bench.world import World
from libs.common.clock import SystemClock, stopwatch
from tools.client import Platform

CONNECTIONS = 96
QUIET = 0.3
"""Seconds without a frame after which the last fill is taken to have come."""
TAKEN, REFUSED = 201, 422


@dataclass(frozen=True)
class Bench:
    """What every measurement needs in hand."""

    world: World
    platform: Platform
    meter: Meter


@dataclass(frozen=True)
class Window:
    """What came of it. Latencies are in seconds, from the instant that each order was due."""

    attempts: list[Attempt]
    fills: list[float]
    cpu: Milliseconds
    verdict: Verdict

    @property
    def accepted(self) -> list[float]:
        return [attempt.seconds for attempt in self.attempts if attempt.status == TAKEN]

    @property
    def rate(self) -> float:
        """Orders answered a second, from the first due to the last answer."""
        answered = [attempt.answered for attempt in self.attempts if attempt.status == TAKEN]
        return len(answered) / (max(answered) - self.attempts[0].due) if answered else 0.0

    @property
    def refusals(self) -> Counter[str]:
        bodies = [orjson.loads(attempt.body) for attempt in self.attempts if attempt.status == REFUSED]
        return Counter(str(body.get("rule") or body.get("code")) for body in bodies)

    @property
    def late(self) -> int:
        """Orders whose answer said only that the outcome is open, and those that got no answer of ours."""
        return sum(1 for attempt in self.attempts if attempt.status not in (TAKEN, REFUSED))

    def figures(self) -> Figures:
        per_order = {name: round(used / len(self.attempts), 3) for name, used in self.cpu.items()}
        generator = per_order.pop("bench")
        return {
            "rate": round(self.rate, 1),
            **latency.percentiles(self.accepted),
            "orders": len(self.attempts),
            "lost": self.verdict.lost,
            "duplicated": self.verdict.duplicated,
            "refused": sum(self.refusals.values()),
            "late": self.late,
            "cpu_ms_per_order": round(sum(per_order.values()), 2),
            "cpu_ms": per_order,
            "generator_cpu_ms": generator,
        }


async def measure(bench: Bench, mix: Mix, rate: float, seconds: float) -> Window:
    """Offers orders at the rate for so long, then reads the books back."""
    world = bench.world
    before, since = await positions(bench.platform), SystemClock().now()
    prepared = mix.prepare(world, int(rate * seconds))
    async with Watch(world, "fills") as watch, Pool(world.gateway_url, CONNECTIONS) as pool:
        gc.collect()
        gc.disable()
        first = bench.meter.read()
        attempts = await offer(pool, prepared, rate)
        await settled(lambda: not watch.frames or stopwatch() - watch.frames[-1][0] > QUIET, 10)
        last = bench.meter.read()
        gc.enable()
    await decided(bench)
    verdict = await audit(bench.platform, attempts, before, since)
    return Window(attempts, fill_latencies(attempts, watch), between(first, last), verdict)


def fill_latencies(attempts: Sequence[Attempt], watch: Watch) -> list[float]:
    filled_at = watch.first_seen("fills", "order_id")
    market = [a for a in attempts if a.to is Kind.MARKET and a.status == TAKEN]
    seen = [(a, filled_at.get(orjson.loads(a.body)["order_id"])) for a in market]
    return [at - attempt.due for attempt, at in seen if at is not None]


async def decided(bench: Bench) -> None:
    """Waits until no order of ours is on its way any more."""
    for _ in range(100):
        page = await bench.platform.get("/api/v2/trading/orders/", status="SUBMITTED", limit=1)
        if not page["data"]:
            return
        await asyncio.sleep(0.2)


async def clear(bench: Bench) -> None:
    """Cancels what rests, so that the next window begins with an empty venue."""
    await bench.platform.post("/api/v2/trading/orders/cancel-all", {})
    for _ in range(300):
        page = await bench.platform.get("/api/v2/trading/orders/", open="true", limit=1)
        if not page["data"]:
            return
        await asyncio.sleep(0.2)
    raise SystemExit("orders rest that were cancelled a minute ago")
