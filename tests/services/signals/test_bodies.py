"""What an alert's body may be, and what is said of one that is not understood."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import httpx
import orjson
import pytest

from libs.common.clock import stopwatch
from libs.common.ids import new_id
from libs.common.testing import served
from services.signals.app import app
from tests.common import described
from tests.services.signals.webhooks import TRADINGVIEW, Make, alert, custom, logged, problem, the_fate, token


@pytest.mark.parametrize("content_type", ["text/plain; charset=utf-8", "application/x-www-form-urlencoded", None])
async def test_the_content_type_does_not_matter(
    client: httpx.AsyncClient, make: Make, content_type: str | None
) -> None:
    group = await make()
    headers = {"content-type": content_type} if content_type else {}
    answer = await client.post(TRADINGVIEW, content=b"\xef\xbb\xbf" + orjson.dumps(alert(group)), headers=headers)
    assert answer.status_code == 202, answer.text


async def test_a_malformed_body_is_told_where_it_breaks(client: httpx.AsyncClient, make: Make) -> None:
    group = await make()
    answer = await client.post(custom(group), content=b'{"action": "buy", "price": }')
    assert "column" in problem(answer, 400, "malformed")["detail"]
    assert (await the_fate(client, group))[0] == "MALFORMED"
    problem(await client.post(TRADINGVIEW, content=b"not json"), 400, "malformed")
    problem(await client.post(TRADINGVIEW, content=b""), 400, "malformed")


async def test_an_alert_that_names_a_field_twice_is_not_traded(client: httpx.AsyncClient, make: Make) -> None:
    group = await make()
    body = orjson.dumps(alert(group, quantity=1)).replace(b'"quantity":1', b'"quantity":1,"quantity":100')
    for path in (TRADINGVIEW, f"{TRADINGVIEW}?strategy_id={group.group_id}&token={token(group)}", custom(group)):
        assert "'quantity' twice" in problem(await client.post(path, content=body), 400, "malformed")["detail"]


async def test_what_is_nested_too_deeply_is_refused_however_deep_it_is(client: httpx.AsyncClient) -> None:
    """Seen: what could just be read could not be looked at afterwards, and anybody made us fail without a token."""
    for depth in (*range(850, 1000, 7), 10_000):
        deep = "[" * depth + "]" * depth
        for body in (f'{{"strategy_id": {deep}}}', f'{{"strategy_id": "{new_id()}", "x": {deep}}}'):
            answer = await client.post(TRADINGVIEW, content=body)
            assert "nested too deeply" in problem(answer, 400, "malformed")["detail"]


async def test_a_field_that_is_not_understood_is_named(client: httpx.AsyncClient, make: Make) -> None:
    group = await make()
    body = problem(await client.post(TRADINGVIEW, json=alert(group, action="hold")), 422, "invalid")
    assert body["field"] == "action"
    assert (await the_fate(client, group)) == ("INVALID", body["detail"])


async def test_refusals_are_described_as_they_are_sent(client: httpx.AsyncClient, make: Make) -> None:
    group = await make()
    page = (await client.get("/openapi.json")).json()
    for status, answer in (
        (400, await client.post(TRADINGVIEW, content=b"not json")),
        (401, await client.post(TRADINGVIEW, json=alert(group, token="no"))),
        (413, await client.post(TRADINGVIEW, content=b" " * 70_000)),
        (422, await client.post(TRADINGVIEW, json=alert(group, action="hold"))),
        (422, await client.post(f"{TRADINGVIEW}?strategy_id=mine", json=alert(group))),
    ):
        assert answer.status_code == status, answer.text
        described.check(page, TRADINGVIEW, answer)
    told = page["paths"][TRADINGVIEW]["post"]["responses"]
    assert told["403"]["description"] == "`may_not_trade`, `disabled`, `market_closed`"
    assert {"200", "202", "400", "401", "410", "413", "422", "429"} <= told.keys()


async def test_without_a_group_the_missing_field_is_named(client: httpx.AsyncClient) -> None:
    assert problem(await client.post(TRADINGVIEW, json={"action": "buy"}), 422, "invalid")["field"] == "strategy_id"


async def test_more_than_64_kib_is_refused_and_logged(client: httpx.AsyncClient, make: Make) -> None:
    group = await make()
    fitting = orjson.dumps({"action": "buy"}).ljust(65_536)
    assert (await client.post(custom(group), content=fitting)).status_code == 202
    problem(await client.post(custom(group), content=fitting + b" "), 413, "oversized")
    assert [row["fate"] for row in await logged(client, group)] == ["OVERSIZED", "ACCEPTED"]
    problem(await client.post(TRADINGVIEW, content=fitting + b" "), 413, "oversized")


async def test_an_endless_body_is_cut_off(pool: asyncpg.Pool, make: Make) -> None:
    group = await make()
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 50_000_000:
            sent += 16_384
            yield b" " * 16_384

    async with served(app) as (url, _), httpx.AsyncClient(base_url=url) as client:
        try:
            answer = await client.post(custom(group), content=endless())
            assert answer.status_code == 413
        except httpx.TransportError:
            pass  # the listener hung up before we had finished: the answer may be lost
        fates = [row["fate"] for row in await logged(client, group)]
    assert sent < 50_000_000
    assert fates == ["OVERSIZED"]


async def test_a_body_that_trickles_is_not_waited_for_and_logged_where_its_group_is_known(
    pool: asyncpg.Pool, make: Make
) -> None:
    group = await make()
    async with served(app) as (url, _), httpx.AsyncClient(base_url=url) as client:
        for path in (TRADINGVIEW, custom(group)):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
            writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode())
            began = stopwatch()
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            assert answer.startswith(b"HTTP/1.1 408"), answer
            assert b"request_timeout" in answer
            assert stopwatch() - began < 4
        fates = [row["fate"] for row in await logged(client, group)]
    assert fates == ["REQUEST_TIMEOUT"]


async def test_a_body_that_was_not_read_to_its_end_says_nothing_of_the_token_in_it(
    client: httpx.AsyncClient, make: Make
) -> None:
    """Seen: the sender heard that his token is wrong, and so did the group's owner in its log."""
    group = await make()
    path, long = f"{TRADINGVIEW}?strategy_id={group.group_id}", orjson.dumps(alert(group)).ljust(65_537)
    problem(await client.post(path, content=long), 413, "oversized")
    assert await logged(client, group) == []
    problem(await client.post(f"{path}&token={token(group)}", content=long), 413, "oversized")
    problem(await client.post(f"{path}&token=wrong", content=long), 401, "unauthorized")
    assert [row["fate"] for row in await logged(client, group)] == ["UNAUTHORIZED", "OVERSIZED"]
