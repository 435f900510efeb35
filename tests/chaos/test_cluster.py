"""Three nodes, of which two must have what was accepted: they outlive their leader and refuse what they cannot keep."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import httpx
import pytest

from deploy.local.cluster import NODES, Cluster
from deploy.local.instance import Instance
from libs.common import ids
from libs.common.clock import stopwatch
from libs.common.messaging import admin
from libs.common.messaging.errors import MessagingUnavailable
from libs.common.runtime import Runtime
from libs.common.testing import apps
from services.gateway.app import app as gateway
from tests.chaos.scenario import keep_result
from tests.common.ledger import DepositRequested, Ledger, LedgerMemory, LedgerStore, new_ledger

TITLE = "three Kafka nodes: the leader dies, then another node (with deposits, not orders)"
FIRST_PORT = 29_660
FULL = bool(os.environ.get("CHAOS"))
PAUSE_S = 0.01 if FULL else 0.02
REFUSED_WITHIN = 3.0 if FULL else 12.0
"""Three more Kafkas start and die while others may test on the same machine."""
BACK_WITHIN = 30.0


@pytest.fixture(autouse=True)
async def all_there() -> None:
    """No service of the other scenarios is needed here."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Its gateway has a Redis of its own: sessions of these tests are none of the stack's."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), FIRST_PORT)
    try:
        cluster.start()
        with pytest.MonkeyPatch.context() as surroundings:
            surroundings.setenv("KAFKA_BOOTSTRAP", cluster.bootstrap)
            surroundings.setenv("REDIS_URL", urlsplit(os.environ["REDIS_URL"])._replace(path="/13").geturl())
            yield cluster
    finally:
        cluster.stop()


@pytest.fixture
async def ledger(cluster: Cluster) -> AsyncIterator[Ledger]:
    async with new_ledger() as ledger:
        ledger.service = replace(ledger.service, produces=[ledger.events, ledger.requests])
        yield ledger


@dataclass
class Customers:
    """Each asks for one deposit, once, and notes what it was told. An account of its own shows a loss or a double."""

    runtime: Runtime[LedgerStore, LedgerMemory]
    kept: dict[str, float] = field(default_factory=dict)
    refused: dict[str, float] = field(default_factory=dict)
    slowest: float = 0.0
    recoveries: list[float] = field(default_factory=list)
    """Seconds from a kill, or from the nodes' return, to the next deposit that was kept."""
    _asked: "set[asyncio.Task[None]]" = field(default_factory=set)

    async def come(self) -> None:
        while True:
            task = asyncio.create_task(self._ask())
            self._asked.add(task)
            task.add_done_callback(self._asked.discard)
            await asyncio.sleep(PAUSE_S)

    async def _ask(self) -> None:
        name, began = ids.new_id().hex, stopwatch()
        try:
            await self.runtime.send(DepositRequested(account_id=name, amount=1))
        except MessagingUnavailable:
            self.refused[name] = stopwatch()
        else:
            self.kept[name] = stopwatch()
        self.slowest = max(self.slowest, stopwatch() - began)

    async def answered(self) -> None:
        await asyncio.gather(*self._asked)

    async def seen(self, which: dict[str, float], since: float, within: float) -> float:
        """How long after `since` the first of them was answered so."""
        async with asyncio.timeout(within):
            while not any(at > since for at in which.values()):
                await asyncio.sleep(0.05)
        return min(at for at in which.values() if at > since) - since


@pytest.mark.scenario(3)
async def test_what_was_accepted_outlives_the_leader_and_then_two_nodes_and_the_rest_is_refused_clearly(
    cluster: Cluster, ledger: Ledger
) -> None:
    await asyncio.to_thread(admin.ensure_topics, cluster.bootstrap, replication=3, min_insync=2)
    async with ledger.running() as runtime, apps.service_app(gateway) as client:
        customers = Customers(runtime)
        coming = asyncio.create_task(customers.come())
        try:
            await customers.seen(customers.kept, 0, BACK_WITHIN)
            for _ in range(2 if FULL else 0):
                await back(cluster, await the_leader_dies(cluster, ledger, customers))
            await another_dies(cluster, customers, client, await the_leader_dies(cluster, ledger, customers))
        finally:
            coming.cancel()
            await asyncio.wait([coming])
        await customers.answered()
        await booked(ledger, customers)
    report(customers)
    assert customers.slowest < REFUSED_WITHIN, "nobody waits for an answer longer than that"


async def the_leader_dies(cluster: Cluster, ledger: Ledger, customers: Customers) -> int:
    """Which node it was: it stays dead."""
    leader = await asyncio.to_thread(cluster.leader_of, ledger.requests.name, 0)
    at = stopwatch()
    await asyncio.to_thread(cluster.kill, leader)
    await another_leads(cluster, ledger, leader)
    led = stopwatch()
    customers.recoveries.append(led - at + await customers.seen(customers.kept, led, BACK_WITHIN))
    return leader


async def back(cluster: Cluster, *nodes: int) -> None:
    for node in nodes:
        await asyncio.to_thread(cluster.begin, node)
    await asyncio.to_thread(cluster.wait, NODES)


async def another_leads(cluster: Cluster, ledger: Ledger, dead: int) -> None:
    """Other partitions are led by others and go on meanwhile."""
    async with asyncio.timeout(BACK_WITHIN):
        while await asyncio.to_thread(cluster.leader_of, ledger.requests.name, 0) == dead:
            await asyncio.sleep(0.5)


async def another_dies(cluster: Cluster, customers: Customers, client: httpx.AsyncClient, dead: int) -> None:
    """Two nodes are away then."""
    person = {"email": f"{ids.new_id().hex}@example.com", "username": ids.new_id().hex, "password": "Correct-horse-7"}
    assert (await client.post("/api/v2/auth/register", json=person)).status_code == 201
    login = {name: person[name] for name in ("email", "password")}
    session = (await client.post("/api/v2/auth/login", json=login)).json()
    client.headers["Authorization"] = f"Bearer {session['access_token']}"
    assert (await open_account(client)).status_code == 202, "kept; nobody is there to answer it"
    other = next(node for node in NODES if node != dead)
    await asyncio.to_thread(cluster.kill, other)
    at = stopwatch()
    await customers.seen(customers.refused, at, BACK_WITHIN)
    refusal = await open_account(client)
    assert (refusal.status_code, "retry-after" in refusal.headers) == (503, True), refusal.text
    await asyncio.sleep(2)
    quiet_since = stopwatch()
    await asyncio.sleep(1)
    assert not any(at > quiet_since for at in customers.kept.values()), "one node alone keeps nothing"
    await back(cluster, dead, other)
    customers.recoveries.append(await customers.seen(customers.kept, stopwatch(), BACK_WITHIN))
    assert (await open_account(client)).status_code == 202


def report(customers: Customers) -> None:
    """`booked` has proven that none is lost and none is doubled."""
    slow = [f"an answer took {customers.slowest:.1f} s"] if customers.slowest >= REFUSED_WITHIN else []
    counts = {"orders": 0, "faults": len(customers.recoveries), "lost": 0, "doubled": 0, "alerts": 0, "wrong": slow}
    figures = {
        "deposits kept": len(customers.kept),
        "refused while two nodes were away": len(customers.refused),
        "slowest answer": f"{customers.slowest:.1f} s",
    }
    head = {"number": 3, "title": TITLE, "full": FULL, "seed": 0, "seconds": 0, "statuses": {}}
    rest = {"recoveries": customers.recoveries}
    keep_result(Instance("chaos").home / "chaos", "03-cluster", head | counts | rest | figures)


async def open_account(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post("/api/v2/accounts/", json={"name": ids.new_id().hex}, timeout=20)


async def booked(ledger: Ledger, customers: Customers) -> None:
    """Everyone who was told yes has a deposit; nobody has two. Who was told no may have one, as he was told."""
    async with asyncio.timeout(60):
        while missing := customers.kept.keys() - (balances := await ledger.balances()).keys():
            await asyncio.sleep(0.2)
    assert not missing
    assert set(balances.values()) == {1}
    assert balances.keys() <= customers.kept.keys() | customers.refused.keys()
