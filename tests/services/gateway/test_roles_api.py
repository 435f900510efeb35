"""What each role may do, who gives it, and who hears that somebody was shut out."""

import asyncio

import asyncpg
import pytest

from libs.common.contracts.users import UserAccessChanged
from services.gateway.domain.roles import Role
from services.gateway.timers import tell_access
from tests.services.gateway import said
from tests.services.gateway.scene import PASSWORD, Platform
from tests.services.gateway.test_auth_api import LOGIN, PROFILE
from tests.services.gateway.test_turns import until_waiting

CHANGES = [
    ("POST", "/api/v2/trading/orders/place"),
    ("POST", "/api/v2/trading/orders/modify"),
    ("POST", "/api/v2/trading/orders/cancel"),
    ("POST", "/api/v2/trading/orders/cancel-all"),
    ("POST", "/api/v2/trading/positions/close"),
    ("POST", "/api/v2/trading/positions/close-all"),
    ("POST", "/api/v2/accounts/"),
    ("POST", "/api/v2/signals/"),
    ("POST", "/api/v2/algos/"),
    ("POST", "/api/v2/risk/limits/"),
    ("POST", "/api/v2/risk/panic/user"),
    ("POST", "/api/v2/risk/panic/global"),
]


async def test_nobody_comes_in_without_a_credential_and_a_viewer_changes_nothing(platform: Platform) -> None:
    await platform.person("asha")
    viewer = await platform.person("vani", role="viewer")
    nobody = await platform.client()
    for method, path in CHANGES:
        assert (await nobody.request(method, path, json={})).status_code == 401, path
        assert (await viewer.client.request(method, path, json={})).status_code == 403, path
    assert (await viewer.client.get("/api/v2/trading/orders/")).status_code == 200
    assert not platform.asked


async def test_who_may_only_look_does_not_see_what_he_could_trade_with(platform: Platform) -> None:
    """An alert to the webhook is an order: who was made a viewer must not be handed its secrets."""
    asha, ravi = await platform.person("asha"), await platform.person("ravi")
    platform.answer = said.yes
    url = f"/api/v2/signals/{(await ravi.client.post('/api/v2/signals/', json={'name': 'EMA'})).json()['group_id']}"
    await asha.client.put(f"/api/v2/admin/users/{ravi.user_id}", json={"role": "viewer"})
    shown = await ravi.client.get(url)
    assert (shown.status_code, shown.json()["name"]) == (200, "EMA")
    assert "webhook" not in shown.json()


@pytest.mark.parametrize(("role", "status"), [("trader", 403), ("admin", 200), ("super_admin", 200)])
async def test_only_admins_stop_everybody_and_see_users(platform: Platform, role: str, status: int) -> None:
    await platform.person("asha")
    ravi = await platform.person("ravi", role=role)
    platform.answer = said.yes
    assert (await ravi.client.post("/api/v2/risk/panic/global")).status_code == status
    assert (await ravi.client.get("/api/v2/admin/users/")).status_code == status


async def test_roles_are_given_by_super_admins_and_count_within_seconds(platform: Platform) -> None:
    asha, ravi = await platform.person("asha"), await platform.person("ravi")
    url = f"/api/v2/admin/users/{ravi.user_id}"
    assert (await ravi.client.put(url, json={"role": "admin"})).status_code == 403
    assert (await asha.client.put(url, json={"role": "admin"})).json()["role"] == Role.ADMIN
    assert (await ravi.client.get("/api/v2/admin/users/")).status_code == 200
    assert (await asha.client.put(f"/api/v2/admin/users/{asha.user_id}", json={"role": "trader"})).status_code == 403
    assert (await asha.client.put(url, json={"active": False})).status_code == 200
    assert (await ravi.client.get(PROFILE)).status_code == 401
    login = await ravi.client.post(LOGIN, json={"email": ravi.email, "password": PASSWORD})
    assert login.status_code == 401


async def test_what_a_login_knew_of_a_role_is_not_believed_after_it(platform: Platform) -> None:
    """Whose role is changed, or who is shut out, while his password is being checked, had it for another minute."""
    await platform.person("asha")
    ravi = await platform.person("ravi")
    await platform.runtime.pool.execute("UPDATE users SET role = 'viewer' WHERE user_id = $1", ravi.user_id)
    assert (await ravi.client.post("/api/v2/risk/panic/user")).status_code == 403


async def test_what_was_read_of_a_session_before_it_ended_is_not_remembered_after_it(platform: Platform) -> None:
    cache = platform.runtime.memory.cache
    await cache.put("session:s", "trader", 60)
    await cache.drop("session:s")
    await cache.put("session:s", "trader", 60)
    assert not await cache.get("session:s")


async def test_who_may_not_trade_is_told_to_those_who_act_for_him(platform: Platform) -> None:
    """The webhooks and algos of who was shut out, or made a viewer, went on trading."""
    asha, ravi = await platform.person("asha"), await platform.person("ravi")
    url = f"/api/v2/admin/users/{ravi.user_id}"
    viewer, trader, out, back = {"role": "viewer"}, {"role": "trader"}, {"active": False}, {"active": True}
    for change in (out, out, viewer, back, trader, viewer, out, trader, back):
        assert (await asha.client.put(url, json=change)).status_code == 200
    said = [UserAccessChanged(user_id=ravi.user_id, may_trade=n % 2 == 0, version=n) for n in (1, 2, 3, 4)]
    assert await platform.heard(4) == said


@pytest.mark.parametrize(
    ("change", "undone"), [("active = false", {"active": True}), ("role = 'viewer'", {"role": "trader"})]
)
async def test_who_may_not_trade_by_a_version_that_told_nobody_is_told_of_once(
    platform: Platform, change: str, undone: dict[str, object]
) -> None:
    await platform.person("asha")
    ravi = await platform.person("ravi")
    await platform.runtime.pool.execute(f"UPDATE users SET {change} WHERE user_id = $1", ravi.user_id)  # noqa: S608
    for _ in range(2):
        async with platform.runtime.transaction() as unit:
            unit.say(*await tell_access(unit.context))
    asha = await platform.person("meera", role="admin")
    assert (await asha.client.put(f"/api/v2/admin/users/{ravi.user_id}", json=undone)).status_code == 200
    said = [UserAccessChanged(user_id=ravi.user_id, may_trade=n % 2 == 0, version=n) for n in (1, 2)]
    assert await platform.heard(2) == said


@pytest.mark.parametrize(("change", "second"), [({"role": "trader"}, 403), ({"active": False}, 401)])
async def test_of_two_super_admins_who_unmake_each_other_at_once_one_is_left(
    platform: Platform, pool: asyncpg.Pool, change: dict[str, object], second: int
) -> None:
    """Neither was one any more, so nobody could make admins, or let anybody in again, ever."""
    asha, ravi = await platform.person("asha"), await platform.person("ravi", role="super_admin")
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM users FOR UPDATE")
        changes = [
            asyncio.create_task(one.client.put(f"/api/v2/admin/users/{other.user_id}", json=change))
            for one, other in ((asha, ravi), (ravi, asha))
        ]
        await until_waiting(pool, 2)
    assert sorted([answer.status_code for answer in await asyncio.gather(*changes)]) == [200, second]
    assert await pool.fetchval("SELECT count(*) FROM users WHERE role = 'super_admin' AND active") == 1


async def test_the_key_of_a_super_admin_makes_nobody_an_admin(platform: Platform) -> None:
    """Whoever copied it from a program would have only to register, and to give himself the role."""
    asha, ravi = await platform.person("asha"), await platform.person("ravi")
    key = (await asha.client.post("/api/v2/auth/api-keys", json={"name": "bot"})).json()["api_key"]
    bot = await platform.client(**{"X-API-Key": key})
    given = await bot.put(f"/api/v2/admin/users/{ravi.user_id}", json={"role": "super_admin"})
    assert (given.status_code, given.json()["code"]) == (403, "forbidden")
    assert (await bot.get(f"/api/v2/admin/users/{ravi.user_id}")).json()["role"] == Role.TRADER
