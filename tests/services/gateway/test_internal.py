"""What the gateway asks of the other services, and of nobody else."""

import asyncio

import pytest
from fastapi.responses import StreamingResponse

from services.gateway.adapters.internal import Internal


async def test_what_is_asked_inside_passes_every_proxy_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy for the way out would have heard the token that opens the internal routes."""
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as proxy:
        at = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, at)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as service:
            url = f"http://127.0.0.1:{service.sockets[0].getsockname()[1]}"
            internal = Internal(url, url, "a token")
            assert await internal.get("signals", "/internal/arrivals", {}) == (200, b"[]")
            passed_on = await internal.pass_on("marketdata", "/internal/history", {})
            assert isinstance(passed_on, StreamingResponse)
            assert [chunk async for chunk in passed_on.body_iterator] == [b"[]"]
    assert [request.split(b" ")[1] for request in asked] == [b"/internal/arrivals", b"/internal/history"]
