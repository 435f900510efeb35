"""API keys: what they open, and how long they work."""

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from libs.common.clock import FixedClock
from services.gateway.api import edge
from services.gateway.api.edge import edge_in
from services.gateway.store import people
from services.gateway.store.rows import Row
from tests.services.gateway.scene import Platform, forget

PROFILE = "/api/v2/auth/profile"


async def test_an_api_key_is_shown_once_and_stops_when_deleted(platform: Platform) -> None:
    asha = await platform.person("asha")
    made = (await asha.client.post("/api/v2/auth/api-keys", json={"name": "bot"})).json()
    client = await platform.client(**{"X-API-Key": made["api_key"]})
    assert (await client.get(PROFILE)).json()["user_id"] == str(asha.user_id)
    [listed] = (await asha.client.get("/api/v2/auth/api-keys")).json()["data"]
    assert listed["prefix"] == made["api_key"][:10]
    assert "api_key" not in listed
    assert (await asha.client.delete(f"/api/v2/auth/api-keys/{made['key_id']}")).status_code == 204
    assert (await client.get(PROFILE)).status_code == 401
    assert (await asha.client.delete(f"/api/v2/auth/api-keys/{made['key_id']}")).status_code == 204
    assert (await asha.client.delete(f"/api/v2/auth/api-keys/{asha.user_id}")).status_code == 404


async def test_a_credential_is_looked_up_once_for_all_who_send_it_at_once(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a flood hundreds waited for a connection to the database each, and heard seconds later that it was no."""
    asha = await platform.person("asha")
    made = (await asha.client.post("/api/v2/auth/api-keys", json={"name": "bot"})).json()
    client = await platform.client(**{"X-API-Key": made["api_key"]})
    look, looks, may_look = people.key_user, 0, asyncio.Event()

    async def counted(pool: asyncpg.Pool, digest: bytes) -> Row | None:
        nonlocal looks
        looks += 1
        await may_look.wait()
        return await look(pool, digest)

    monkeypatch.setattr(people, "key_user", counted)
    many = [asyncio.create_task(client.get(PROFILE)) for _ in range(20)]
    await asyncio.sleep(0.2)
    many[0].cancel()
    may_look.set()
    answers = await asyncio.gather(*many[1:])
    assert ({answer.status_code for answer in answers}, looks) == ({200}, 1)

    edge_in(platform.runtime).forget_identities()
    may_look.clear()
    before = asyncio.create_task(client.get(PROFILE))
    await asyncio.sleep(0.2)
    assert (await asha.client.delete(f"/api/v2/auth/api-keys/{made['key_id']}")).status_code == 204
    may_look.set()
    await before
    assert (await client.get(PROFILE)).status_code == 401, "what was asked before it was revoked is not believed after"


async def test_a_credential_that_is_sent_as_what_it_is_not_opens_nothing_beside_one_that_is(platform: Platform) -> None:
    """It did for five seconds, and then who sent it rightly at that moment heard with it that there is no such key."""
    asha = await platform.person("asha")
    secret = (await asha.client.post("/api/v2/auth/api-keys", json={"name": "bot"})).json()["api_key"]
    rightly = await platform.client(**{"X-API-Key": secret})
    wrongly = await platform.client(Authorization=f"Bearer {secret}")
    token = await platform.client(**{"X-API-Key": asha.tokens["access_token"]})
    for client, status in ((rightly, 200), (wrongly, 401), (asha.client, 200), (token, 401), (rightly, 200)):
        assert (await client.get(PROFILE)).status_code == status


async def test_nobody_waits_for_another_look_at_a_credential_that_was_good_a_moment_ago(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every five seconds of an overload all who sent it waited for seconds. Revoked elsewhere it ends with the look."""
    asha = await platform.person("asha")
    made = (await asha.client.post("/api/v2/auth/api-keys", json={"name": "bot"})).json()
    client = await platform.client(**{"X-API-Key": made["api_key"]})
    assert (await client.get(PROFILE)).status_code == 200
    looks, may_look = 0, asyncio.Event()

    async def revoked(pool: asyncpg.Pool, digest: bytes) -> Row | None:
        nonlocal looks
        looks += 1
        await may_look.wait()
        return None

    monkeypatch.setattr(people, "key_user", revoked)
    monkeypatch.setattr(edge, "RENEWED_S", 0.0)
    async with asyncio.timeout(2):
        answers = [(await client.get(PROFILE)).status_code for _ in range(3)]
    assert (answers, looks) == ([200] * 3, 1)
    may_look.set()
    async with asyncio.timeout(2):
        while (await client.get(PROFILE)).status_code == 200:
            await asyncio.sleep(0.01)
    assert (await client.get(PROFILE)).status_code == 401


async def test_what_has_ended_costs_nobody_another_look_each_time_it_is_ended_again(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever had a refresh token that was used, without a login, or a key that was revoked, made the gateway forget
    everybody's credential, as often as he liked.
    """
    asha, ravi = await platform.person("asha"), await platform.person("ravi")
    made = (await asha.client.post("/api/v2/auth/api-keys", json={"name": "bot"})).json()
    bot = await platform.client(**{"X-API-Key": made["api_key"]})
    look, looks = people.key_user, 0

    async def counted(pool: asyncpg.Pool, digest: bytes) -> Row | None:
        nonlocal looks
        looks += 1
        return await look(pool, digest)

    monkeypatch.setattr(people, "key_user", counted)
    used, nobody = {"refresh_token": ravi.tokens["refresh_token"]}, await platform.client()
    assert (await nobody.post("/api/v2/auth/refresh", json=used)).status_code == 200
    assert (await nobody.post("/api/v2/auth/refresh", json=used)).status_code == 401
    old = (await asha.client.post("/api/v2/auth/api-keys", json={"name": "old"})).json()["key_id"]
    assert (await asha.client.delete(f"/api/v2/auth/api-keys/{old}")).status_code == 204
    for _ in range(5):
        assert (await bot.get(PROFILE)).status_code == 200
        assert (await asha.client.delete(f"/api/v2/auth/api-keys/{old}")).status_code == 204
        assert (await nobody.post("/api/v2/auth/refresh", json=used)).status_code == 401
    assert looks <= 2, "once, and once more where that took two seconds"


async def test_openalgo_707_a_key_works_on_whoever_logs_out_and_whatever_redis_forgets(platform: Platform) -> None:
    """In the midst of a session a webhook's orders were refused for an invalid key, until a restart."""
    asha = await platform.person("asha")
    key = (await asha.client.post("/api/v2/auth/api-keys", json={"name": "alerts"})).json()["api_key"]
    client = await platform.client(**{"X-API-Key": key})

    async def works() -> None:
        edge_in(platform.runtime).forget_identities()
        assert (await client.get(PROFILE)).json().get("user_id") == str(asha.user_id)

    await works()
    assert (await asha.client.post("/api/v2/auth/logout")).status_code == 204
    await works()
    await forget("*")
    await works()
    await platform.lose_redis()
    await works()


async def test_a_key_that_may_read_cannot_trade_and_no_key_makes_keys(platform: Platform) -> None:
    asha = await platform.person("asha")
    made = (await asha.client.post("/api/v2/auth/api-keys", json={"name": "viewer", "scopes": ["read"]})).json()
    client = await platform.client(**{"X-API-Key": made["api_key"]})
    assert (await client.get("/api/v2/trading/orders/")).status_code == 200
    assert (await client.post("/api/v2/accounts/", json={"name": "x"})).status_code == 403
    assert (await client.post("/api/v2/trading/orders/place", json={})).status_code == 403
    assert (await client.post("/api/v2/auth/api-keys", json={"name": "more"})).status_code == 403


async def test_a_key_that_was_revoked_elsewhere_ends_here_though_the_clock_is_set_back(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It worked for as long as the clock had been set back."""
    monkeypatch.setattr(edge, "RENEWED_S", 0.05)
    monkeypatch.setattr(edge, "KNOWN_S", 0.1)
    asha, runtime = await platform.person("asha"), platform.runtime
    made = (await asha.client.post("/api/v2/auth/api-keys", json={"name": "bot"})).json()
    bot = await platform.client(**{"X-API-Key": made["api_key"]})
    assert (await bot.get(PROFILE)).status_code == 200
    runtime.clock = FixedClock(runtime.clock.now() - timedelta(hours=1))
    await runtime.pool.execute("UPDATE api_keys SET revoked_at = created_at")
    await asyncio.sleep(0.2)
    assert (await bot.get(PROFILE)).status_code == 401
