"""Webhooks of many share one listener: nobody's flood keeps another's alerts out."""

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import asyncpg
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from libs.common.clock import FixedClock
from libs.common.contracts.ids import SignalGroupId, UserId
from libs.common.contracts.signals import SignalGroup
from libs.common.ids import new_id
from libs.common.process import tick
from libs.common.security import WebhookSecrets
from libs.common.service import every
from libs.common.testing import service_app
from libs.common.testing.apps import served
from services.signals import handlers
from services.signals.app import app
from services.signals.domain import rate
from tests.services.signals.webhooks import SECRETS, TRADINGVIEW, Make, alert, logged, problem


async def test_a_webhook_that_floods_leaves_room_for_the_others(
    make: Make, pool: asyncpg.Pool, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It filled the room for all of them, and every other sender heard 503."""
    monkeypatch.setenv("SIGNALS_MAX_IN_FLIGHT", "6")
    noisy, other = await make(), await make()
    async with service_app(app, clock=clock) as client, pool.acquire() as connection:

        async def send(price: int) -> httpx.Response:
            return await client.post(TRADINGVIEW, json=alert(noisy, price=price))

        async with connection.transaction():
            await connection.execute("SELECT FROM signal_groups WHERE group_id = $1 FOR UPDATE", noisy.group_id)
            with capture_logs() as told:
                flood = [asyncio.create_task(send(price)) for price in range(1, 13)]
                async with asyncio.timeout(10):
                    while sum(task.done() for task in flood) < 6:
                        await asyncio.sleep(0.01)
            assert (await client.post(TRADINGVIEW, json=alert(other))).status_code == 202
        answers = await asyncio.gather(*flood)
    assert {answer.status_code for answer in answers} == {202, 503}
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert "this webhook" in problem(refused, 503, "unavailable")["detail"]
    assert int(refused.headers["Retry-After"]) > 0
    turned_away = [each["group_id"] for each in told if each["event"] == "alert_turned_away"]
    assert turned_away.count(str(noisy.group_id)) >= 6, "TradingView sends none again: somebody should know"


async def test_a_user_whose_webhooks_flood_leaves_room_for_the_others(
    make: Make, pool: asyncpg.Pool, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen: each of the thousand that he may have had a share of its own, and together they filled the room."""
    monkeypatch.setenv("SIGNALS_MAX_IN_FLIGHT", "6")
    noisy, other = [await make(user_id=UserId(new_id()))], await make()
    noisy += [await make(user_id=noisy[0].user_id) for _ in range(11)]
    async with service_app(app, clock=clock) as client, pool.acquire() as connection:

        async def send(group: SignalGroup, price: int) -> int:
            return (await client.post(TRADINGVIEW, json=alert(group, price=price))).status_code

        assert {await send(group, 1) for group in noisy} == {202}
        async with connection.transaction():
            await connection.execute("SELECT FROM signal_groups WHERE user_id = $1 FOR UPDATE", noisy[0].user_id)
            flood = [asyncio.create_task(send(group, 2)) for group in noisy]
            async with asyncio.timeout(10):
                while sum(task.done() for task in flood) < 6:
                    await asyncio.sleep(0.01)
            assert await send(other, 1) == 202
        answers = await asyncio.gather(*flood)
    assert (answers.count(202), answers.count(503)) == (4, 8)


@pytest.mark.parametrize("is_rotated_away", [False, True])
async def test_who_has_no_secret_leaves_room_whatever_webhooks_he_names(
    is_rotated_away: bool, make: Make, pool: asyncpg.Pool, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen: each that he made up had a share of its own, so that anybody could fill the room without a token."""
    monkeypatch.setenv("SIGNALS_MAX_IN_FLIGHT", "6")
    group = await make(rotation=1)
    async with service_app(app, clock=clock) as client, pool.acquire() as connection:

        async def send(n: int) -> int:
            if is_rotated_away:
                named = {"strategy_id": str(group.group_id), "token": SECRETS.token(group.group_id, 0)}
                return (await client.post(TRADINGVIEW, params=named, json={"action": "buy"})).status_code
            guess = WebhookSecrets("a secret of nobody").url_id(SignalGroupId(new_id()), 0)
            url = TRADINGVIEW if n % 2 else f"/api/v2/webhooks/custom/{guess}"
            named = {"strategy_id": str(new_id()), "token": "guess"}
            return (await client.post(url, params=named, json={"action": "buy"})).status_code

        async with connection.transaction():
            await connection.execute("LOCK TABLE signal_groups IN ACCESS EXCLUSIVE MODE")
            flood = [asyncio.create_task(send(n)) for n in range(12)]
            async with asyncio.timeout(10):
                while sum(task.done() for task in flood) < 6:
                    await asyncio.sleep(0.01)
            owners = asyncio.create_task(client.post(TRADINGVIEW, json=alert(group)))
            await asyncio.wait({owners}, timeout=0.2)
        assert (await owners).status_code == 202
        assert set(await asyncio.gather(*flood)) == {401, 503}


async def test_a_sender_that_goes_on_though_it_is_refused_does_not_fill_the_log(
    client: httpx.AsyncClient, make: Make
) -> None:
    """Seen: a line of 4 KiB for each, as fast as anybody likes: hundreds a second, kept for 30 days."""
    quick, off = await make(max_per_minute=1), await make(active=False)
    answers = [(await client.post(TRADINGVIEW, json=alert(quick))).status_code for _ in range(72)]
    assert answers == [202] + [429] * 71
    assert [row["fate"] for row in await logged(client, quick)] == ["RATE_LIMITED"] * 60 + ["ACCEPTED"]
    for _ in range(62):
        problem(await client.post(TRADINGVIEW, json=alert(off)), 403, "disabled")
    assert len(await logged(client, off)) == 60


async def test_what_has_no_line_of_its_own_in_the_log_is_told_in_one_line_a_minute(
    pool: asyncpg.Pool, make: Make, clock: FixedClock
) -> None:
    """Seen: nobody could tell from the log whether an alert above the rate had come at all; and where the transaction
    failed that was to log that line, they were left out again.
    """
    quick = await make(max_per_minute=1)
    async with served(app, clock=clock) as (url, runtime), httpx.AsyncClient(base_url=url) as client:
        for _ in range(72):
            await client.post(TRADINGVIEW, json=alert(quick))
        assert sum(refusals(await logged(client, quick))) == 60
        with contextlib.suppress(ConnectionAbortedError):
            async with runtime.transaction() as unit:
                await handlers.log_floods(unit.context)
                raise ConnectionAbortedError("before it was committed")
        await client.post(TRADINGVIEW, json=alert(quick))
        telling = asyncio.create_task(tick(runtime, every(0.1, handlers.log_floods)))
        async with asyncio.timeout(10):
            while sum(refusals(await logged(client, quick))) < 72:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)
        telling.cancel()
        assert sum(refusals(await logged(client, quick))) == 72


def refusals(rows: Sequence[Mapping[str, object]]) -> list[int]:
    """How many each line of the log tells of."""
    found = [re.search(r"\((\d+) such since", str(row["reason"])) for row in rows if row["fate"] == "RATE_LIMITED"]
    return [int(each[1]) if each else 1 for each in found]


@given(st.integers(1, 200), st.lists(st.integers(0, 5), max_size=600))
def test_the_room_is_never_overfilled_and_who_floods_leaves_some(most: int, senders: list[int]) -> None:
    """One alone takes half of it at most, all of one user two thirds."""
    held, of_user = Counter[int](), Counter[int]()
    for sender in senders:
        user = sender // 3
        if rate.has_room(held[sender], of_user[user], held.total(), most):
            held[sender] += 1
            of_user[user] += 1
    assert held.total() <= most
    assert max(held.values(), default=0) <= (most + 1) // 2
    assert max(of_user.values(), default=0) <= (2 * most + 2) // 3
