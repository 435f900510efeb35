"""An instance that stands still while another takes over, and then goes on: the fence stops it."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from libs.common.clock import stopwatch
from tests.chaos.faults import program
from tests.chaos.scenario import Chaos, Scenario

TAKEN_OVER_WITHIN = 12.0
SERVICES = ("trading", "risk", "walkforward", "gateway", "strategy", "signals")
FROZEN = 60.0


async def freeze(scenario: Scenario, services: tuple[str, ...], seconds: float) -> None:
    """The second instance of each stands still, and the first takes over; then it goes on."""
    logs = {service: scenario.chaos.stack.instance.log / f"{program(service, 1)}.log" for service in services}
    async with scenario.faults.more(*((service, 1) for service in services)):
        owners = {service: await at_work(scenario, service) for service in services}
        await scenario.flow.resumed_everywhere(stopwatch(), 60)
        async with contextlib.AsyncExitStack() as stack:
            at = stopwatch()
            for service in services:
                await stack.enter_async_context(scenario.faults.frozen(program(service, 1)))
                scenario.faults_done += 1
            for service in services:
                scenario.expect(bool(await held(scenario, owners[service], service)), f"{service} froze without work")
            await scenario.recovers_everywhere(at, TAKEN_OVER_WITHIN, f"the standstill of {', '.join(services)}")
            await asyncio.sleep(max(0.0, at + seconds - stopwatch()))
            for service in services:
                left = await held(scenario, owners[service], service)
                scenario.expect(not left, f"nobody took {left} of {service} from one that stands still")
            before = {service: log.stat().st_size for service, log in logs.items()}
        await asyncio.sleep(3)
        await scenario.recovers_everywhere(stopwatch(), TAKEN_OVER_WITHIN, f"{', '.join(services)} went on")
        for service, log in logs.items():
            said = await noticed(log, before[service])
            scenario.expect(bool(said), f"{service} did not notice that it had lost its partitions")
            scenario.figures[f"{service} went on"] = ", ".join(said)


async def at_work(scenario: Scenario, service: str) -> int:
    """The owner of the second instance's leases, once it has any: a single partition stays with the first."""
    (row,) = await scenario.chaos.fetch(f"SELECT owner FROM {service}.message_members WHERE instance = '1'")  # noqa: S608
    owner: int = row[0]
    if not await held(scenario, owner, service):
        await scenario.faults.take_away(service)
        async with asyncio.timeout(TAKEN_OVER_WITHIN):
            while not await held(scenario, owner, service):
                await asyncio.sleep(0.1)
        await scenario.faults.bring_back(service)
        await scenario.faults.ready(service)
    return owner


async def held(scenario: Scenario, owner: int, service: str) -> list[int]:
    """The partitions that are leased to it."""
    sql = f"SELECT DISTINCT partition FROM {service}.message_offsets WHERE owner = $1 ORDER BY 1"  # noqa: S608
    return [row[0] for row in await scenario.chaos.fetch(sql, owner)]


async def noticed(log: Path, since: int) -> list[str]:
    """By which words an instance showed that it knows: a batch that was fenced, partitions that others have, or begun
    again, which is done only with those that were given up.
    """
    deadline = stopwatch() + TAKEN_OVER_WITHIN
    while True:
        text = (await asyncio.to_thread(log.read_bytes))[since:]
        found = [event for event in ("fenced", "partitions_lost", "partitions_begun") if f'"{event}"'.encode() in text]
        if found or stopwatch() > deadline:
            return found
        await asyncio.sleep(0.5)


@pytest.mark.in_full
@pytest.mark.scenario(4)
async def test_openalgo_932_dual_execution_paths_a_zombie_does_nothing_twice(chaos: Chaos) -> None:
    """Two instances hold the same order, one of them acts on it.

    Its short versions are the instance that sleeps through a panic (test_panic.py) and tests/common/test_leases.py.
    """
    async with chaos.scenario(4, "SIGSTOP, another takes over, SIGCONT") as scenario:
        await freeze(scenario, SERVICES, FROZEN)
