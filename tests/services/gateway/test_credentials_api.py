"""Broker credentials pass through the gateway to trading's vault, and leave no trace in it."""

import asyncio
import os
from collections.abc import AsyncIterator

import asyncpg
import pytest

from libs.common import ids
from libs.common.testing import service_app
from services.gateway.api.edge import POSTBACKS_AT_ONCE
from services.gateway.app import app
from tests.services.gateway.scene import Platform
from tests.services.gateway.test_history_api import Marketdata

WISH = {"api_key": "kite-app", "access_token": "todays-token"}


@pytest.fixture(autouse=True)
async def trading(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Marketdata]:
    """There before the gateway is, which takes its address from the environment."""
    stub = Marketdata()
    stub.media, stub.answer = "application/json", [b'{"version": 1}']
    monkeypatch.setenv("GATEWAY_TRADING_URL", await stub.open())
    yield stub
    stub.close()


async def test_an_owner_sets_them_and_trading_hears_who_he_is(platform: Platform, trading: Marketdata) -> None:
    asha = await platform.person("asha")
    answer = await asha.client.put(f"/api/v2/accounts/{asha.account_id}/credentials", json=WISH)
    assert (answer.status_code, answer.json()) == (200, {"version": 1})
    assert f"PUT /internal/accounts/{asha.account_id}/credentials" in trading.asked
    assert f"x-internal-token: {os.environ['INTERNAL_TOKEN']}" in trading.asked.lower()
    for part in (str(asha.user_id), "kite-app", "todays-token"):
        assert part in trading.asked
    assert "todays-token" not in answer.text


async def test_nobody_sets_another_s(platform: Platform, trading: Marketdata) -> None:
    asha, bina = await platform.person("asha"), await platform.person("bina")
    answer = await bina.client.put(f"/api/v2/accounts/{asha.account_id}/credentials", json=WISH)
    assert answer.status_code == 404
    assert (await bina.client.put(f"/api/v2/accounts/{ids.new_id()}/credentials", json=WISH)).status_code == 404
    assert trading.asked == ""


async def test_what_is_missing_is_named_and_what_was_sent_is_not_shown(platform: Platform) -> None:
    asha = await platform.person("asha")
    answer = await asha.client.put(f"/api/v2/accounts/{asha.account_id}/credentials", json={"access_token": "secret-1"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "api_key")
    assert "secret-1" not in answer.text


async def test_what_a_broker_posts_goes_to_trading_as_it_came_and_needs_no_login(
    platform: Platform, trading: Marketdata
) -> None:
    trading.answer = [b""]
    client = await platform.client()
    account_id = ids.new_id()
    body = b'{"order_id":"1", "checksum":"abc"}'
    answer = await client.post(f"/api/v2/accounts/{account_id}/postback", content=body)
    assert answer.status_code == 204
    assert f"POST /internal/accounts/{account_id}/postback" in trading.asked
    assert body.decode() in trading.asked


@pytest.mark.parametrize(("size", "status"), [(0, 400), (20_000, 413)])
async def test_what_is_no_postback_by_its_size_goes_nowhere(
    platform: Platform, trading: Marketdata, size: int, status: int
) -> None:
    client = await platform.client()
    answer = await client.post(f"/api/v2/accounts/{ids.new_id()}/postback", content=b"x" * size)
    assert answer.status_code == status
    assert trading.asked == ""


async def test_a_flood_of_postbacks_keeps_trading_from_nothing(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody logs in for them: however many come, a few at a time are passed on."""
    waiting: list[asyncio.StreamWriter] = []

    async def keep_waiting(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting.append(writer)

    server = await asyncio.start_server(keep_waiting, "127.0.0.1", 0)
    monkeypatch.setenv("GATEWAY_TRADING_URL", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with service_app(app) as client:
        path = f"/api/v2/accounts/{ids.new_id()}/postback"
        flood = [asyncio.create_task(client.post(path, content=b"{}")) for _ in range(40)]
        done, _ = await asyncio.wait(flood, return_when=asyncio.FIRST_COMPLETED)
        assert {task.result().status_code for task in done} == {503}
        await asyncio.wait(flood)
        assert {task.result().json()["code"] for task in flood} == {"unavailable"}
        assert len(waiting) == POSTBACKS_AT_ONCE
    for writer in waiting:
        writer.close()
    server.close()
