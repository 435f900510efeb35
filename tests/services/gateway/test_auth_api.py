"""Who may come in, for how long, and what a stolen token is worth."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
import httpx
import jwt
import pytest

from libs.common.testing.apps import opened
from libs.common.testing.caches import RedisOfOurOwn, patient_redis
from services.gateway.api.edge import edge_in
from services.gateway.api.stream import recheck_once
from services.gateway.api.tokens import access_token, session_of
from services.gateway.app import app
from services.gateway.domain.addresses import counted_as
from services.gateway.memory.passwords import Passwords
from services.gateway.timers import forget
from tests.services.gateway import said
from tests.services.gateway.scene import PASSWORD, Platform

LOGIN = "/api/v2/auth/login"
PROFILE = "/api/v2/auth/profile"


async def test_the_first_user_is_super_admin_and_the_next_a_trader(platform: Platform) -> None:
    asha, ravi = await platform.person("asha"), await platform.person("ravi")
    assert (await asha.client.get(PROFILE)).json()["role"] == "super_admin"
    assert (await ravi.client.get(PROFILE)).json()["role"] == "trader"


async def test_of_two_first_users_at_once_one_becomes_super_admin(platform: Platform) -> None:
    client = await platform.client()

    async def register(name: str) -> httpx.Response:
        body = {"email": f"{name}@example.com", "username": name, "password": PASSWORD}
        return await client.post("/api/v2/auth/register", json=body)

    answers = await asyncio.gather(*(register(name) for name in ("asha", "ravi", "meera")))
    assert sorted(a.json()["role"] for a in answers) == ["super_admin", "trader", "trader"]


async def test_an_email_or_user_name_is_taken_once_whatever_its_case(platform: Platform) -> None:
    await platform.person("asha")
    client = await platform.client()
    for body in (
        {"email": "ASHA@example.com", "username": "other", "password": PASSWORD},
        {"email": "other@example.com", "username": "Asha", "password": PASSWORD},
    ):
        answer = await client.post("/api/v2/auth/register", json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "taken")


async def test_of_two_who_take_one_user_name_at_once_one_hears_that_it_is_taken(platform: Platform) -> None:
    asha, ravi = await platform.person("asha"), await platform.person("ravi")
    client = await platform.client()
    body = {"email": "meera@example.com", "username": "Star", "password": PASSWORD}

    async with platform.runtime.pool.acquire() as connection:
        change = connection.transaction()
        await change.start()
        await connection.execute("UPDATE users SET username = 'star' WHERE user_id = $1", asha.user_id)
        others = [
            asyncio.create_task(ravi.client.put(PROFILE, json={"username": "STAR"})),
            asyncio.create_task(client.post("/api/v2/auth/register", json=body)),
        ]
        async with asyncio.timeout(10):
            while await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") < len(others):
                await asyncio.sleep(0.02)
        await change.commit()
    for answer in await asyncio.gather(*others):
        assert (answer.status_code, answer.json()["code"]) == (409, "taken")


async def test_a_wrong_password_and_an_unknown_email_are_answered_alike(platform: Platform) -> None:
    await platform.person("asha")
    client = await platform.client()
    wrong = await client.post(LOGIN, json={"email": "asha@example.com", "password": "something else"})
    unknown = await client.post(LOGIN, json={"email": "nobody@example.com", "password": PASSWORD})
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json() == unknown.json()


async def test_login_is_limited_per_address_and_email(platform: Platform) -> None:
    client = await platform.client()
    body = {"email": "nobody@example.com", "password": PASSWORD}
    statuses = [(await client.post(LOGIN, json=body)).status_code for _ in range(11)]
    assert statuses == [401] * 10 + [429]
    other = await client.post(LOGIN, json={**body, "email": "other@example.com"})
    assert other.status_code == 401


async def test_failed_logins_are_limited_per_address_whatever_the_email_and_those_that_succeed_do_not_count(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One guess each for a thousand people was never refused."""
    asha, edge = await platform.person("asha"), edge_in(platform.runtime)
    monkeypatch.setattr(edge, "settings", edge.settings.model_copy(update={"failed_logins": 12}))
    right = {"email": asha.email, "password": PASSWORD}
    at_home, elsewhere = await platform.client_at("203.0.113.7"), await platform.client_at("203.0.113.8")
    for n in range(12):
        if n % 4 == 0:
            assert (await at_home.post(LOGIN, json=right)).status_code == 200
        guess = {"email": f"user{n}@example.com", "password": "password"}
        assert (await at_home.post(LOGIN, json=guess)).status_code == 401
    refused = await at_home.post(LOGIN, json=right)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_logins")
    assert int(refused.headers["retry-after"]) > 0
    assert (await elsewhere.post(LOGIN, json=right)).status_code == 200


async def test_registrations_are_limited_per_address(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each hashes a password: who registered without end kept everybody from logging in."""
    edge = edge_in(platform.runtime)
    monkeypatch.setattr(edge, "settings", edge.settings.model_copy(update={"registrations": 2}))
    at_home, elsewhere = await platform.client_at("203.0.113.7"), await platform.client_at("203.0.113.8")

    def a_person(n: int) -> dict[str, str]:
        return {"email": f"user{n}@example.com", "username": f"user{n}", "password": PASSWORD}

    made = [await at_home.post("/api/v2/auth/register", json=a_person(n)) for n in (1, 1, 3)]
    assert [answer.status_code for answer in made] == [201, 409, 429]
    assert (made[2].json()["code"], int(made[2].headers["retry-after"]) > 0) == ("too_many_registrations", True)
    assert (await elsewhere.post("/api/v2/auth/register", json=a_person(4))).status_code == 201


@pytest.fixture
async def full() -> AsyncIterator[Passwords]:
    """Three wait for ever, and no more are taken."""
    full = Passwords("pepper", at_once=0, most_waiting=3)
    waiting = [asyncio.create_task(full.hash(PASSWORD)) for _ in range(3)]
    await asyncio.sleep(0)
    yield full
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_who_comes_when_too_many_passwords_wait_is_told_to_come_again_and_used_up_no_attempt(
    platform: Platform, full: Passwords
) -> None:
    """They waited in line without end, and everybody who logged in behind them."""
    asha, memory = await platform.person("asha"), platform.runtime.memory
    passwords, memory.passwords = memory.passwords, full
    client = await platform.client_at("203.0.113.7")
    right = {"email": asha.email, "password": PASSWORD}
    for _ in range(20):
        told = await client.post(LOGIN, json=right)
        assert (told.status_code, told.json()["code"], told.headers["retry-after"]) == (503, "unavailable", "1")
    body = {"email": "ravi@example.com", "username": "ravi", "password": PASSWORD}
    assert (await client.post("/api/v2/auth/register", json=body)).status_code == 503
    memory.passwords = passwords
    assert (await client.post(LOGIN, json=right)).status_code == 200


async def test_who_changes_his_password_when_too_many_wait_used_up_no_attempt(
    platform: Platform, full: Passwords
) -> None:
    """Whoever floods the logins kept him from it for five minutes more: ten times he heard 503, and then 429."""
    asha, memory = await platform.person("asha"), platform.runtime.memory
    passwords, memory.passwords = memory.passwords, full
    url, body = "/api/v2/auth/change-password", {"current_password": PASSWORD, "new_password": "another long password"}
    for _ in range(12):
        told = await asha.client.post(url, json=body)
        assert (told.status_code, told.headers["retry-after"]) == (503, "1")
    memory.passwords = passwords
    assert (await asha.client.post(url, json=body)).status_code == 204


async def test_a_closed_registration_hashes_nothing(
    platform: Platform, full: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    await platform.person("asha")
    platform.runtime.memory.passwords = full
    edge = edge_in(platform.runtime)
    monkeypatch.setattr(edge, "settings", edge.settings.model_copy(update={"registration_open": False}))
    body = {"email": "ravi@example.com", "username": "ravi", "password": PASSWORD}
    refused = await (await platform.client()).post("/api/v2/auth/register", json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, "registration_closed")


@pytest.mark.parametrize(
    ("client", "counted"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
    ],
)
def test_the_addresses_of_one_customer_are_counted_as_one(client: str, counted: str) -> None:
    assert counted_as(client) == counted


async def test_no_password_token_or_key_is_stored_as_it_is(platform: Platform) -> None:
    asha = await platform.person("asha")
    key = (await asha.client.post("/api/v2/auth/api-keys", json={"name": "bot"})).json()["api_key"]
    rows = []
    for table in ("users", "sessions", "api_keys"):
        rows += [str(dict(row)) for row in await platform.runtime.pool.fetch(f"SELECT * FROM {table}")]  # noqa: S608
    stored = "\n".join(rows)
    assert "$argon2id$" in stored
    for secret in (PASSWORD, key, asha.tokens["refresh_token"], asha.tokens["access_token"]):
        assert secret not in stored


async def test_a_refresh_token_is_good_once_and_its_reuse_ends_the_session(platform: Platform) -> None:
    asha = await platform.person("asha")
    client = await platform.client()
    first = asha.tokens["refresh_token"]
    second = (await client.post("/api/v2/auth/refresh", json={"refresh_token": first})).json()
    client.headers["Authorization"] = f"Bearer {second['access_token']}"
    assert (await client.get(PROFILE)).status_code == 200
    stolen = await client.post("/api/v2/auth/refresh", json={"refresh_token": first})
    assert (stolen.status_code, stolen.json()["code"]) == (401, "token_reused")
    owner = await client.post("/api/v2/auth/refresh", json={"refresh_token": second["refresh_token"]})
    assert owner.status_code == 401
    assert (await client.get(PROFILE)).status_code == 401


async def test_who_logged_in_stays_inside_when_the_clock_is_set_back(platform: Platform) -> None:
    """Until it had caught up his token was none of ours."""
    asha = await platform.person("asha")
    settings, later = edge_in(platform.runtime).settings, platform.runtime.clock.now() + timedelta(minutes=2)
    session_id = session_of(asha.tokens["refresh_token"], settings.jwt_secret)
    assert session_id
    token = access_token(asha.user_id, session_id, settings.jwt_secret, later, settings.access_token_s)
    client = await platform.client(Authorization=f"Bearer {token}")
    assert (await client.get(PROFILE)).status_code == 200


async def test_an_access_token_is_good_for_minutes_and_only_if_it_is_ours(platform: Platform) -> None:
    asha = await platform.person("asha")
    settings, now = edge_in(platform.runtime).settings, platform.runtime.clock.now()
    session_id = session_of(asha.tokens["refresh_token"], settings.jwt_secret)
    assert session_id
    assert settings.access_token_s == 15 * 60

    def made(minutes_ago: float, secret: str = settings.jwt_secret) -> str:
        moment = now - timedelta(minutes=minutes_ago)
        return access_token(asha.user_id, session_id, secret, moment, settings.access_token_s)

    claims = jwt.decode(made(0), options={"verify_signature": False})
    for token, status, words in (
        (made(14), 200, ""),
        (made(15.1), 401, "the access token has expired"),
        (made(0, "somebody else's secret, that is long enough"), 401, "this is no access token of ours"),
        (jwt.encode(claims, "", "none"), 401, "this is no access token of ours"),
        (made(0).rpartition(".")[0] + ".", 401, "this is no access token of ours"),
        (asha.tokens["refresh_token"], 401, "this is no access token of ours"),
    ):
        answer = await (await platform.client(Authorization=f"Bearer {token}")).get(PROFILE)
        assert answer.status_code == status, answer.text
        assert answer.json().get("detail", "").startswith(words)
        assert ("WWW-Authenticate" in answer.headers) is (status == 401)


async def test_a_refresh_token_ends_with_its_session(platform: Platform) -> None:
    """Who comes back after two weeks logs in again."""
    asha = await platform.person("asha")
    await platform.runtime.pool.execute("UPDATE sessions SET expires_at = $1", platform.runtime.clock.now())
    late = await asha.client.post("/api/v2/auth/refresh", json={"refresh_token": asha.tokens["refresh_token"]})
    assert late.status_code == 401


async def test_of_two_refreshes_at_once_only_one_succeeds(platform: Platform) -> None:
    asha = await platform.person("asha")
    body = {"refresh_token": asha.tokens["refresh_token"]}
    answers = await asyncio.gather(*(asha.client.post("/api/v2/auth/refresh", json=body) for _ in range(4)))
    assert sorted(a.status_code for a in answers) == [200, 401, 401, 401]


async def test_a_forged_refresh_token_does_not_end_anybodys_session(platform: Platform) -> None:
    asha = await platform.person("asha")
    token = asha.tokens["refresh_token"]
    forged = token[:-6] + ("AAAAAA" if not token.endswith("AAAAAA") else "BBBBBB")
    assert (await asha.client.post("/api/v2/auth/refresh", json={"refresh_token": forged})).status_code == 401
    assert (await asha.client.post("/api/v2/auth/refresh", json={"refresh_token": token})).status_code == 200


async def test_openalgo_765_logout_ends_the_session_at_once(platform: Platform) -> None:
    asha = await platform.person("asha")
    assert (await asha.client.post("/api/v2/auth/logout")).status_code == 204
    assert (await asha.client.get(PROFILE)).status_code == 401
    body = {"refresh_token": asha.tokens["refresh_token"]}
    assert (await asha.client.post("/api/v2/auth/refresh", json=body)).status_code == 401


async def test_sessions_work_while_redis_is_away(platform: Platform) -> None:
    asha = await platform.person("asha")
    await platform.lose_redis()
    fresh = await platform.client()
    tokens = (await fresh.post(LOGIN, json={"email": asha.email, "password": PASSWORD})).json()
    fresh.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    assert (await fresh.get(PROFILE)).status_code == 200
    platform.answer = said.yes
    order = {
        "account_id": str(asha.account_id),
        "instrument": "NSE:SBIN",
        "side": "BUY",
        "quantity": 1,
        "product": "MIS",
    }
    assert (await fresh.post("/api/v2/trading/orders/place", json=order)).status_code == 201


async def test_who_logged_out_while_redis_stood_still_is_outside_when_it_answers_again(
    pool: asyncpg.Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It told every instance for a minute of a session that had ended, since it had not heard of the end."""
    async with contextlib.AsyncExitStack() as stack:
        own = await stack.enter_async_context(RedisOfOurOwn(tmp_path))
        monkeypatch.setenv("REDIS_URL", own.url)
        platform = Platform(await stack.enter_async_context(opened(app)))
        stack.push_async_callback(platform.close)
        asha = await platform.person("asha")
        assert (await asha.client.get(PROFILE)).status_code == 200
        redis = await stack.enter_async_context(patient_redis())
        (session,) = await redis.keys("gateway:session:*")
        assert await redis.get(session) == "super_admin"
        await redis.client_pause(1500)
        assert (await asha.client.post("/api/v2/auth/logout")).status_code == 204
        async with asyncio.timeout(8):
            while await redis.get(session):
                await asyncio.sleep(0.1)
        assert (await asha.client.get(PROFILE)).status_code == 401


async def test_a_session_that_was_ended_where_redis_is_lost_ends_at_the_other_gateways_too(platform: Platform) -> None:
    """For a minute Redis told them that it goes on: a thief who was logged out, or shut out, went on with them."""
    async with opened(app) as runtime:
        other = Platform(runtime)
        asha = await platform.person("asha")
        there = await other.client(Authorization=asha.client.headers["Authorization"])
        assert (await there.get(PROFILE)).status_code == 200
        await platform.lose_redis()
        assert (await asha.client.post("/api/v2/auth/logout")).status_code == 204
        async with asyncio.timeout(10):
            while (await there.get(PROFILE)).status_code != 401:
                await asyncio.sleep(0.5)
                await recheck_once(edge_in(runtime))
        await other.close()


async def test_a_role_that_was_taken_where_redis_is_lost_is_gone_at_the_other_gateways_too(platform: Platform) -> None:
    """For a minute Redis told them that he is a trader, and he traded with them."""
    async with opened(app) as runtime:
        other = Platform(runtime)
        asha, ravi = await platform.person("asha"), await platform.person("ravi")
        there = await other.client(Authorization=ravi.client.headers["Authorization"])
        deactivate = f"/api/v2/accounts/{ravi.user_id}/deactivate"
        assert (await there.post(deactivate)).status_code == 404
        await platform.lose_redis()
        viewer = await asha.client.put(f"/api/v2/admin/users/{ravi.user_id}", json={"role": "viewer"})
        assert viewer.status_code == 200, viewer.text
        async with asyncio.timeout(10):
            while (await there.post(deactivate)).status_code != 403:
                await asyncio.sleep(0.5)
                await recheck_once(edge_in(runtime))
        await other.close()


async def test_a_session_that_is_over_is_forgotten_and_no_other(platform: Platform) -> None:
    """Each login was kept for ever: of a program that logs in anew for whatever it asks, millions."""
    asha, pool = await platform.person("asha"), platform.runtime.pool
    tokens = (await asha.client.post(LOGIN, json={"email": asha.email, "password": PASSWORD})).json()
    await pool.execute(
        "UPDATE sessions SET expires_at = now() - interval '1 s' WHERE created_at = "
        "(SELECT min(created_at) FROM sessions)"
    )
    async with platform.runtime.transaction() as unit:
        await forget(unit.context)
    assert await pool.fetchval("SELECT count(*) FROM sessions") == 1
    for token, status in ((asha.tokens["refresh_token"], 401), (tokens["refresh_token"], 200)):
        assert (await asha.client.post("/api/v2/auth/refresh", json={"refresh_token": token})).status_code == status


async def test_openalgo_776_a_second_device_logs_in_beside_the_first(platform: Platform) -> None:
    asha = await platform.person("asha")
    phone = await platform.client()
    tokens = (await phone.post(LOGIN, json={"email": asha.email, "password": PASSWORD})).json()
    phone.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    edge_in(platform.runtime).forget_identities()
    for device in (asha.client, phone):
        shown = (await device.get(f"/api/v2/accounts/{asha.account_id}")).json()
        assert shown["account_id"] == str(asha.account_id)
    body = {"refresh_token": asha.tokens["refresh_token"]}
    assert (await asha.client.post("/api/v2/auth/refresh", json=body)).status_code == 200


async def test_every_error_is_a_problem_in_one_shape(platform: Platform) -> None:
    asha = await platform.person("asha")
    big = b'{"x": "' + b"x" * 1_100_000 + b'"}'
    answers = [
        await asha.client.get("/api/v2/nothing/here"),
        await asha.client.get("/api/v2/trading/orders/not-a-uuid"),
        await asha.client.put("/api/v2/trading/orders/place"),
        await asha.client.post("/api/v2/accounts/", content=b"{", headers={"Content-Type": "application/json"}),
        await asha.client.post("/api/v2/accounts/", content=big, headers={"Content-Type": "application/json"}),
        await (await platform.client(Authorization="Bearer nonsense")).get(PROFILE),
        await asha.client.get(f"/api/v2/accounts/{UUID(int=1)}"),
    ]
    assert [a.status_code for a in answers] == [404, 422, 405, 422, 413, 401, 404]
    for answer in answers:
        assert answer.headers["content-type"] == "application/problem+json", answer.text
        assert {"type", "title", "status", "code", "detail"} <= answer.json().keys()
