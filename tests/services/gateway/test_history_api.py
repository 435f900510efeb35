"""History is passed on from marketdata as it comes; marketdata is a stub that answers byte by byte as told."""

import asyncio
import os
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi.responses import StreamingResponse

from libs.common.problems import PROBLEM_JSON
from services.gateway.adapters.internal import Internal
from tests.services.gateway.scene import Platform


class Marketdata:
    """Answers `answer`, chunk by chunk, and remembers what it was asked. A chunk of b"!" breaks the connection."""

    def __init__(self) -> None:
        self.asked = ""
        self.status = 200
        self.media = "text/csv"
        self.answer: list[bytes] = []

    async def open(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        self.asked = (head + await reader.readexactly(length)).decode()
        writer.write(
            f"HTTP/1.1 {self.status} X\r\ncontent-type: {self.media}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
        )
        for chunk in self.answer:
            if chunk == b"!":
                writer.close()
                return
            writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        writer.close()

    def close(self) -> None:
        self._server.close()


@pytest.fixture(autouse=True)
async def marketdata(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Marketdata]:
    """There before the gateway is, which takes its address from the environment."""
    stub = Marketdata()
    monkeypatch.setenv("GATEWAY_MARKETDATA_URL", await stub.open())
    yield stub
    stub.close()


async def test_a_file_comes_through_byte_by_byte_with_its_type(platform: Platform, marketdata: Marketdata) -> None:
    asha = await platform.person("asha")
    marketdata.answer = [b"start,open\n", b"x" * 300_000, b"\nend"]
    wanted = {"interval": "5m", "format": "csv", "from": "2026-11-20T09:15:00+05:30", "adjusted": "true"}
    answer = await asha.client.get("/api/v2/market/history/sbin", params=wanted | {"exchange": "NSE"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/csv")
    assert answer.content == b"".join(marketdata.answer)
    line = marketdata.asked.partition("\r\n")[0]
    for part in ("/internal/history/NSE%3ASBIN?", "interval=5m", "format=csv", "adjusted=true", "start=2026-11-20T09"):
        assert part in line
    assert f"x-internal-token: {os.environ['INTERNAL_TOKEN']}" in marketdata.asked.lower()


async def test_a_problem_of_marketdata_is_the_client_s(platform: Platform, marketdata: Marketdata) -> None:
    asha = await platform.person("asha")
    marketdata.status, marketdata.media = 422, PROBLEM_JSON
    marketdata.answer = [b'{"code": "interval_unknown"}']
    answer = await asha.client.get("/api/v2/market/history/NSE:SBIN?interval=7m")
    assert (answer.status_code, answer.json()["code"]) == (422, "interval_unknown")
    assert answer.headers["content-type"] == PROBLEM_JSON


async def test_an_answer_that_breaks_off_breaks_off_for_the_client_too(marketdata: Marketdata) -> None:
    """The server ends the connection of a stream that raises, so half a file is never taken for a whole one."""
    marketdata.answer = [b"start,open\n", b"x" * 300_000, b"!"]
    url = os.environ["GATEWAY_MARKETDATA_URL"]
    answer = await Internal(url, url, "token").pass_on("marketdata", "/internal/history/NSE:SBIN", {})
    assert isinstance(answer, StreamingResponse)
    with pytest.raises(httpx.RemoteProtocolError):
        async for _ in answer.body_iterator:
            pass


async def test_only_admins_add_history(platform: Platform, marketdata: Marketdata) -> None:
    first, asha = await platform.person("first"), await platform.person("asha")
    url = "/api/v2/market/history/NSE:SBIN/import?label=end"
    assert (await asha.client.post(url, content=b"rows")).status_code == 403
    assert marketdata.asked == ""
    marketdata.media, marketdata.answer = "application/json", [b'{"kept": 4}']
    assert (await first.client.post(url, content=b"rows")).json() == {"kept": 4}
    assert marketdata.asked.endswith("rows")
    assert "label=end" in marketdata.asked
