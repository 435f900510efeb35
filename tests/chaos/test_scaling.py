"""More instances and fewer again, new ones in the place of old ones, several behind one address: all under load."""

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

import pytest

from bench.wire import LOST
from libs.common.clock import stopwatch
from tests.chaos.scenario import Chaos, Scenario, place
from tests.chaos.wishes import AWAY, OPEN, REFUSED, TAKEN, Kind, Wish
from tools.client import Platform

SERVICES = ("gateway", "trading", "risk", "walkforward", "strategy", "signals", "marketdata")
NO_PAUSE_LONGER_THAN = 2.0
"""The longest that an order waits for its acceptance while partitions move."""
RESUMES_WITHIN = 5.0
FAILED = AWAY | {-1}
"""None answered within a try's time (-1), a broken connection, or an error of the platform's."""
HARMED = frozenset({LOST, 500, 502, 504})
"""What a starved machine does not excuse either: others may test beside the short version."""
Change = tuple[float, float, str]
"""When it began, the longest that an order may wait meanwhile, and what it was."""


@pytest.mark.scenario(5)
async def test_any_gateway_behind_the_address_answers_for_any_order(chaos: Chaos) -> None:
    await asyncio.to_thread(chaos.stack.scale, "gateway", 2)
    edge = await asyncio.to_thread(chaos.stack.start_edge)
    try:
        async with chaos.scenario(5, "two gateways behind one address", edge=edge) as scenario:
            for n in range(15 if chaos.full else 3):
                await ask_the_other(scenario, n)
            at = await scenario.faults.kill("gateway-1")
            scenario.faults_done += 1
            await scenario.recovers(at, 1.0, "one of two gateways died")
            await asyncio.sleep(2)
    finally:
        await asyncio.to_thread(chaos.stack.scale, "gateway", 1)


async def ask_the_other(scenario: Scenario, n: int) -> None:
    """An order placed at one gateway is seen, changed and cancelled at the other, at once."""
    flow, instance = scenario.flow, scenario.chaos.stack.instance
    account = flow.world.accounts[n % len(flow.world.accounts)]
    async with (
        Platform(instance.url("gateway", n % 2), patience=20) as here,
        Platform(instance.url("gateway", 1 - n % 2), patience=20) as there,
    ):
        for gateway in (here, there):
            gateway.use_key(account.user.api_key)
        order = await place(scenario, here, flow.order(Kind.RESTING, account))
        order_id = order["order_id"]
        seen = await there.get(f"/api/v2/trading/orders/{order_id}")
        scenario.expect(
            seen["status"] == order["status"], f"{order_id} is {order['status']} here and {seen['status']} there"
        )
        price = str(Decimal(seen["price"]) - 1)
        await there.post("/api/v2/trading/orders/modify", {"order_id": order_id, "price": price})
        changed = await here.get(f"/api/v2/trading/orders/{order_id}")
        scenario.expect(Decimal(changed["price"]) == Decimal(price), f"{order_id} was changed there and is not here")
        await here.post("/api/v2/trading/orders/cancel", {"order_id": order_id})
        ended = await there.get(f"/api/v2/trading/orders/{order_id}")
        scenario.expect(ended["status"] == "CANCELLED", f"{order_id} was cancelled here and is {ended['status']} there")


@pytest.mark.scenario(5)
async def test_every_service_scales_up_and_down_under_load(chaos: Chaos) -> None:
    async with chaos.scenario(5, "scale each service from 1 to 3 and back") as scenario:
        changes: list[Change] = []
        for service in SERVICES if chaos.full else ("trading",):
            for count in (3, 1):
                scenario.faults_done += 1
                longest = chaos.pick(NO_PAUSE_LONGER_THAN, RESUMES_WITHIN)
                changes.append((stopwatch(), longest, f"{service} to {count}"))
                await asyncio.to_thread(chaos.stack.scale, service, count)
                await scenario.recovers_everywhere(stopwatch(), RESUMES_WITHIN, f"{service} was scaled to {count}")
        await no_longer_than(scenario, changes)


async def no_longer_than(scenario: Scenario, changes: Sequence[Change]) -> None:
    """The pause that each change makes, as the order that waited longest saw it: once no order waits any more."""
    await scenario.flow.settle()
    for (began, within, what), until in zip(changes, [*(began for began, _, _ in changes[1:]), math.inf], strict=True):
        wished = [wish for wish in scenario.flow.orders if began <= wish.due < until]
        pause = max((waited(wish) for wish in wished if wish.status != REFUSED), default=math.inf)
        scenario.figures[f"longest pause, {what}"] = f"{pause:.2f} s"
        scenario.expect(pause <= scenario.chaos.within(within), f"an order waited {pause:.1f} s: {what}")


def waited(wish: Wish) -> float:
    """Of one that was taken and not decided by then, what it waited at the least; of one never answered, for ever."""
    return wish.answered - wish.due if wish.status in (TAKEN, OPEN) else math.inf


@pytest.mark.scenario(5)
async def test_a_rolling_restart_of_every_service_fails_no_request(chaos: Chaos) -> None:
    """Two of each, one after the other, behind the address that clients know: no request is answered by an error,
    hung up on or sent again by its client.
    """
    edge = await asyncio.to_thread(chaos.stack.start_edge)
    async with chaos.scenario(5, "rolling restart of every service", edge=edge) as scenario:
        changes: list[Change] = []
        began = stopwatch()
        for service in SERVICES if chaos.full else ("gateway",):
            async with scenario.faults.more((service, 1)):
                await scenario.flow.resumed_everywhere(stopwatch(), 60)
                longest = chaos.pick(NO_PAUSE_LONGER_THAN, RESUMES_WITHIN)
                for name in (service, f"{service}-1"):
                    changes.append((stopwatch(), longest, f"{name} restarted"))
                    await asyncio.to_thread(chaos.stack.restart, name)
                    scenario.faults_done += 1
                    await scenario.recovers_everywhere(stopwatch(), RESUMES_WITHIN, f"{name} was restarted")
        await no_longer_than(scenario, changes)
        never = FAILED if chaos.full else HARMED
        wished = [wish for wish in scenario.flow.wishes if wish.due >= began]
        failed = Counter(
            f"{status}, {[what for at, _, what in changes if at <= wish.due][-1:]}"
            for wish in wished
            for status in set(wish.statuses) & never
        )
        scenario.expect(not failed, f"requests failed while services restarted: {dict(failed)}")
        calm = [wish for wish in wished if wish.kind.is_order and wish.account in scenario.flow.world.accounts]
        denied = sum(1 for wish in calm if wish.status == REFUSED)
        scenario.expect(not (chaos.full and denied), f"{denied} orders were denied while services restarted")
