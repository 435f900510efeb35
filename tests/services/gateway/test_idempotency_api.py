"""Idempotency-Key: one wish, one order, however often it is sent."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import asyncpg
import httpx
import pytest

from libs.common import database
from libs.common.clock import FixedClock
from libs.common.contracts.accounts import AccountDeleteRequested
from libs.common.contracts.base import Envelope, Message, RequestRefused
from libs.common.contracts.orders import OrderRequested, OrdersCancelRequested, SquareOffRequested
from libs.common.ids import new_id
from libs.common.messaging.work import Work
from libs.common.testing import NOON, Databases
from libs.common.testing.apps import opened
from libs.common.testing.delivery import envelope_of
from services.gateway.app import app
from services.gateway.domain.idempotency import KEPT
from services.gateway.timers import forget
from tests.services.gateway import said
from tests.services.gateway.scene import Person, Platform
from tests.services.gateway.test_orders_api import PLACE, limit_order
from tests.services.gateway.test_turns import slow_reads, until_waiting

KEY = {"Idempotency-Key": "wish-1"}


async def test_a_repeated_order_gets_the_first_answer_again(platform: Platform) -> None:
    asha = await platform.person("asha")
    platform.answer = said.yes
    first = await asha.client.post(PLACE, json=limit_order(asha), headers=KEY)
    again = await asha.client.post(PLACE, json=limit_order(asha), headers=KEY)
    assert (again.status_code, again.content) == (first.status_code, first.content) == (201, first.content)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert len(platform.asked) == 1


async def test_a_denied_order_is_denied_again_without_asking(platform: Platform) -> None:
    asha = await platform.person("asha")
    platform.answer = lambda request, _: [said.denied(request)] if isinstance(request, OrderRequested) else []
    first = await asha.client.post(PLACE, json=limit_order(asha), headers=KEY)
    again = await asha.client.post(PLACE, json=limit_order(asha), headers=KEY)
    assert (again.status_code, again.json()) == (422, first.json())
    assert again.headers["content-type"] == "application/problem+json"
    assert len(platform.asked) == 1


async def test_the_key_of_another_body_is_refused(platform: Platform) -> None:
    asha = await platform.person("asha")
    platform.answer = said.yes
    await asha.client.post(PLACE, json=limit_order(asha), headers=KEY)
    other = await asha.client.post(PLACE, json=limit_order(asha, quantity=20), headers=KEY)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_keys_belong_to_their_users(platform: Platform) -> None:
    asha, ravi = await platform.person("asha"), await platform.person("ravi")
    platform.answer = said.yes
    assert (await asha.client.post(PLACE, json=limit_order(asha), headers=KEY)).status_code == 201
    assert (await ravi.client.post(PLACE, json=limit_order(ravi), headers=KEY)).status_code == 201
    assert len(platform.asked) == 2


async def test_catalyst_317_fifty_equal_orders_at_once_on_two_gateways_make_one_order(
    patient: None, platform: Platform
) -> None:
    """openalgo#932: the same order executed twice, 1 lot became -2."""
    asha = await platform.person("asha")

    def answer(request: Message, envelope: Envelope) -> Sequence[Message]:
        return said.yes(request, envelope)

    platform.answer = answer
    async with opened(app) as second:
        other = Platform(second)
        clients = [asha.client, await other.client(Authorization=asha.client.headers["Authorization"])]
        answers: list[httpx.Response] = await asyncio.gather(
            *(clients[i % 2].post(PLACE, json=limit_order(asha), headers=KEY) for i in range(50))
        )
        await other.close()
    statuses = {answer.status_code for answer in answers}
    assert statuses <= {201, 409}
    assert 201 in statuses
    assert len({answer.json()["order_id"] for answer in answers if answer.status_code == 201}) == 1
    assert all(a.json()["code"] == "idempotency_key_in_flight" for a in answers if a.status_code == 409)
    assert len(platform.asked) == 1
    assert len((await asha.client.get("/api/v2/trading/orders/")).json()["data"]) == 1


async def test_openalgo_1991_timeout_after_accept(platform: Platform) -> None:
    """The order was taken, its answer did not come in time: the repeated wish must find it, not make a second one."""
    asha = await platform.person("asha")
    first = await asha.client.post(PLACE, json=limit_order(asha), headers=KEY)
    assert first.status_code == 202
    [request] = platform.asked
    assert isinstance(request, OrderRequested)
    await platform.project(said.submitted(request), said.accepted(request))
    again = await asha.client.post(PLACE, json=limit_order(asha), headers=KEY)
    assert (again.status_code, again.json()["order_id"]) == (201, str(request.order_id))
    assert len(platform.asked) == 1


async def test_what_was_answered_202_is_found_by_its_key_though_the_clock_is_set_back(platform: Platform) -> None:
    """For as long as that it was told to be carried out still."""
    asha, runtime = await platform.person("asha"), platform.runtime
    assert (await asha.client.post(PLACE, json=limit_order(asha), headers=KEY)).status_code == 202
    [request] = platform.asked
    assert isinstance(request, OrderRequested)
    await platform.project(said.submitted(request), said.accepted(request))
    runtime.clock = FixedClock(runtime.clock.now() - timedelta(hours=1))
    again = await asha.client.post(PLACE, json=limit_order(asha), headers=KEY)
    assert (again.status_code, again.json().get("order_id")) == (201, str(request.order_id))


async def test_a_crash_after_the_claim_does_not_wedge_the_key_nor_make_a_second_order(platform: Platform) -> None:
    """Whoever retries after the lease sends the same message id, which every service takes once."""
    asha = await platform.person("asha")
    assert (await asha.client.post(PLACE, json=limit_order(asha), headers=KEY)).status_code == 202
    await platform.runtime.pool.execute("UPDATE idempotency_keys SET leased_until = now() + interval '10 s'")
    busy = await asha.client.post(PLACE, json=limit_order(asha), headers=KEY)
    assert (busy.status_code, busy.headers["Retry-After"]) == (409, "1")
    await platform.runtime.pool.execute("UPDATE idempotency_keys SET leased_until = now() - interval '1 s'")
    platform.answer = said.yes
    again = await asha.client.post(PLACE, json=limit_order(asha), headers=KEY)
    assert again.status_code == 201
    assert len({request.order_id for request in platform.asked if isinstance(request, OrderRequested)}) == 1


async def test_a_key_is_free_again_after_a_day(platform: Platform) -> None:
    asha = await platform.person("asha")
    platform.answer = said.yes
    await asha.client.post(PLACE, json=limit_order(asha), headers=KEY)
    yesterday = platform.runtime.clock.now() - KEPT - timedelta(seconds=1)
    await platform.runtime.pool.execute("UPDATE idempotency_keys SET created_at = $1", yesterday)
    other = await asha.client.post(PLACE, json=limit_order(asha, quantity=20), headers=KEY)
    assert other.status_code == 201
    assert len(platform.asked) == 2


async def test_a_key_that_is_forgotten_while_it_is_looked_up_is_free(platform: Platform) -> None:
    """By another gateway, say, whose clock is ahead: the answer was 500."""
    asha = await platform.person("asha")
    platform.answer = said.yes
    await asha.client.post(PLACE, json=limit_order(asha), headers=KEY)
    await platform.runtime.pool.execute(
        """
        CREATE FUNCTION forget_the_first() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            DELETE FROM idempotency_keys WHERE status IS NOT NULL;
            RETURN NULL;
        END $$
        """
    )
    await platform.runtime.pool.execute(
        "CREATE TRIGGER forgets AFTER INSERT ON idempotency_keys EXECUTE FUNCTION forget_the_first()"
    )
    try:
        again = await asha.client.post(PLACE, json=limit_order(asha), headers=KEY)
    finally:
        await platform.runtime.pool.execute("DROP FUNCTION forget_the_first CASCADE")
    assert again.status_code == 201, again.text
    assert "Idempotency-Replayed" not in again.headers
    assert len(platform.asked) == 2


async def test_the_secrets_of_a_webhook_are_not_kept_with_the_key(platform: Platform) -> None:
    asha = await platform.person("asha")
    platform.answer = said.yes
    body = {"name": "EMA"}
    first = await asha.client.post("/api/v2/signals/", json=body, headers=KEY)
    again = await asha.client.post("/api/v2/signals/", json=body, headers=KEY)
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    assert len(platform.asked) == 1
    assert await platform.runtime.pool.fetchval("SELECT body FROM idempotency_keys") is None


async def test_a_repeated_cancel_is_answered_like_the_first_though_the_order_is_no_longer_open(
    platform: Platform,
) -> None:
    asha = await platform.person("asha")
    order = said.terms(asha.user_id, asha.account_id)
    await platform.project(said.submitted(order), said.accepted(order))
    platform.answer = lambda *_: [said.cancelled(order)]
    body = {"order_id": str(order.order_id)}
    first = await asha.client.post("/api/v2/trading/orders/cancel", json=body, headers=KEY)
    again = await asha.client.post("/api/v2/trading/orders/cancel", json=body, headers=KEY)
    assert (first.status_code, again.status_code, again.content) == (200, 200, first.content)
    assert len(platform.asked) == 1


async def test_the_order_of_a_gateway_that_died_while_waiting_is_answered_by_another_at_once(
    platform: Platform,
) -> None:
    asha = await platform.person("asha")
    async with opened(app) as dying:
        other = Platform(dying)
        client = await other.client(Authorization=asha.client.headers["Authorization"])
        waiting = asyncio.create_task(client.post(PLACE, json=limit_order(asha), headers=KEY))
        async with asyncio.timeout(20):
            while not await platform.runtime.pool.fetchval("SELECT message_id FROM idempotency_keys"):
                await asyncio.sleep(0.01)
        claimed = await platform.runtime.pool.fetchval("SELECT message_id FROM idempotency_keys")
        held = await asha.client.post(PLACE, json=limit_order(asha), headers=KEY)
        assert (held.status_code, held.json()["code"]) == (409, "idempotency_key_in_flight")
        nobody = 1  # no process holds the lock of this outbox: so it looks once the one that did has died
        await platform.runtime.pool.execute("UPDATE idempotency_keys SET owner = $1", nobody)
        platform.answer = said.yes
        again = await asha.client.post(PLACE, json=limit_order(asha), headers=KEY)
        assert (again.status_code, again.json()["order_id"]) == (201, str(claimed))
        await waiting
        await other.close()


async def test_what_the_database_failed_is_carried_out_when_it_is_sent_again(
    platform: Platform, pool: asyncpg.Pool
) -> None:
    """For ten seconds a cancel heard that the first is being carried out, and the order could fill meanwhile."""
    asha = await platform.person("asha")
    order = said.terms(asha.user_id, asha.account_id)
    await platform.project(said.submitted(order), said.accepted(order))
    platform.answer = lambda *_: [said.cancelled(order)]
    body = {"order_id": str(order.order_id)}
    async with slow_reads(pool, "orders"):
        failing = asyncio.create_task(asha.client.post("/api/v2/trading/orders/cancel", json=body, headers=KEY))
        await until_waiting(pool, 1)
        await pool.execute("SELECT pg_cancel_backend(pid) FROM pg_locks WHERE NOT granted")
        assert (await failing).status_code == 503
    again = await asha.client.post("/api/v2/trading/orders/cancel", json=body, headers=KEY)
    assert (again.status_code, again.json()["status"]) == (200, "CANCELLED")


def account_url(person: Person) -> str:
    return f"/api/v2/accounts/{person.account_id}"


async def test_a_repeated_deletion_is_answered_like_the_first_though_nothing_is_there_any_more(
    platform: Platform,
) -> None:
    asha = await platform.person("asha")
    platform.answer = said.yes
    first = await asha.client.delete(account_url(asha), headers=KEY)
    again = await asha.client.delete(account_url(asha), headers=KEY)
    assert (first.status_code, again.status_code) == (204, 204)
    assert len(platform.asked) == 1


async def test_a_deletion_whose_answer_came_too_late_is_found_by_its_key(platform: Platform) -> None:
    asha = await platform.person("asha")
    taken = await asha.client.delete(account_url(asha), headers=KEY)
    assert taken.status_code == 202
    deleted = said.account_deleted(asha.user_id, asha.account_id)
    await platform.project(deleted, correlation_id=UUID(taken.json()["id"]))
    assert (await asha.client.delete(account_url(asha), headers=KEY)).status_code == 204
    assert len(platform.asked) == 1


async def hours_later(platform: Platform) -> None:
    """Two of them have passed since everything that was asked so far, and the gateway has forgotten what it forgets."""
    pool, now = platform.runtime.pool, platform.runtime.clock.now()
    await pool.execute("UPDATE outcomes SET at = $1", now - timedelta(hours=2))
    await pool.execute("UPDATE idempotency_keys SET created_at = $1", now - timedelta(hours=2))
    async with platform.runtime.transaction() as unit:
        await forget(unit.context)


async def test_hours_later_a_key_still_finds_what_became_of_its_request(platform: Platform) -> None:
    """It was answered 202 then, for ever: who carries it out knows the id of the request, and says nothing twice."""
    asha = await platform.person("asha")
    order = said.terms(asha.user_id, asha.account_id)
    await platform.project(said.submitted(order), said.accepted(order))
    cancel = {"order_id": str(order.order_id)}
    taken = await asha.client.post("/api/v2/trading/orders/cancel", json=cancel, headers=KEY)
    assert taken.status_code == 202
    await platform.project(said.cancelled(order), correlation_id=UUID(taken.json()["id"]))
    platform.answer = said.yes
    other_key = {"Idempotency-Key": "wish-2"}
    group = await asha.client.post("/api/v2/signals/", json={"name": "EMA"}, headers=other_key)
    assert group.status_code == 201
    platform.answer = said.nothing
    await hours_later(platform)
    assert (await asha.client.post("/api/v2/trading/orders/cancel", json=cancel, headers=KEY)).status_code == 200
    again = await asha.client.post("/api/v2/signals/", json={"name": "EMA"}, headers=other_key)
    assert (again.status_code, again.json()) == (201, group.json())


async def test_a_deletion_that_was_refused_too_late_is_not_called_done(platform: Platform) -> None:
    asha = await platform.person("asha")
    taken = await asha.client.delete(account_url(asha), headers=KEY)
    assert taken.status_code == 202
    refused = RequestRefused(
        entity_id=str(asha.account_id),
        request=AccountDeleteRequested.__name__,
        code="conflict",
        reason="the account has open orders or positions",
    )
    await platform.project(refused, correlation_id=UUID(taken.json()["id"]))
    again = await asha.client.delete(account_url(asha), headers=KEY)
    assert (again.status_code, again.json()["code"]) == (409, "conflict")


async def test_a_deletion_repeated_without_a_key_says_that_it_is_gone_and_to_its_owner_alone(
    platform: Platform,
) -> None:
    asha, ravi = await platform.person("asha"), await platform.person("ravi")
    platform.answer = said.yes
    assert (await asha.client.delete(account_url(asha))).status_code == 204
    again = await asha.client.delete(account_url(asha))
    assert (again.status_code, again.json()["code"]) == (410, "already_deleted")
    assert "deleted_at" in again.json()
    assert (await ravi.client.delete(account_url(asha))).status_code == 404
    assert len(platform.asked) == 1


async def test_however_many_keys_are_old_no_statement_takes_long_to_forget_them(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All went in one statement: after a day's outage that took longer than one may, was tried for ever, and no gateway
    was ready any more.
    """
    await pool.execute(
        """
        INSERT INTO idempotency_keys (user_id, key, fingerprint, message_id, leased_until, created_at)
        SELECT $1, n::text, '', $1, $2, $2 FROM generate_series(1, 600000) AS n
        """,
        new_id(),
        NOON,
        timeout=120,
    )
    monkeypatch.setattr(database, "STATEMENT_S", 0.4)
    hasty = await database.open_pool(await Databases.url("gateway"), "gateway", size=1)
    left = [600_000]
    async with hasty.acquire() as connection:
        work = Work(app, app.memory(), connection, NOON + 2 * KEPT)
        for _ in range(2):
            await forget(work.context(envelope_of(RequestRefused(entity_id="", request="", code="", reason=""))))
            left.append(await pool.fetchval("SELECT count(*) FROM idempotency_keys"))
    await hasty.close()
    assert left[-1] < left[-2] < 600_000


@pytest.mark.parametrize("path", ["/api/v2/trading/positions/close-all", "/api/v2/trading/orders/cancel-all"])
async def test_what_is_repeated_to_hear_its_end_touches_no_account_that_was_made_meanwhile(
    platform: Platform, path: str
) -> None:
    """What was opened there after all was closed was closed, too, by who only asked what had become of it."""
    asha = await platform.person("asha")
    assert (await asha.client.post(path, json={}, headers=KEY)).status_code == 202
    platform.answer = said.yes
    made = await asha.client.post("/api/v2/accounts/", json={"name": "Second"})
    assert made.status_code == 201
    again = await asha.client.post(path, json={}, headers=KEY)
    assert again.status_code == 200, again.text
    concerned = {
        each.account_id for each in platform.asked if isinstance(each, SquareOffRequested | OrdersCancelRequested)
    }
    assert concerned == {asha.account_id}
