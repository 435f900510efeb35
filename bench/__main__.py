"""`python -m bench [part …]`: measures the running stack, prints a table and keeps it in .local/bench/latest.json."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable

import uvloop

from bench import books, chain, contracts, history, ingest, order_path, report, revaluation, stream, webhook
from bench.conditions import conditions
from bench.cpu import Meter, idle
from bench.orders import Mix
from bench.profile.measure import profile
from bench.report import Figures
from bench.window import Bench
from bench.world import find_world
from deploy.local.instance import OFFSETS, Instance
from deploy.local.stack import Stack
from tools.client import Away, Platform, Refused

ORDERS = ("revaluation", "single", "order-path", "webhook", "books", "saturation", "profile")
MARKET = ("contracts", "history", "ingest", "chain", "stream", "ticks")
PARTS = ORDERS + MARKET
WHOLE = "order-path"
"""The part whose conditions stand for the whole page's; each other part keeps only what may differ."""
MAY_DIFFER = ("at", "commit", "feed", "load_before")
IDLE_SECONDS = 8.0
LONGEST_PART = 900.0


async def run(part: str, bench: Bench, mix: Mix, arguments: argparse.Namespace) -> dict[str, Figures]:
    match part:
        case "single":
            return await order_path.one_at_a_time(bench, mix)
        case "order-path":
            return await order_path.steady(bench, mix, arguments.rate, arguments.seconds)
        case "webhook":
            return await webhook.webhook(bench)
        case "books":
            return await books.books(bench, mix)
        case "saturation":
            return await order_path.saturation(bench, mix, arguments.first)
        case "profile":
            return await profile(bench, mix, arguments.rate, Instance(arguments.instance))
        case "revaluation":
            return {"revaluation": dict(await revaluation.measure())}
        case _:
            return await market(part, bench, Instance(arguments.instance))


async def in_time(part: str, measuring: Awaitable[dict[str, Figures]]) -> dict[str, Figures]:
    limit = asyncio.timeout(LONGEST_PART)
    try:
        async with limit:
            return await measuring
    except TimeoutError:
        if not limit.expired():
            raise
        raise SystemExit(f"{part} did not end in {LONGEST_PART:.0f} s; the parts before it are kept") from None


async def market(part: str, bench: Bench, instance: Instance) -> dict[str, Figures]:
    match part:
        case "contracts":
            return await contracts.measured(instance)
        case "history" | "ingest":
            suite = history if part == "history" else ingest
            return dict(await suite.measure(bench, instance))
        case "chain":
            return await chain.measure(bench.platform)
        case _:
            target = await stream.find_target(instance, bench.meter.programs["gateway"])
            return await (stream.measure(target) if part == "stream" else stream.ticks(target, bench.platform))


async def main(arguments: argparse.Namespace) -> None:
    instance = Instance(arguments.instance)
    if not Stack(instance.name).complete():
        sys.exit("the stack is not running, or not ready: `make up`, `make status`")
    latest = instance.home / "bench" / "latest.json"
    mix = Mix(arguments.market_in_ten)
    world = await find_world(instance)
    async with Platform(world.gateway_url, patience=60) as platform:
        platform.use_key(world.api_key)
        bench = Bench(world, platform, Meter(instance))
        known = await setting(bench, instance, mix)
        report.show({"conditions": known})
        for part in arguments.parts or PARTS:
            print(f"{part} …")
            found = await in_time(part, run(part, bench, mix, arguments))
            report.show(found)
            report.keep(latest, found, {name: known[name] for name in MAY_DIFFER})
            if part == WHOLE:
                report.keep(latest, {"conditions": known})
    print(f"kept in {latest}")


async def setting(bench: Bench, instance: Instance, mix: Mix) -> Figures:
    """The conditions, among them what the stack uses while nobody orders anything."""
    known = conditions(instance)
    first = bench.meter.read()
    await asyncio.sleep(IDLE_SECONDS)
    resting = idle(first, bench.meter.read())
    return {
        **known,
        "accounts": len(bench.world.accounts),
        "instruments": len(bench.world.instruments),
        "market_orders_in_ten": mix.market_in_ten,
        "warm_up_s": order_path.WARM_UP,
        "idle_cpu_ms_per_s": resting,
    }


def asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"all of {', '.join(PARTS)} unless named")
    parser.add_argument("--rate", type=float, default=200, help="orders a second of order-path")
    parser.add_argument("--seconds", type=float, default=30, help="how long order-path measures")
    parser.add_argument("--first", type=int, default=order_path.FIRST_RATE, help="the rate saturation begins with")
    parser.add_argument("--market-in-ten", type=int, default=5, help="market orders among ten; the others rest")
    parser.add_argument("--instance", choices=OFFSETS, default="local")
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return arguments


if __name__ == "__main__":
    try:
        uvloop.run(main(asked()))
    except (Refused, Away) as failure:
        sys.exit(str(failure))
    except KeyboardInterrupt:
        sys.exit(130)
