"""Three Kafka nodes, two of which have what was accepted: orders outlive a leader; what one alone had is refused."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local import bootstrap, environment
from deploy.local.cluster import NODES, Cluster
from deploy.local.instance import Instance
from deploy.local.servers import wipe
from deploy.local.stack import Stack
from libs.common.clock import stopwatch
from libs.common.contracts import topics
from tests.chaos.scenario import CHOICES, FULL, SEED, Chaos, Scenario
from tests.chaos.test_servers import probing
from tests.chaos.world import make_world

USERS, ACCOUNTS = 2, 8
RESUMES_WITHIN = 12.0
"""Seconds from the death of a leader: the others believe it after three, and everybody has to hear of the next one."""
REFUSED_WITHIN = 2.0
BACK_WITHIN = 25.0
"""Seconds from the start of the nodes, as for a single Kafka, which alone needs ten."""


@pytest.fixture(autouse=True)
async def all_there() -> None:
    """No service of the other scenarios is needed here."""


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path, Instance("cluster"))


@pytest.fixture
async def chaos(cluster: Cluster) -> AsyncIterator[Chaos]:
    """Every service on the cluster, with databases of its own. Those of the other scenarios make room meanwhile."""
    await asyncio.to_thread(Stack("chaos").stop_services)
    stack = Stack("cluster", {"KAFKA_BOOTSTRAP": cluster.bootstrap, "KAFKA_REPLICATION": "3", "KAFKA_MIN_INSYNC": "2"})
    environment.choose(stack.instance, CHOICES)
    await asyncio.to_thread(stack.down)
    wipe(stack.instance)
    try:
        await asyncio.to_thread(stack.start_servers)
        await asyncio.to_thread(cluster.start)
        await asyncio.to_thread(stack.set_up)
        await asyncio.to_thread(stack.start_services)
        facts = await asyncio.to_thread(bootstrap.demo, stack.instance)
        yield Chaos(stack, await make_world(facts, USERS, ACCOUNTS, SEED), SEED, FULL)
    finally:
        await asyncio.to_thread(stack.stop_services)
        await asyncio.to_thread(cluster.stop)
        await asyncio.to_thread(stack.down)


@pytest.mark.scenario(3)
async def test_orders_outlive_the_leader_and_then_another_node_and_what_cannot_be_kept_is_refused(
    cluster: Cluster, chaos: Chaos
) -> None:
    title = "three Kafka nodes: the leader dies, then another node"
    async with chaos.scenario(3, title, warmed_up=False) as scenario:  # two cores do not bear three nodes and the load
        for _ in range(2 if chaos.full else 0):
            await back(cluster, await the_leader_dies(scenario, cluster))
        await another_dies(scenario, cluster, await the_leader_dies(scenario, cluster))


async def the_leader_dies(scenario: Scenario, cluster: Cluster) -> int:
    """Which node it was: it stays dead. Two are enough: every account has an order accepted soon."""
    leader = await asyncio.to_thread(cluster.leader_of, topics.ORDER_REQUESTS.name, 0)
    at = stopwatch()
    await asyncio.to_thread(cluster.kill, leader)
    scenario.faults_done += 1
    await scenario.recovers_everywhere(at, RESUMES_WITHIN, f"the death of node {leader}, which led")
    return leader


async def another_dies(scenario: Scenario, cluster: Cluster, dead: int) -> None:
    """Two nodes are away then: the one that is left takes nothing, as nobody else would have it."""
    other = next(node for node in NODES if node != dead)
    await asyncio.to_thread(cluster.kill, other)
    scenario.faults_done += 1
    await asyncio.sleep(0.5)
    alone = stopwatch()
    async with probing(scenario) as probe:
        await asyncio.sleep(scenario.chaos.pick(8, 4))
    within = scenario.chaos.within(REFUSED_WITHIN)
    for what, may_be_kept in (("an order", ()), ("an alert", (202,))):
        words = probe.complaints(what, may_be_kept, within)
        scenario.complaints += [f"one node of three is left: {each}" for each in words]
    taken = list(scenario.flow.accepted_since(alone))
    scenario.expect(not taken, f"one node of three is left: {len(taken)} orders were accepted all the same")
    slowest = max((seconds for _, _, seconds, _ in probe.answers), default=0.0)
    scenario.figures |= {
        "refused while two nodes were away": sum(1 for _, status, _, _ in probe.answers if status == 503),
        "slowest answer then": f"{slowest:.2f} s",
    }
    at = stopwatch()
    await back(cluster, dead, other)
    await scenario.recovers_everywhere(at, BACK_WITHIN, "the return of two nodes")


async def back(cluster: Cluster, *nodes: int) -> None:
    for node in nodes:
        await asyncio.to_thread(cluster.begin, node)
    await asyncio.to_thread(cluster.wait, NODES)
