"""An alert that is taken is logged and passed on; one that is answered 503 is not taken after all."""

import asyncio
import os
from typing import Any

import asyncpg
import httpx
import pytest

from libs.common.clock import stopwatch
from libs.common.ids import new_id
from services.signals.settings import SignalsSettings
from tests.services.signals.webhooks import TRADINGVIEW, Make, alert, logged, problem, token


async def test_an_alert_is_accepted_and_logged(client: httpx.AsyncClient, make: Make) -> None:
    group = await make()
    answer = await client.post(TRADINGVIEW, json=alert(group))
    assert answer.status_code == 202, answer.text
    assert answer.json()["status"] == "accepted"
    [row] = await logged(client, group)
    assert (row["fate"], row["signal_id"]) == ("ACCEPTED", answer.json()["signal_id"])
    assert row["processing_ms"] > 0
    assert row["source_ip"]
    assert token(group) not in row["payload"]


@pytest.fixture
def as_ever(patience: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIGNALS_ANSWER_SECONDS")


@pytest.fixture
def impatient(patience: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what a sender waits most is the machine's own slowness."""
    assert SignalsSettings.model_fields["answer_seconds"].default < 2
    monkeypatch.setenv("SIGNALS_ANSWER_SECONDS", "0.5")


async def test_a_stuck_database_is_a_503_before_the_sender_gives_up(
    impatient: None, client: httpx.AsyncClient, make: Make, pool: asyncpg.Pool
) -> None:
    group = await make()
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE signal_groups IN ACCESS EXCLUSIVE MODE")
        began = stopwatch()
        answer = await client.post(TRADINGVIEW, json=alert(group))
        waited = stopwatch() - began
    problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"]
    assert waited < 2
    await asyncio.sleep(0.2)
    assert await logged(client, group) == []


async def test_what_was_answered_503_is_not_taken_after_all(
    as_ever: None, client: httpx.AsyncClient, make: Make, pool: asyncpg.Pool
) -> None:
    group = await make()
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT 1 FROM signal_groups WHERE group_id = $1 FOR UPDATE", group.group_id)
        problem(await client.post(TRADINGVIEW, json=alert(group)), 503, "unavailable")
    await asyncio.sleep(0.2)
    assert await logged(client, group) == []
    assert (await client.post(TRADINGVIEW, json=alert(group))).status_code == 202


async def test_the_log_is_for_the_gateway_alone(client: httpx.AsyncClient) -> None:
    query = {"user_id": str(new_id())}
    for headers in ({}, {"X-Internal-Token": "wrong"}, {"X-Internal-Token": "é".encode()}):
        answer = await client.get("/internal/webhooks/logs", params=query, headers=headers)  # type: ignore[arg-type]
        problem(answer, 401, "unauthorized")


async def test_the_log_says_where_it_continues(client: httpx.AsyncClient, make: Make) -> None:
    group = await make()
    for n in range(3):
        await client.post(TRADINGVIEW, json=alert(group, price=n))
    headers = {"X-Internal-Token": os.environ["INTERNAL_TOKEN"]}
    query: dict[str, Any] = {"user_id": str(group.user_id), "group_id": str(group.group_id), "limit": 2}
    first = (await client.get("/internal/webhooks/logs", params=query, headers=headers)).json()
    query["before"] = first["next_before"]
    second = (await client.get("/internal/webhooks/logs", params=query, headers=headers)).json()
    assert [len(first["logs"]), len(second["logs"]), second["next_before"]] == [2, 1, None]
