"""What a client hears while a part of the platform is away."""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer

from libs.common.clock import stopwatch
from libs.common.contracts.orders import OrderRequested
from libs.common.ids import new_id
from libs.common.problems import UNAVAILABLE
from libs.common.testing import Databases
from services.gateway.memory.waiters import Waiters
from services.gateway.store.changes import Changes
from tests.services.gateway import said
from tests.services.gateway.scene import Platform
from tests.services.gateway.test_orders_api import PLACE, limit_order


async def test_while_kafka_is_away_an_order_is_refused_in_time_and_nothing_is_taken(platform: Platform) -> None:
    asha = await platform.person("asha")
    await platform.runtime.producer.stop()
    began = stopwatch()
    answer = await asha.client.post(PLACE, json=limit_order(asha))
    assert stopwatch() - began < 2.5
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, "unavailable", "1")
    assert (await asha.client.get("/api/v2/trading/orders/")).json()["data"] == []


async def test_an_order_refused_for_an_outage_is_taken_when_it_is_sent_again_with_its_key(platform: Platform) -> None:
    asha = await platform.person("asha")
    platform.answer = said.yes
    dead = platform.dead_producer()
    good, platform.runtime.producer = platform.runtime.producer, dead
    headers = {"Idempotency-Key": "k"}
    assert (await asha.client.post(PLACE, json=limit_order(asha), headers=headers)).status_code == 503
    claimed = await platform.runtime.pool.fetchval("SELECT message_id FROM idempotency_keys")
    platform.runtime.producer = good
    await dead.stop()
    again = await asha.client.post(PLACE, json=limit_order(asha), headers=headers)
    assert (again.status_code, again.json()["order_id"]) == (201, str(claimed))


async def test_while_kafka_is_away_a_new_order_costs_no_writing_and_one_that_was_answered_hears_it_again(
    platform: Platform,
) -> None:
    """Hundreds a second are refused then, and to claim and release their keys kept both cores from starting Kafka."""
    asha = await platform.person("asha")
    platform.answer = said.yes
    taken = await asha.client.post(PLACE, json=limit_order(asha), headers={"Idempotency-Key": "taken"})
    good, platform.runtime.producer = platform.runtime.producer, platform.dead_producer()
    first = await asha.client.post(PLACE, json=limit_order(asha), headers={"Idempotency-Key": "first"})
    looks = asyncio.create_task(
        asha.client.post(PLACE, json=limit_order(asha), headers={"Idempotency-Key": "looks whether it is back"})
    )
    while not platform.runtime.sends_nothing:
        await asyncio.sleep(0.01)
    refused = await asha.client.post(PLACE, json=limit_order(asha), headers={"Idempotency-Key": "refused"})
    without = await asha.client.post(PLACE, json=limit_order(asha))
    again = await asha.client.post(PLACE, json=limit_order(asha), headers={"Idempotency-Key": "taken"})
    wrong = await asha.client.post(PLACE, json={}, headers={"Idempotency-Key": "wrong"})
    assert not looks.done()
    kept = {row["key"] for row in await platform.runtime.pool.fetch("SELECT key FROM idempotency_keys")}
    assert first.status_code == (await looks).status_code == 503
    for answer in (refused, without):
        assert (answer.status_code, answer.json(), answer.headers["Retry-After"]) == (503, first.json(), "1")
    assert (again.status_code, again.json()) == (taken.status_code, taken.json())
    assert wrong.status_code == 422
    assert kept == {"taken", "first", "looks whether it is back"}
    dead, platform.runtime.producer = platform.runtime.producer, good
    await dead.stop()
    orders = await asha.client.post(PLACE, json=limit_order(asha), headers={"Idempotency-Key": "refused"})
    assert orders.status_code == 201


async def test_openalgo_425_books_and_statuses_are_answered_while_the_rest_of_the_platform_is_away(
    platform: Platform,
) -> None:
    """Asking for the status of one order stopped everything, since a broker was asked for it."""
    asha = await platform.person("asha")
    platform.answer = said.yes
    order_id = (await asha.client.post(PLACE, json=limit_order(asha))).json()["order_id"]
    await platform.project(said.funds(said.terms(asha.user_id, asha.account_id)))
    await platform.runtime.producer.stop()
    account, order = asha.account_id, f"orders/{order_id}"
    for path in (
        "orders/",
        order,
        f"{order}/status",
        f"positions/{account}",
        f"tradebook/{account}",
        f"funds/{account}",
    ):
        answer = await asha.client.get(f"/api/v2/trading/{path}")
        assert answer.status_code == 200, (path, answer.text)


async def test_while_redis_is_away_orders_are_answered_and_other_instances_projections_are_found(
    platform: Platform,
) -> None:
    asha = await platform.person("asha")
    await platform.lose_redis()
    async with asyncio.timeout(20):
        while platform.runtime.memory.siblings.alone:
            await asyncio.sleep(0.05)

    async def elsewhere() -> None:
        while not platform.asked:
            await asyncio.sleep(0.005)
        [request] = platform.asked
        assert isinstance(request, OrderRequested)
        await platform.project_elsewhere(said.submitted(request), said.accepted(request))

    task = asyncio.create_task(elsewhere())
    began = stopwatch()
    answer = await asha.client.post(PLACE, json=limit_order(asha))
    assert (answer.status_code, stopwatch() - began < 1) == (201, True)
    await task
    platform.answer = said.yes
    assert (await asha.client.post(PLACE, json=limit_order(asha))).status_code == 201


async def test_openalgo_1274_a_hundred_orders_at_once_are_each_answered_with_their_own_state(
    patient: None,
    platform: Platform,
) -> None:
    """Ten times as many as there are connections: who waits for an outcome holds none that its projection needs."""
    asha = await platform.person("asha")
    platform.answer = said.yes
    bodies = [limit_order(asha, quantity=n) for n in range(1, 101)]
    async with asyncio.timeout(30):
        answers = await asyncio.gather(*(asha.client.post(PLACE, json=body) for body in bodies))
    assert [a.status_code for a in answers] == [201] * 100
    assert [a.json()["quantity"] for a in answers] == list(range(1, 101))
    assert len({a.json()["order_id"] for a in answers}) == 100


async def test_openalgo_345_1991_an_order_that_was_sent_is_never_answered_as_if_it_had_not_been(
    platform: Platform,
) -> None:
    """test_openalgo_1991_timeout_after_accept: the database goes away between the sending and the outcome."""
    asha = await platform.person("asha")
    lost = await asyncpg.create_pool("postgresql://nobody@127.0.0.1:1/nothing", min_size=0, timeout=1)
    kept, asked = platform.runtime.pool, len(platform.asked)

    async def lose_the_database() -> None:
        while len(platform.asked) == asked:
            await asyncio.sleep(0.005)
        platform.runtime.pool = lost

    losing = asyncio.create_task(lose_the_database())
    headers = {"Idempotency-Key": "k"}
    answer = await asha.client.post(PLACE, json=limit_order(asha), headers=headers)
    await losing
    platform.runtime.pool = kept
    await lost.close()
    assert (answer.status_code, answer.json()["status"]) == (202, "PENDING")
    assert answer.json()["id"] == str(await kept.fetchval("SELECT message_id FROM idempotency_keys"))


@pytest.mark.parametrize("change", ["modify", "cancel"])
async def test_a_change_that_was_made_is_never_answered_as_if_it_had_not_been(
    platform: Platform, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database goes away once it is known what became of it, and before the order is shown."""
    asha = await platform.person("asha")
    order = said.terms(asha.user_id, asha.account_id)
    await platform.project(said.submitted(order), said.accepted(order))
    platform.answer = lambda *_: [said.modified(order, 5) if change == "modify" else said.cancelled(order)]
    lost = await asyncpg.create_pool("postgresql://nobody@127.0.0.1:1/nothing", min_size=0, timeout=1)
    waiters, kept = platform.runtime.memory.waiters, platform.runtime.pool
    resolve = waiters.resolve

    def resolve_and_lose_the_database(changes: Changes) -> None:
        resolve(changes)
        platform.runtime.pool = lost

    monkeypatch.setattr(waiters, "resolve", resolve_and_lose_the_database)
    body = {"order_id": str(order.order_id), **({"quantity": 5} if change == "modify" else {})}
    answer = await asha.client.post(f"/api/v2/trading/orders/{change}", json=body)
    platform.runtime.pool = kept
    await lost.close()
    assert (answer.status_code, answer.json()["status"]) == (202, "PENDING"), answer.text
    assert (await asha.client.get(answer.json()["status_url"])).status_code == 200


class Unheard:
    """A producer that hands its messages to Kafka and never hears whether it has them."""

    def __init__(self, producer: AIOKafkaProducer, then: Callable[[], None]) -> None:
        self.producer = producer
        self._then = then

    async def send(self, *message: Any, **more: Any) -> "asyncio.Future[None]":
        await self.producer.send_and_wait(*message, **more)
        self._then()
        return asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("has_outbox", [True, False])
async def test_an_order_that_a_slow_kafka_may_have_is_never_refused_as_if_it_had_not(
    platform: Platform, has_outbox: bool
) -> None:
    """Seen in a rolling restart on a starved machine: 503 after 3.7 s, and the order was accepted."""
    asha = await platform.person("asha")
    runtime = platform.runtime
    lost = await asyncpg.create_pool("postgresql://nobody@127.0.0.1:1/nothing", min_size=0, timeout=1)
    kept, heard = runtime.pool, runtime.producer

    def others_were_confirmed_since() -> None:
        runtime._confirmed_at = stopwatch() + 60
        if not has_outbox:
            runtime.pool = lost

    runtime.producer = Unheard(heard, others_were_confirmed_since)
    try:
        answer = await asha.client.post(PLACE, json=limit_order(asha))
    finally:
        runtime.pool, runtime.producer = kept, heard
        await lost.close()
    assert (answer.status_code, answer.json()["status"]) == (202, "PENDING")


async def test_while_the_database_is_away_every_answer_is_503_and_says_when_to_try_again(platform: Platform) -> None:
    asha = await platform.person("asha")
    kept = platform.runtime.pool
    lost = await asyncpg.create_pool("postgresql://nobody@127.0.0.1:1/nothing", min_size=0, timeout=1)
    platform.runtime.pool = lost
    try:
        refused = await asha.client.post(PLACE, json=limit_order(asha), headers={"Idempotency-Key": "k"})
        unread = await asha.client.get("/api/v2/trading/orders/")
    finally:
        platform.runtime.pool = kept
        await lost.close()
    for answer in (refused, unread):
        assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, "unavailable", "1")


async def test_while_the_database_takes_no_writes_a_wish_is_answered_503(platform: Platform) -> None:
    """As one does that became a standby. He heard of a fault of ours, and not that nothing was taken."""
    asha = await platform.person("asha")
    kept = platform.runtime.pool
    standby = await asyncpg.create_pool(
        await Databases.url("gateway"),
        min_size=0,
        server_settings={"search_path": "gateway", "default_transaction_read_only": "on"},
    )
    platform.runtime.pool = standby
    try:
        refused = await asha.client.post(PLACE, json=limit_order(asha), headers={"Idempotency-Key": "k"})
    finally:
        platform.runtime.pool = kept
        await standby.close()
    assert (refused.status_code, refused.json()["code"], refused.headers["Retry-After"]) == (503, "unavailable", "1")


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.CannotConnectNowError("the database system is starting up"),
        asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
        asyncpg.TooManyConnectionsError("sorry, too many clients already"),
        asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
        asyncpg.IdleInTransactionSessionTimeoutError("terminating connection due to idle-in-transaction timeout"),
        asyncpg.InvalidCachedStatementError("cached plan must not change result type"),
    ],
)
def test_a_database_that_starts_or_breaks_off_is_away_and_not_a_fault_of_ours(error: Exception) -> None:
    assert isinstance(error, UNAVAILABLE)


async def test_of_requests_that_repeat_each_other_one_may_end_before_the_other() -> None:
    waiters, order_id = Waiters(), new_id()
    with ExitStack() as last:
        with ExitStack() as first:
            _ = first.enter_context(waiters.for_order(order_id))
            future = last.enter_context(waiters.for_order(order_id))
        waiters.resolve(Changes(orders={order_id: {"status": "ACCEPTED"}}))
        assert future.result() == {"status": "ACCEPTED"}
