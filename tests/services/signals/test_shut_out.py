"""The webhooks of a user who was shut out take nothing."""

from typing import Any

import asyncpg
import httpx

from libs.common.contracts.users import UserAccessChanged
from libs.common.testing import deliver
from services.signals.app import app
from tests.services.signals.webhooks import TRADINGVIEW, Make, alert, custom, problem, the_fate


async def say(pool: asyncpg.Pool, *events: UserAccessChanged) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await deliver(app, connection, *events)


async def test_every_webhook_of_his_is_refused_until_he_may_come_in_again(
    client: httpx.AsyncClient, make: Make, pool: asyncpg.Pool
) -> None:
    group = await make()
    other = await make()
    out = UserAccessChanged(user_id=group.user_id, may_trade=False, version=1)
    await say(pool, out)
    body: dict[str, Any] = problem(await client.post(TRADINGVIEW, json=alert(group)), 403, "may_not_trade")
    assert "admin" in body["detail"]
    assert (await the_fate(client, group))[0] == "MAY_NOT_TRADE"
    problem(await client.post(custom(group), json={"action": "sell"}), 403, "may_not_trade")
    assert (await client.post(TRADINGVIEW, json=alert(other))).status_code == 202
    await say(pool, out.model_copy(update={"may_trade": True, "version": 2}))
    await say(pool, out)
    assert (await client.post(TRADINGVIEW, json=alert(group))).status_code == 202


async def test_of_two_words_in_one_batch_the_newest_counts(
    client: httpx.AsyncClient, make: Make, pool: asyncpg.Pool
) -> None:
    group = await make()
    back = UserAccessChanged(user_id=group.user_id, may_trade=True, version=2)
    await say(pool, back, back.model_copy(update={"may_trade": False, "version": 3}), back)
    problem(await client.post(TRADINGVIEW, json=alert(group)), 403, "may_not_trade")


async def test_a_stranger_does_not_learn_that_he_was_shut_out(
    client: httpx.AsyncClient, make: Make, pool: asyncpg.Pool
) -> None:
    group = await make()
    await say(pool, UserAccessChanged(user_id=group.user_id, may_trade=False, version=1))
    wrong = {**alert(group), "token": "wrong"}
    problem(await client.post(TRADINGVIEW, json=wrong), 401, "unauthorized")
