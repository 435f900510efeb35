"""The patient client, against a server that behaves as a platform in trouble does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest

from tools.client import Away, Platform, Refused

Answers = Iterator[tuple[int, str]]


@contextlib.asynccontextmanager
async def server(answers: Answers, keys: list[str]) -> AsyncIterator[str]:
    """Gives the answers one after the other, each on a connection of its own; notes the idempotency keys."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        keys.extend(line.partition(": ")[2] for line in head.splitlines() if line.startswith("idempotency-key"))
        status, body = next(answers)
        if status:
            lines = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n{body}"
            writer.write(lines.encode())
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


async def test_an_outage_is_waited_out_under_one_idempotency_key() -> None:
    keys: list[str] = []
    troubles = iter(
        [(503, "{}"), (0, ""), (409, '{"code":"idempotency_key_in_flight"}'), (202, "{}"), (201, '{"ok":1}')]
    )
    async with server(troubles, keys) as url, Platform(url, patience=20) as platform:
        assert await platform.post("/orders", {"quantity": 1}) == {"ok": 1}
    assert len(keys) == 5
    assert len(set(keys)) == 1
    assert platform.retries == 4


async def test_a_refusal_is_told_at_once_with_its_reason() -> None:
    body = '{"code":"order_denied","detail":"too much","rule":"MARGIN"}'
    async with server(iter([(422, body)]), []) as url, Platform(url) as platform:
        with pytest.raises(Refused, match="422 order_denied: too much") as refused:
            await platform.post("/orders")
    assert refused.value.problem["rule"] == "MARGIN"


@pytest.mark.parametrize(("status", "body"), [(404, "404 page not found"), (200, "<html>"), (404, "[]")])
async def test_an_answer_that_is_not_the_platforms_is_a_refusal_in_its_words(status: int, body: str) -> None:
    """The edge's own, or that of another program at the port: it ended the demo with a traceback of JSON."""
    async with server(iter([(status, body)]), []) as url, Platform(url) as platform:
        with pytest.raises(Refused) as refused:
            await platform.get("/x")
    assert str(refused.value) == f"GET /x answered {status}, which is no answer of the platform's: {body}"
    assert (refused.value.status, refused.value.code) == (status, "")


async def test_patience_ends_and_says_what_was_heard_last() -> None:
    async with server(iter([(503, "starting")] * 99), []) as url, Platform(url, patience=0.3) as platform:
        with pytest.raises(Away, match=r"GET /x was not answered in 0 s; last: 503 starting"):
            await platform.get("/x")


async def test_it_asks_past_the_proxy_that_the_machine_has_for_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `make up` does. The demo waited for a platform that was there, where no_proxy names no 127.0.0.1."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with server(iter([(200, '{"ok":1}')]), []) as url, Platform(url, patience=0.3) as platform:
        assert await platform.get("/x") == {"ok": 1}
