"""More instances and fewer again, under load; several gateways behind one address."""

import asyncio
import itertools
from decimal import Decimal

import pytest

from libs.common.clock import stopwatch
from tests.chaos.flow import Kind
from tests.chaos.scenario import Chaos, Scenario, place
from tools.client import Platform

SERVICES = ("gateway", "trading", "risk", "walkforward", "strategy", "signals", "marketdata")
NO_PAUSE_LONGER_THAN = 5.0


@pytest.mark.scenario(5)
async def test_every_service_scales_up_and_down_under_load(chaos: Chaos) -> None:
    async with chaos.scenario(5, "scale each service from 1 to 3 and back") as scenario:
        for service in SERVICES if chaos.full else ("trading",):
            for count in (3, 1):
                scenario.kills += 1
                began = stopwatch()
                await asyncio.to_thread(chaos.stack.scale, service, count)
                await scenario.recovers_everywhere(
                    stopwatch(), NO_PAUSE_LONGER_THAN, f"{service} was scaled to {count}"
                )
                pause = longest_pause(scenario, began)
                scenario.figures[f"longest pause, {service} to {count}"] = f"{pause:.2f} s"
                scenario.expect(
                    pause <= chaos.within(NO_PAUSE_LONGER_THAN),
                    f"no order was taken for {pause:.1f} s: {service} to {count}",
                )


def longest_pause(scenario: Scenario, since: float) -> float:
    """The longest time without an accepted order."""
    taken = sorted(wish.answered for wish in scenario.flow.accepted_since(since))
    return max((later - earlier for earlier, later in itertools.pairwise(taken)), default=float("inf"))


@pytest.mark.scenario(5)
async def test_any_gateway_behind_the_address_answers_for_any_order(chaos: Chaos) -> None:
    await asyncio.to_thread(chaos.stack.scale, "gateway", 2)
    edge = await asyncio.to_thread(chaos.stack.start_edge)
    try:
        async with chaos.scenario(5, "two gateways behind one address", gateway_url=edge) as scenario:
            for n in range(30 if chaos.full else 3):
                await ask_the_other(scenario, n)
            at = await scenario.faults.kill("gateway-1")
            scenario.kills += 1
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
