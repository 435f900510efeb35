"""Alerts: how long until one is durably accepted, and until its order leaves for the venue."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import orjson

from bench import latency
from bench.load import Attempt, offer, settled
from bench.report import Figures
from bench.watch import Watch
from bench.window import QUIET, Bench
from bench.wire import Pool, request
from libs.common.clock import stopwatch
from libs.common.ids import new_id
from tools.client import Json
from tools.demo.contract import choose_leg

GROUPS = 20
"""A group takes at most ten alerts a second: the load is spread over several, each with an algo and an account."""
RATE, SECONDS, WARM_UP = 100.0, 20.0, 5.0
ACCEPTED = 202
CONNECTIONS = 32


async def webhook(bench: Bench) -> dict[str, Figures]:
    async with receivers(bench) as urls:
        await alert(bench, urls, WARM_UP)
        attempts, watch = await alert(bench, urls, SECONDS)
    taken = [attempt for attempt in attempts if attempt.status == ACCEPTED]
    reached = to_the_venue(taken, watch)
    return {
        "webhook": {
            "accepted": {"rate": RATE, **latency.percentiles(a.seconds for a in taken), "alerts": len(attempts)},
            "to_venue": {"rate": RATE, **latency.percentiles(reached), "orders": len(reached)},
            "refused": len(attempts) - len(taken),
        }
    }


async def alert(bench: Bench, urls: list[str], seconds: float) -> tuple[list[Attempt], Watch]:
    """Alerts at a constant rate, group after group; what the stream told meanwhile."""
    run = new_id().hex[-6:]
    prepared = [(post(urls[n % len(urls)], f"{run} {n}"), n) for n in range(int(RATE * seconds))]
    async with Watch(bench.world, "signals", "orders") as watch, Pool(bench.world.signals_url, CONNECTIONS) as pool:
        attempts = await offer(pool, prepared, RATE)
        await settled(lambda: not watch.frames or stopwatch() - watch.frames[-1][0] > QUIET, 10)
    return attempts, watch


def post(url: str, name: str) -> bytes:
    content = {"signal_type": "entry", "symbol": "NIFTY", "action": "buy", "alert_name": name}
    return request("POST", urlsplit(url).path, {}, content)


def to_the_venue(taken: list[Attempt], watch: Watch) -> list[float]:
    """From the instant that an alert was due to the first sight of its order: it is submitted, or further."""
    orders: dict[str, str] = {}
    for _, channel, row in watch.rows():
        if channel == "signals":
            orders |= {d["signal_id"]: d["order_ids"][0] for d in row["decisions"] if d.get("order_ids")}
    seen = watch.first_seen("orders", "order_id")
    found = [(a.due, seen.get(orders.get(orjson.loads(a.body)["signal_id"], ""))) for a in taken]
    return [at - due for due, at in found if at is not None]


@contextlib.asynccontextmanager
async def receivers(bench: Bench) -> AsyncIterator[list[str]]:
    """Webhook URLs of groups made for this run, an algo behind each; closed and taken away afterwards."""
    leg = await choose_leg(bench.platform)
    accounts = bench.world.accounts[:GROUPS]
    made = await asyncio.gather(*(receiver(bench, leg, account) for account in accounts))
    try:
        yield [group["webhook"]["webhook_url"] for group, _ in made]
    finally:
        for account in accounts:
            await bench.platform.post("/api/v2/trading/positions/close-all", {"account_id": account})
        for group, algo in made:
            await bench.platform.delete(f"/api/v2/algos/{algo['algo_id']}")
            await bench.platform.delete(f"/api/v2/signals/{group['group_id']}")


async def receiver(bench: Bench, leg: Json, account_id: str) -> tuple[Json, Json]:
    name = f"bench {new_id().hex[-6:]}"
    limits = {"max_per_minute": 600, "max_signals_per_day": 10_000}
    group = await bench.platform.post("/api/v2/signals/", {"name": name, **limits})
    algo = {
        "name": name,
        "legs": [leg],
        "product": "MIS",
        "accounts": [{"account_id": account_id}],
        "mappings": [{"group_id": group["group_id"]}],
        "on_repeat": "add",
    }
    return group, await bench.platform.post("/api/v2/algos/", algo)
