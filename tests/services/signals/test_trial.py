"""What would become of an alert, asked for the group's owner."""

import os
from collections.abc import Mapping

import asyncpg
import httpx
import pytest

from libs.common.contracts.signals import SignalGroup
from libs.common.ids import new_id
from tests.services.signals.webhooks import TRADINGVIEW, Make, alert, logged, problem, token


async def tried(
    client: httpx.AsyncClient,
    group: SignalGroup,
    body: bytes,
    user: object = None,
    key: str = "",
    said: Mapping[str, str] | None = None,
) -> httpx.Response:
    return await client.post(
        f"/internal/webhooks/{group.group_id}/test",
        params={"user_id": str(user or group.user_id), **(said or {})},
        content=body,
        headers={"X-Internal-Token": key or os.environ["INTERNAL_TOKEN"]},
    )


async def test_a_trial_tells_what_would_be_understood_and_leaves_no_trace(
    client: httpx.AsyncClient, make: Make, pool: asyncpg.Pool
) -> None:
    group = await make(max_signals_per_day=1)
    for _ in range(3):
        answer = await tried(client, group, b'{"action": "exit_short", "ticker": "NIFTY", "qty": "75"}')
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert (found["fate"], found["reason"], found["field"]) == ("ACCEPTED", "", None)
        signal = found["signal"]
        assert (signal["signal_type"], signal["action"], signal["symbol"], signal["quantity"]) == (
            "exit",
            "BUY",
            "NIFTY",
            75,
        )
    assert await logged(client, group) == []
    assert await pool.fetchval("SELECT counted FROM signal_groups") in (0, None)
    assert await pool.fetchval("SELECT count(*) FROM message_outbox") == 0


@pytest.mark.parametrize(
    ("body", "fate", "field"),
    [
        (b"not json", "MALFORMED", None),
        (b'{"action": "dance"}', "INVALID", "action"),
        (b'{"action": "buy", "pad": "' + b"x" * 70_000 + b'"}', "OVERSIZED", None),
    ],
)
async def test_a_trial_tells_what_is_wrong_with_an_alert(
    client: httpx.AsyncClient, make: Make, body: bytes, fate: str, field: str | None
) -> None:
    found = (await tried(client, await make(), body)).json()
    assert (found["fate"], found["field"], found["signal"]) == (fate, field, None)
    assert found["reason"]


async def test_a_trial_follows_the_rules_of_the_group(client: httpx.AsyncClient, make: Make) -> None:
    off, full = await make(active=False), await make(max_signals_per_day=1)
    assert (await tried(client, off, b'{"action": "buy"}')).json()["fate"] == "DISABLED"
    assert (await client.post(TRADINGVIEW, json=alert(full))).status_code == 202
    assert (await tried(client, full, b'{"action": "sell"}')).json()["fate"] == "DAILY_LIMIT"


async def test_only_the_gateway_tries_and_only_for_the_owner(client: httpx.AsyncClient, make: Make) -> None:
    group = await make()
    problem(await tried(client, group, b"{}", user=new_id()), 404, "not_found")
    problem(await tried(client, group, b"{}", key="guess"), 401, "unauthorized")


async def test_a_trial_on_a_group_that_is_off_says_so_first_as_a_real_alert_would_hear(
    client: httpx.AsyncClient, make: Make
) -> None:
    off = await make(active=False)
    named = {"strategy_id": str(off.group_id), "token": token(off)}
    answer = await client.post(TRADINGVIEW, params=named, content=b"?")
    problem(answer, 403, "disabled")
    assert (await tried(client, off, b"?")).json()["fate"] == "DISABLED"
