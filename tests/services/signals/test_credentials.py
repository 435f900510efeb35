"""Who may send an alert: by token, by URL, by signature; and what a stranger learns."""

import hashlib
import hmac

import asyncpg
import httpx

from libs.common.contracts.enums import SignalSource
from libs.common.contracts.signals import SignalGroupDeleteRequested
from libs.common.ids import new_id
from libs.common.testing import deliver
from services.signals.app import app
from tests.services.signals.webhooks import SECRETS, TRADINGVIEW, Make, alert, custom, logged, problem, the_fate, token


async def test_the_token_may_stand_in_the_query(client: httpx.AsyncClient, make: Make) -> None:
    group = await make()
    body = {"group_id": str(group.group_id), "action": "buy"}
    assert (await client.post(TRADINGVIEW, params={"token": token(group)}, json=body)).status_code == 202


async def test_a_url_of_its_own_needs_neither_id_nor_token(client: httpx.AsyncClient, make: Make) -> None:
    group = await make(source=SignalSource.CUSTOM)
    assert (await client.post(custom(group), json={"action": "buy"})).status_code == 202


async def test_nobody_learns_whether_the_group_or_the_token_is_wrong(client: httpx.AsyncClient, make: Make) -> None:
    group = await make()
    wrong_token = await client.post(TRADINGVIEW, json=alert(group, token="wrong"))
    wrong_group = await client.post(TRADINGVIEW, json=alert(group, strategy_id=str(new_id())))
    no_token = await client.post(TRADINGVIEW, json=alert(group, token=None))
    assert wrong_token.text == wrong_group.text == no_token.text
    problem(wrong_token, 401, "unauthorized")
    assert [row["fate"] for row in await logged(client, group)] == ["UNAUTHORIZED"] * 2


async def test_a_token_that_is_no_text_is_wrong_and_no_fault_of_ours(client: httpx.AsyncClient, make: Make) -> None:
    """Seen: half a character in it was answered 500, and logged as a fault."""
    group = await make()
    for wrong in ('"\\ud800"', '"é"', "1", "[]"):
        body = f'{{"strategy_id": "{group.group_id}", "action": "buy", "token": {wrong}}}'
        problem(await client.post(TRADINGVIEW, content=body.encode()), 401, "unauthorized")


async def test_a_url_that_does_not_verify_is_unknown(client: httpx.AsyncClient, make: Make) -> None:
    group = await make(source=SignalSource.CUSTOM)
    stale = SECRETS.url_id(group.group_id, group.rotation + 1)
    for wrong in (stale, "nonsense", "%00", "é"):
        problem(await client.post(f"/api/v2/webhooks/custom/{wrong}", json={"action": "buy"}), 401, "unauthorized")
    assert (await the_fate(client, group))[0] == "UNAUTHORIZED"


async def test_strangers_cannot_flood_the_log(client: httpx.AsyncClient, make: Make) -> None:
    group = await make()
    for _ in range(70):
        assert (await client.post(TRADINGVIEW, json=alert(group, token="wrong"))).status_code == 401
    assert len(await logged(client, group, limit=500)) == 60
    assert (await client.post(TRADINGVIEW, json=alert(group))).status_code == 202


async def test_a_required_signature_is_checked_over_the_raw_body(client: httpx.AsyncClient, make: Make) -> None:
    group = await make(source=SignalSource.CUSTOM, signature_required=True)
    body = b'{ "action":  "buy" }'
    key = SECRETS.signing_key(group.group_id, group.rotation)
    good = "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest()
    assert (await client.post(custom(group), content=body, headers={"X-Signature": good})).status_code == 202
    for wrong in ({}, {"X-Signature": good[:-1] + "x"}, {"X-Signature": good.removeprefix("sha256=")}):
        answer = await client.post(custom(group), content=body, headers=wrong)
        assert "X-Signature" in problem(answer, 401, "unauthorized")["detail"]
    other = await client.post(custom(group), content=body + b" ", headers={"X-Signature": good})
    problem(other, 401, "unauthorized")


async def test_who_knows_the_url_and_not_the_key_keeps_nobodys_alerts_out(
    client: httpx.AsyncClient, make: Make
) -> None:
    """Seen: unsigned alerts used up the rate, and the owner's signed ones heard 429."""
    group = await make(source=SignalSource.CUSTOM, signature_required=True, max_per_minute=1)
    body = b'{"action": "buy"}'
    for forged in (body, b" " * 70_000, b"{"):
        assert (await client.post(custom(group), content=forged)).status_code in {400, 401, 413}
    key = SECRETS.signing_key(group.group_id, group.rotation)
    good = "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest()
    assert (await client.post(custom(group), content=body, headers={"X-Signature": good})).status_code == 202


async def test_a_deleted_group_is_unknown(client: httpx.AsyncClient, make: Make, pool: asyncpg.Pool) -> None:
    group = await make()
    async with pool.acquire() as connection, connection.transaction():
        request = SignalGroupDeleteRequested(group_id=group.group_id, user_id=group.user_id)
        await deliver(app, connection, request)
    problem(await client.post(TRADINGVIEW, json=alert(group)), 401, "unauthorized")
