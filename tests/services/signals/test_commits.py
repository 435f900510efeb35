"""A commit whose answer is lost or late: the sender hears the truth, and an alert that he repeats is taken once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest

from libs.common import database, http
from libs.common.clock import FixedClock
from libs.common.testing import Databases, service_app
from libs.common.testing.apps import opened
from services.signals.app import app
from tests.common.unheard import road_to
from tests.services.signals.webhooks import TRADINGVIEW, Make, alert, logged, problem

HELD = 999_331
WAITING = f"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = {HELD} AND NOT granted"  # noqa: S608
BREAK_OFF = f"SELECT count(pg_terminate_backend(pid)) FROM ({WAITING}) late"  # noqa: S608 - words of our own
LATE = f"""
    CREATE FUNCTION commit_late() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_advisory_xact_lock_shared({HELD}); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER late AFTER INSERT ON webhook_log DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION commit_late()
"""


@pytest.fixture(autouse=True)
def as_far_as_the_commit(patience: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for a busy machine to come there, and soon over."""
    monkeypatch.setenv("SIGNALS_ANSWER_SECONDS", "3")


@contextlib.asynccontextmanager
async def late_commits(pool: asyncpg.Pool) -> AsyncIterator[None]:
    """Whatever is logged is committed no sooner than this ends."""
    async with pool.acquire() as connection:
        await connection.execute(LATE)
        try:
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", HELD)
                yield
        finally:
            await connection.execute("DROP TRIGGER late ON webhook_log; DROP FUNCTION commit_late")


async def accepted(client: httpx.AsyncClient, group: Any) -> list[str]:
    return [row["signal_id"] for row in await logged(client, group) if row["fate"] == "ACCEPTED"]


async def until_accepted(client: httpx.AsyncClient, group: Any, count: int) -> list[str]:
    async with asyncio.timeout(10):
        while len(found := await accepted(client, group)) < count:
            await asyncio.sleep(0.02)
    return found


async def test_an_alert_whose_commit_was_not_heard_is_accepted_all_the_same(make: Make, clock: FixedClock) -> None:
    group = await make()
    async with road_to(await Databases.url("signals")) as road, opened(app, clock=clock) as runtime:
        direct = runtime.pool
        runtime.pool = await database.open_pool(road.url, "signals")
        transport = httpx.ASGITransport(http.build_app(runtime), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            road.lose_next()
            answer = await client.post(TRADINGVIEW, json=alert(group))
            assert road.lost.is_set()
            assert (answer.status_code, answer.json()["status"]) == (202, "accepted"), answer.text
            assert await accepted(client, group) == [answer.json()["signal_id"]]
        await runtime.pool.close()
        runtime.pool = direct


async def test_an_alert_whose_commit_is_late_may_have_been_taken_and_its_repetition_is_not_taken_twice(
    client: httpx.AsyncClient, make: Make, pool: asyncpg.Pool, clock: FixedClock
) -> None:
    """Its sender was told that it was not taken. TradingView sends again what was answered 5xx."""
    group, other = await make(), await make()
    async with service_app(app, clock=clock) as elsewhere:
        for first, second, which in ((client, client, group), (client, elsewhere, other)):
            async with late_commits(pool):
                told = problem(await first.post(TRADINGVIEW, json=alert(which)), 503, "outcome_unknown")
            [signal_id] = await until_accepted(client, which, 1)
            assert told["signal_id"] == signal_id
            again = await second.post(TRADINGVIEW, json=alert(which))
            assert (again.status_code, again.json()) == (200, {"status": "duplicate", "signal_id": signal_id})
            assert (await second.post(TRADINGVIEW, json=alert(which))).status_code == 202
            assert (await first.post(TRADINGVIEW, json=alert(which))).status_code == 202, "it was answered elsewhere"


async def test_an_exit_whose_commit_was_late_is_not_repeated_by_one_from_a_position_that_was_opened_since(
    client: httpx.AsyncClient, make: Make, pool: asyncpg.Pool
) -> None:
    """Seen: who says the same each time heard that his second exit was taken before, and the position stayed open."""
    group = await make()
    async with late_commits(pool):
        leave = alert(group, signal_type="exit")
        told = problem(await client.post(TRADINGVIEW, json=leave), 503, "outcome_unknown")
    assert await until_accepted(client, group, 1) == [told["signal_id"]]
    assert (await client.post(TRADINGVIEW, json=alert(group))).status_code == 202
    assert (await client.post(TRADINGVIEW, json=leave)).status_code == 202


async def test_what_was_not_committed_after_all_is_taken_when_it_is_repeated(
    client: httpx.AsyncClient, make: Make, pool: asyncpg.Pool
) -> None:
    group = await make()
    async with late_commits(pool):
        told = problem(await client.post(TRADINGVIEW, json=alert(group)), 503, "outcome_unknown")
        assert await pool.fetchval(BREAK_OFF) == 1
    again = await client.post(TRADINGVIEW, json=alert(group))
    assert again.status_code == 202, again.text
    assert again.json()["signal_id"] != told["signal_id"]
    assert await accepted(client, group) == [again.json()["signal_id"]]


async def test_a_commit_that_is_broken_off_is_not_taken_and_the_sender_hears_so(
    client: httpx.AsyncClient, make: Make, pool: asyncpg.Pool
) -> None:
    group = await make()
    async with late_commits(pool):
        sending = asyncio.create_task(client.post(TRADINGVIEW, json=alert(group)))
        async with asyncio.timeout(5):
            while not await pool.fetchval(BREAK_OFF):
                await asyncio.sleep(0.01)
        problem(await sending, 503, "unavailable")
    assert await accepted(client, group) == []
