"""An instance that stands still while another takes over, and then goes on: the fence stops it."""

import asyncio
import contextlib

import pytest

from libs.common.clock import stopwatch
from tests.chaos.scenario import Chaos, Scenario

TAKEN_OVER_WITHIN = 12.0
SERVICES = ("trading", "risk", "walkforward", "gateway", "strategy", "signals")
FROZEN = 60.0


async def freeze(scenario: Scenario, services: tuple[str, ...], seconds: float) -> None:
    """The second instance of each stands still, and the first takes over; then it goes on."""
    async with scenario.faults.more(*((service, 1) for service in services)):
        await scenario.flow.resumed_everywhere(stopwatch(), 60)
        async with contextlib.AsyncExitStack() as stack:
            at = stopwatch()
            for service in services:
                await stack.enter_async_context(scenario.faults.frozen(f"{service}-1"))
                scenario.kills += 1
            await scenario.recovers_everywhere(at, TAKEN_OVER_WITHIN, f"the standstill of {', '.join(services)}")
            await asyncio.sleep(max(0.0, at + seconds - stopwatch()))
        await asyncio.sleep(3)
        await scenario.recovers_everywhere(stopwatch(), TAKEN_OVER_WITHIN, f"{', '.join(services)} went on")


@pytest.mark.in_full
@pytest.mark.scenario(4)
async def test_openalgo_932_dual_execution_paths_a_zombie_does_nothing_twice(chaos: Chaos) -> None:
    """Two instances hold the same order, one of them acts on it.

    Its short versions are the instance that sleeps through a panic (test_panic.py) and tests/common/test_leases.py.
    """
    async with chaos.scenario(4, "SIGSTOP, another takes over, SIGCONT") as scenario:
        await freeze(scenario, SERVICES, FROZEN)
