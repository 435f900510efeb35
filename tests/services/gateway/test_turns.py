"""How much of the gateway one user may take for what is not an order, and that it is never his orders that wait."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest

from libs.common.contracts.ids import AccountId, UserId
from libs.common.ids import new_id
from libs.common.problems import Problem
from services.gateway.api.edge import KEYS_AT_ONCE, edge_in
from services.gateway.domain.roles import Identity, Role
from services.gateway.memory.turns import Turns
from tests.services.gateway import said
from tests.services.gateway.scene import Person, Platform
from tests.services.gateway.streaming import Live
from tests.services.gateway.test_orders_api import PLACE, limit_order

CANCEL = "/api/v2/trading/orders/cancel"
PROFILE = "/api/v2/auth/profile"
SLOW = "/api/v2/risk/violations/"
SOMEBODY = Identity(UserId(new_id()), Role.TRADER, "a session")


@contextlib.asynccontextmanager
async def slow_reads(pool: asyncpg.Pool, table: str = "risk_events") -> AsyncIterator[asyncpg.Pool]:
    """Whoever reads the table, which is what SLOW shows, waits until this ends. The pool is none of the gateway's."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield pool


async def until_waiting(pool: asyncpg.Pool, count: int) -> None:
    async with asyncio.timeout(10):
        while await pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") < count:
            await asyncio.sleep(0.02)


async def key_of(platform: Platform, person: Person) -> httpx.AsyncClient:
    made = await person.client.post("/api/v2/auth/api-keys", json={"name": "bot", "scopes": ["read", "trade"]})
    return await platform.client(**{"X-API-Key": made.json()["api_key"]})


async def test_one_users_slow_reads_hold_up_nobodys_order_or_cancel(platform: Platform, pool: asyncpg.Pool) -> None:
    """By several keys and a session at once they held every connection that the gateway has to its database."""
    asha, bina = await platform.person("asha"), await platform.person("bina")
    platform.answer = said.yes
    credentials = [asha.client, *[await key_of(platform, asha) for _ in range(3)]]
    async with slow_reads(pool):
        reads = [asyncio.create_task(client.get(SLOW)) for client in credentials for _ in range(12)]
        await until_waiting(pool, 2)
        async with asyncio.timeout(8):
            for person in (bina, asha):
                placed = await person.client.post(PLACE, json=limit_order(person))
                assert placed.status_code == 201, placed.text
                order = {"order_id": placed.json()["order_id"]}
                cancelled = await person.client.post(CANCEL, json=order)
                assert cancelled.status_code == 200, cancelled.text
        assert not any(read.done() for read in reads)
    assert {read.status_code for read in await asyncio.gather(*reads)} == {200}, "a screen asks for a dozen at once"


async def test_the_slow_reads_of_many_hold_up_nobodys_order_or_cancel(platform: Platform, pool: asyncpg.Pool) -> None:
    """Three of each of four users held every connection that the gateway has to its database."""
    people = [await platform.person(f"user{n}") for n in range(4)]
    bina = await platform.person("bina")
    platform.answer = said.yes
    async with slow_reads(pool):
        reads = [asyncio.create_task(each.client.get(SLOW)) for each in people for _ in range(3)]
        await until_waiting(pool, 3)
        await asyncio.sleep(0.5)
        async with asyncio.timeout(4):
            placed = await bina.client.post(PLACE, json=limit_order(bina))
            assert placed.status_code == 201, placed.text
            cancelled = await bina.client.post(CANCEL, json={"order_id": placed.json()["order_id"]})
            assert cancelled.status_code == 200, cancelled.text
        assert not any(read.done() for read in reads)
    assert {read.status_code for read in await asyncio.gather(*reads)} == {200}


async def test_one_users_streams_hold_up_nobody(live: Live, pool: asyncpg.Pool) -> None:
    """Each read what it shows first on a connection to the database of its own, and all of those were his."""
    asha, bina = await live.person("asha"), await live.person("bina")
    async with contextlib.AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(live.reader(asha)) for _ in range(16)]
        for table, subscription in (("risk_events", {"channels": ["risk"]}), ("instruments", {"quotes": ["NSE:SBIN"]})):
            async with slow_reads(pool, table):
                for reader in readers:
                    await reader.say(action="subscribe", **subscription)
                await until_waiting(pool, 2)
                async with asyncio.timeout(4):
                    assert (await bina.client.get(PROFILE)).status_code == 200
            for reader in readers:
                await reader.hear("snapshot" if table == "risk_events" else "ack")


async def test_the_streams_of_many_hold_up_nobody(live: Live, pool: asyncpg.Pool) -> None:
    """After a restart thousands come back at once: they had all connections to the database, and each order waited."""
    people = [await live.person(f"user{n}") for n in range(6)]
    bina = await live.person("bina")
    async with contextlib.AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(live.reader(each)) for each in people for _ in range(2)]
        async with slow_reads(pool):
            for reader in readers:
                await reader.say(action="subscribe", channels=["risk"])
            await until_waiting(pool, 2)
            await asyncio.sleep(0.5)
            async with asyncio.timeout(4):
                assert (await bina.client.get(PROFILE)).status_code == 200
        for reader in readers:
            await reader.hear("snapshot")


async def test_a_flood_of_keys_that_nobody_has_keeps_those_who_logged_in_from_nothing(
    platform: Platform, pool: asyncpg.Pool
) -> None:
    """Anybody may send them, and each was looked up."""
    asha = await platform.person("asha")
    flooding = [await platform.client(**{"X-API-Key": f"made up {n}"}) for n in range(40)]
    async with slow_reads(pool, "api_keys"):
        flood = [asyncio.create_task(client.get(PROFILE)) for client in flooding]
        await until_waiting(pool, KEYS_AT_ONCE)
        async with asyncio.timeout(4):
            assert (await asha.client.get(SLOW)).status_code == 200
        assert await pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") == KEYS_AT_ONCE
    assert {answer.status_code for answer in await asyncio.gather(*flood)} == {401}


async def test_a_flood_of_one_refresh_token_holds_up_nobody(platform: Platform, pool: asyncpg.Pool) -> None:
    """Each took a connection to the database, and none needs a login: forty held all that the gateway has."""
    asha, bina = await platform.person("asha"), await platform.person("bina")
    assert (await bina.client.get(PROFILE)).status_code == 200
    nobody, body = await platform.client(), {"refresh_token": asha.tokens["refresh_token"]}
    async with slow_reads(pool, "sessions"):
        flood = [asyncio.create_task(nobody.post("/api/v2/auth/refresh", json=body)) for _ in range(40)]
        await until_waiting(pool, 3)
        async with asyncio.timeout(4):
            assert (await bina.client.get(SLOW)).status_code == 200
        assert await pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") == 3
    statuses = sorted([answer.status_code for answer in await asyncio.gather(*flood)])
    assert statuses == [200] + [401] * 39


async def test_who_guesses_passwords_or_registers_holds_up_nobody(
    platform: Platform, pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither needs a login, and each asked the database whatever others asked meanwhile."""
    await platform.person("asha")
    bina, edge = await platform.person("bina"), edge_in(platform.runtime)
    monkeypatch.setattr(edge, "settings", edge.settings.model_copy(update={"registration_open": False}))
    assert (await bina.client.get(PROFILE)).status_code == 200
    nobody = await platform.client()
    guesses = [{"email": f"user{n}@example.com", "password": "a guess of a thief"} for n in range(20)]
    async with slow_reads(pool, "users"):
        flood = [asyncio.create_task(nobody.post("/api/v2/auth/login", json=guess)) for guess in guesses]
        for n, guess in enumerate(guesses):
            newcomer = {**guess, "username": f"user{n}"}
            flood.append(asyncio.create_task(nobody.post("/api/v2/auth/register", json=newcomer)))
        await until_waiting(pool, 3)
        async with asyncio.timeout(4):
            assert (await bina.client.get(SLOW)).status_code == 200
        assert await pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") == 3
    assert {answer.status_code for answer in await asyncio.gather(*flood)} == {401, 403}


async def test_a_stolen_key_that_floods_leaves_the_owner_his_screen(platform: Platform, pool: asyncpg.Pool) -> None:
    """He has to find the key's id to revoke it."""
    asha = await platform.person("asha")
    stolen, other = await key_of(platform, asha), await key_of(platform, asha)
    turns = platform.runtime.memory.turns
    turns.patience_s = 0.1
    async with slow_reads(pool):
        flood = [asyncio.create_task(stolen.get(SLOW)) for _ in range(20)]
        done, _ = await asyncio.wait(flood, return_when=asyncio.FIRST_COMPLETED)
        told = done.pop().result()
        assert (told.status_code, told.json()["code"], told.headers["retry-after"]) == (429, "too_many_requests", "1")
        assert (await other.get(PROFILE)).status_code == 429, "all his keys together"
        assert (await asha.client.get("/api/v2/auth/api-keys")).status_code == 200
    answers = [read.status_code for read in await asyncio.gather(*flood)]
    assert (answers.count(200), answers.count(429)) == (3, 17)
    assert (await other.get(PROFILE)).status_code == 200


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_REQUESTS", "4")


async def test_who_asks_too_often_is_told_when_to_come_again_and_can_still_leave(few: None, platform: Platform) -> None:
    asha, bina = await platform.person("asha"), await platform.person("bina")
    platform.answer = said.yes
    key = await key_of(platform, asha)
    held = (await asha.client.post(PLACE, json=limit_order(asha))).json()
    answers = [await asha.client.get(PROFILE) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    told = answers[-1]
    assert (told.json()["code"], 0 < int(told.headers["retry-after"]) <= 10) == ("too_many_requests", True)
    assert told.headers["content-type"] == "application/problem+json"
    change = await asha.client.post("/api/v2/risk/limits/", json={"level": "USER", "max_order_value": "1000"})
    assert change.status_code == 429
    assert [(await each.client.get(PROFILE)).status_code for each in (asha, bina)] == [429, 200]
    assert (await key.get(PROFILE)).status_code == 200

    account = {"account_id": str(asha.account_id)}
    of_account = f"/api/v2/accounts/{asha.account_id}"
    for path, body in (
        (PLACE, limit_order(asha, purpose="EXIT")),
        ("/api/v2/trading/orders/modify", {"order_id": held["order_id"], "quantity": 5}),
        (CANCEL, {"order_id": held["order_id"]}),
        ("/api/v2/trading/orders/cancel-all", account),
        ("/api/v2/trading/positions/close", {**account, "instrument": "NSE:SBIN", "product": "MIS"}),
        ("/api/v2/trading/positions/close-all", account),
        (f"{of_account}/deactivate", {}),
        (f"/api/v2/algos/{new_id()}/deactivate", {}),
        (f"/api/v2/signals/{new_id()}/deactivate", {}),
        (f"/api/v2/risk/panic/account/{asha.account_id}", {}),
        ("/api/v2/risk/panic/user", {}),
        ("/api/v2/risk/panic/global", {}),
        ("/api/v2/risk/panic/global/reset", {}),
        ("/api/v2/auth/change-password", {"current_password": "not this one", "new_password": "x" * 20}),
        ("/api/v2/auth/logout", {}),
    ):
        assert (await asha.client.post(path, json=body)).status_code != 429, path
    assert (await bina.client.delete(f"/api/v2/auth/api-keys/{new_id()}")).status_code == 404


async def test_a_flood_of_one_users_panics_keeps_nobodys_panic_waiting_and_none_is_refused(platform: Platform) -> None:
    """Each was work for all of his accounts at once, and everybody's panics waited behind it."""
    asha, bina = await platform.person("asha"), await platform.person("bina")
    stolen = await key_of(platform, asha)
    flood = [asyncio.create_task(asha.client.post("/api/v2/risk/panic/user")) for _ in range(10)]
    await platform.heard(1)
    await asyncio.sleep(0.3)
    assert len(platform.asked) == 1, "the others wait for what becomes of it"
    for count, (client, scope) in enumerate(
        ((asha.client, f"account/{asha.account_id}"), (stolen, "user"), (bina.client, "user")), 2
    ):
        flood.append(asyncio.create_task(client.post(f"/api/v2/risk/panic/{scope}")))
        await platform.heard(count)
    platform.answer = said.yes
    statuses = [answer.status_code for answer in await asyncio.gather(*flood)]
    assert (statuses.count(200), statuses.count(202)) == (9, 4)
    assert len(platform.asked) == 13


async def test_who_closes_and_cancels_in_very_many_accounts_again_and_again_waits_for_himself(
    platform: Platform,
) -> None:
    """In a thousand accounts ten times a second it was all that the gateway did, and everybody's orders waited."""
    asha, bina = await platform.person("asha"), await platform.person("bina")
    await platform.project(*(said.account_saved(asha.user_id, AccountId(new_id())) for _ in range(2)))
    platform.runtime.memory.turns.accounts_at_once = 3
    paths = ("/api/v2/trading/orders/cancel-all", "/api/v2/trading/positions/close-all")
    flood = [asyncio.create_task(asha.client.post(path, json={})) for path in paths * 5]
    await platform.heard(3)
    await asyncio.sleep(0.3)
    assert len(platform.asked) == 3, "those of one of them"
    others = (bina, paths[0]), (bina, paths[1]), (asha, "/api/v2/risk/panic/user")
    for count, (person, path) in enumerate(others, 4):
        flood.append(asyncio.create_task(person.client.post(path, json={})))
        await platform.heard(count)
    platform.answer = said.yes
    statuses = [answer.status_code for answer in await asyncio.gather(*flood)]
    assert (statuses.count(200), statuses.count(202)) == (9, 4)
    assert len(platform.asked) == 33


async def test_who_closes_in_many_accounts_is_not_passed_by_who_does_in_few_and_who_goes_away_leaves_room() -> None:
    turns, served = Turns(at_once=1, most=1, window_s=1), list[int]()
    turns.accounts_at_once = 3

    async def close(accounts: int) -> None:
        async with turns.turn_in_accounts(SOMEBODY, accounts):
            served.append(accounts)
            await asyncio.sleep(0.05)

    gone = [asyncio.create_task(close(2)), asyncio.create_task(close(5))]
    await asyncio.sleep(0.01)
    for task in gone:
        task.cancel()
    await asyncio.gather(*gone, return_exceptions=True)
    async with asyncio.timeout(2):
        await asyncio.gather(*map(close, (1, 7, 1, 0)))
    assert served == [2, 1, 7, 1, 0]


def test_the_count_begins_anew_with_each_window_and_keeps_nobody_who_is_gone() -> None:
    turns = Turns(at_once=1, most=2, window_s=10)
    for begins in (0.0, 10.0, 1000.0):
        turns.count(SOMEBODY, begins)
        turns.count(SOMEBODY, begins + 9)
        with pytest.raises(Problem) as refused:
            turns.count(SOMEBODY, begins + 9.5)
        assert refused.value.headers == {"Retry-After": "1"}


async def test_turns_are_given_in_the_order_of_asking_and_a_line_ends_with_its_last() -> None:
    turns, served = Turns(at_once=2, most=100, window_s=10), []

    async def take(name: int) -> None:
        async with turns.turn(SOMEBODY):
            served.append(name)
            await asyncio.sleep(0)

    gone = asyncio.create_task(take(-1))
    await asyncio.gather(*map(take, range(20)), asyncio.sleep(0), return_exceptions=True)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    assert served == [-1, *range(20)]
    assert turns.lines == 0
