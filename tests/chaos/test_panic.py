"""The red button under load: what is acknowledged is true from that moment, whoever sleeps or dies meanwhile."""

import asyncio
import contextlib
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from bench.audit import book_since
from libs.common.clock import SystemClock, stopwatch
from libs.common.contracts import topics
from libs.common.contracts.enums import ExecutionKind, OrderPurpose, Side
from libs.common.contracts.orders import OrderCleared
from libs.common.contracts.venue import ExecutionReported, VenueOrderRequested
from tests.chaos.audit import quiet
from tests.chaos.log import records
from tests.chaos.panicker import at_stake
from tests.chaos.scenario import Chaos, Scenario, percentile, place
from tests.chaos.wishes import Kind
from tests.chaos.world import Account, User
from tools.client import Platform

LAST_OUT_MS = 50.0
"""From the panic's acknowledgement to the last order that leaves for a venue (99th percentile)."""
FLAT_WITHIN = 20.0
STOPPED_WITHIN = 25.0
PANICS = 8
LOTS = 100
DEAD = "left after the acknowledgement and was cancelled before it came"
LONGEST_SLEEP = timedelta(seconds=60)
"""So long before a panic an order may have left of which a copy comes after it: its sender never heard that it had."""
AWAKE_SECONDS = 3.0
"""How long one who slept may try what it can."""


@dataclass(frozen=True)
class Out:
    """Orders that left for the venue after a panic: when, in seconds from its acknowledgement."""

    last: float
    """The last that could trade; 0 when none did."""
    dead: tuple[float, ...]
    """Those that the venue took for cancelled when they came."""


@pytest.mark.in_full
@pytest.mark.scenario(9)
async def test_after_a_panic_no_order_leaves_and_everything_is_closed(chaos: Chaos) -> None:
    """Its short version is the panic that an instance sleeps through."""
    drawn = random.Random(chaos.seed)
    async with chaos.scenario(9, "panics under load") as scenario:
        out: list[Out] = []
        for n in range(PANICS):
            await asyncio.sleep(drawn.uniform(1, 2))
            user = None if n % 4 == 1 else chaos.world.users[n % len(chaos.world.users)]
            out.append(await panic(scenario, user, None if n < PANICS - 1 else lambda: at_rest(scenario)))
        scenario.figures["panics"] = len(out)
        late = [each.last for each in out]
        worst, p99 = max(late) * 1000, percentile(late, 99) * 1000
        scenario.figures["last order out after the acknowledgement"] = f"p99 {p99:.0f} ms, worst {worst:.0f} ms"
        scenario.expect(p99 <= LAST_OUT_MS, f"orders left until {p99:.0f} ms after the acknowledgement (p99)")
        dead = dead_of(out)
        scenario.figures[DEAD] = in_words(dead)
        scenario.expect(not dead, f"{len(dead)} orders left after a panic though nobody slept: {in_words(dead)}")


async def panic(scenario: Scenario, user: User | None, in_force: Callable[[], Awaitable[None]] | None = None) -> Out:
    """Of one user, or of everybody. What left after its acknowledgement.

    `in_force` is awaited when all is flat, while the panic is still in force; all must be flat after it too.
    """
    world = scenario.flow.world
    users = [user] if user else world.users
    scope = "user" if user else "global"
    async with Platform(world.gateway_url, patience=30) as person:
        person.use_key(user.api_key if user else world.admin_key)
        began = SystemClock().now()
        raised = await person.post(f"/api/v2/risk/panic/{scope}", {"reason": "chaos"})
        acknowledged = SystemClock().now()
        scenario.faults_done += 1
        scenario.expect(raised["in_force"], f"a panic was answered {raised}")
        at = stopwatch()
        try:
            for each in users:
                await flat(scenario, each, at)
            if in_force:
                await in_force()
            out = await asyncio.to_thread(left_after, scenario, users, began, acknowledged)
            for each in users:
                await still_flat(scenario, each)
        finally:
            await person.post(f"/api/v2/risk/panic/{scope}/reset")
    return out


async def at_rest(scenario: Scenario) -> None:
    """Nothing is wished any more, and nothing is on its way: what was done twice shows."""
    await scenario.flow.settle()
    scenario.complaints += await quiet(scenario.chaos.admin_url)


def dead_of(out: Iterable[Out]) -> list[float]:
    return [seconds for each in out for seconds in each.dead]


def in_words(dead: Sequence[float]) -> str:
    return f"{len(dead)}, until {max(dead) * 1000:.0f} ms" if dead else "0"


@pytest.mark.scenario(9)
async def test_a_trading_instance_that_slept_through_a_panic_sends_nothing(chaos: Chaos) -> None:
    drawn = random.Random(chaos.seed)
    async with chaos.scenario(9, "a trading instance sleeps through a panic") as scenario:
        out, times = [], 2 if chaos.full else 1
        async with scenario.faults.more(("trading", 1)):
            for n in range(times):
                await scenario.flow.resumed_everywhere(stopwatch(), 60)
                await asyncio.sleep(drawn.uniform(0.2, 1.2))
                async with contextlib.AsyncExitStack() as asleep:
                    await asleep.enter_async_context(scenario.faults.frozen(("trading-1", "trading")[n % 2]))
                    scenario.faults_done += 1

                    async def wake(asleep: contextlib.AsyncExitStack = asleep, *, last: bool = n == times - 1) -> None:
                        await asleep.aclose()
                        await asyncio.sleep(AWAKE_SECONDS)
                        if last:
                            await at_rest(scenario)

                    out.append(await panic(scenario, None, wake))
        worst = max(each.last for each in out) * 1000
        scenario.figures["last order out after the acknowledgement"] = f"{worst:.0f} ms"
        scenario.figures[DEAD] = in_words(dead_of(out))
        scenario.expect(worst <= LAST_OUT_MS, f"an order left {worst:.0f} ms after the acknowledgement")


async def flat(scenario: Scenario, user: User, since: float) -> None:
    """Pending orders are cancelled and positions closed, in time."""
    async with Platform(scenario.flow.world.gateway_url, patience=30) as person:
        person.use_key(user.api_key)
        within = scenario.chaos.within(FLAT_WITHIN)
        while True:
            left = await at_stake(person)
            if not left:
                return
            if stopwatch() > since + within:
                scenario.complaints.append(f"{within:.0f} s after a panic there are still {left[:3]}")
                return
            await asyncio.sleep(0.2)


async def still_flat(scenario: Scenario, user: User) -> None:
    """Also later, while the panic is in force: what was closed was closed once."""
    async with Platform(scenario.flow.world.gateway_url, patience=30) as person:
        person.use_key(user.api_key)
        left = await at_stake(person)
        scenario.expect(not left, f"after all was closed by a panic there are {left[:3]}")


def left_after(scenario: Scenario, users: Iterable[User], since: datetime, acknowledged: datetime) -> Out:
    """Orders of these users, but not those that close positions. What the venue took for cancelled when it came is
    counted by itself: who sent it was stopped while it was on its way, and it met no market.
    """
    bootstrap = scenario.chaos.stack.environment()["KAFKA_BOOTSTRAP"]
    since -= LONGEST_SLEEP
    concerned = {account.account_id for user in users for account in [*user.accounts, *user.spare]}
    cleared = (
        OrderCleared.model_validate_json(record.value)
        for record in records(bootstrap, topics.RISK_DECISIONS.name, since)
        if record.type == OrderCleared.__name__ and record.key in concerned
    )
    closing = {str(each.order_id) for each in cleared if each.purpose is OrderPurpose.SQUARE_OFF}
    executions: dict[str, set[ExecutionKind]] = defaultdict(set)
    for record in records(bootstrap, topics.EXECUTIONS.name, since):
        said = ExecutionReported.model_validate_json(record.value)
        executions[str(said.order_id)].add(said.kind)
    dead = {
        name
        for name, kinds in executions.items()
        if kinds - {ExecutionKind.CANCEL_REJECTED} == {ExecutionKind.CANCELLED}
    }
    sent = (
        (VenueOrderRequested.model_validate_json(record.value), record.at)
        for record in records(bootstrap, topics.VENUE_REQUESTS.name, since)
        if record.type == VenueOrderRequested.__name__
    )
    left: dict[str, float] = {}
    for order, at in sent:
        if str(order.account_id) in concerned:
            left.setdefault(str(order.order_id), (at - acknowledged).total_seconds())  # a copy is the same order
    seen = closing & left.keys()
    scenario.expect(not closing or bool(seen), f"none of {len(closing)} exits was seen to leave for the venue")
    late = [(name, seconds) for name, seconds in left.items() if seconds > 0 and name not in closing]
    return Out(
        max((seconds for name, seconds in late if name not in dead), default=0.0),
        tuple(seconds for name, seconds in late if name in dead),
    )


@pytest.mark.scenario(9)
async def test_helios_23_a_limit_that_blocks_and_flattens_does_so_while_services_are_being_killed(chaos: Chaos) -> None:
    """A position beyond its stop is closed, once, whoever dies then."""
    victims = ("risk", "trading", "walkforward", "marketdata", "strategy", "gateway")
    async with chaos.scenario(9, "stops fire while services are killed") as scenario:
        spare = [account for user in chaos.world.users for account in user.spare]
        stopped = list(zip(victims if chaos.full else victims[:1], spare, strict=False))
        since = SystemClock().now()
        for victim, account in stopped:
            took = await stop_out(scenario, account, victim)
            scenario.figures[f"flat after the kill of {victim}"] = f"{took:.1f} s"
            scenario.expect(took <= chaos.within(STOPPED_WITHIN), f"a stop took {took:.1f} s when {victim} was killed")
            await scenario.faults.ready(victim)
        await at_rest(scenario)
        for victim, account in stopped:
            async with Platform(scenario.flow.world.gateway_url, patience=30) as person:
                person.use_key(account.user.api_key)
                traded = await traded_in(person, account, since)
            once = dict.fromkeys(Side, account.instrument.quantity * LOTS)
            scenario.expect(traded == once, f"a stop that fired when {victim} was killed sold not once: {traded}")


async def stop_out(scenario: Scenario, account: Account, victim: str) -> float:
    """Buy, set stops that the next tick crosses, whichever way it goes, kill; seconds until the position is closed."""
    async with Platform(scenario.flow.world.gateway_url, patience=60) as person:
        person.use_key(account.user.api_key)
        instrument = account.instrument
        bought = scenario.flow.order(Kind.MARKET, account, side="BUY", quantity=instrument.quantity * LOTS)
        await place(scenario, person, bought)
        await holds(person, account, instrument.quantity * LOTS)
        limit = {"level": "ACCOUNT", "account_id": account.account_id, "stop_loss": "0.05", "target": "0.05"}
        async with limits_lifted(person, account):
            async with asyncio.TaskGroup() as group:
                group.create_task(person.post("/api/v2/risk/limits/", limit))
                await asyncio.sleep(0.02)
                at = await scenario.faults.kill(victim)
                scenario.faults_done += 1
            await holds(person, account, 0)
            return stopwatch() - at


@contextlib.asynccontextmanager
async def limits_lifted(person: Platform, account: Account) -> AsyncIterator[None]:
    """At the end, however it comes: who trades in the account next is not stopped."""
    try:
        yield
    finally:
        for limit in (await person.get("/api/v2/risk/limits/"))["data"]:
            if limit["account_id"] == account.account_id:
                await person.delete(f"/api/v2/risk/limits/{limit['limit_id']}")


async def holds(person: Platform, account: Account, quantity: int) -> None:
    async with asyncio.timeout(90):
        while await held_in(person, account) != quantity:
            await asyncio.sleep(0.1)


async def held_in(person: Platform, account: Account) -> int:
    held = (await person.get(f"/api/v2/trading/positions/{account.account_id}"))["data"]
    return sum(each["quantity"] for each in held)


async def traded_in(person: Platform, account: Account, since: datetime) -> dict[Side, int]:
    """What was bought and sold."""
    traded = dict.fromkeys(Side, 0)
    for fill in await book_since(person, "/api/v2/trading/tradebook/", since):
        if fill["account_id"] == account.account_id:
            traded[Side(fill["side"])] += fill["quantity"]
    return traded
