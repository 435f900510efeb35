"""History is passed on from marketdata as it comes; marketdata is a stub that answers byte by byte as told."""

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi.responses import StreamingResponse

from libs.common.problems import PROBLEM_JSON
from services.gateway.adapters.internal import Internal
from tests.services.gateway.scene import Person, Platform
from tests.services.gateway.streaming import Live


class Marketdata:
    """Answers `answer`, chunk by chunk, and remembers what it was asked. A chunk of b"!" breaks the connection."""

    def __init__(self) -> None:
        self.asked = ""
        self.heard = 0
        self.heard_all = False
        self.status = 200
        self.media = "text/csv"
        self.answer: list[bytes] = []

    async def open(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        body = await reader.readexactly(int(length[1])) if length else b""
        if b"transfer-encoding: chunked" in head.lower():
            with contextlib.suppress(asyncio.IncompleteReadError):
                while size := int(await reader.readuntil(b"\r\n"), 16):
                    body += (await reader.readexactly(size + 2))[:-2]
                    self.heard += size
                self.heard_all = True
        self.asked = head.decode() + body.decode()
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
    for part in (
        "/internal/history/NSE%3ASBIN?",
        "interval=5m",
        "format=csv",
        "adjusted=true",
        "start=2026-11-20T03%3A45",
    ):
        assert part in line
    assert f"x-internal-token: {os.environ['INTERNAL_TOKEN']}" in marketdata.asked.lower()


async def test_files_that_are_read_slowly_keep_their_reader_from_nothing_else(
    live: Live, marketdata: Marketdata
) -> None:
    asha = await live.person("asha")
    live.runtime.memory.turns.patience_s = 0.1
    marketdata.answer = [b"x" * 1_000_000] * 30
    headers = {"Authorization": asha.client.headers["Authorization"]}
    async with contextlib.AsyncExitStack() as files:
        client = await files.enter_async_context(httpx.AsyncClient(base_url=live.url, headers=headers, trust_env=False))
        for _ in range(4):
            path = "/api/v2/market/history/NSE:SBIN?format=csv"
            file = await files.enter_async_context(client.stream("GET", path))
            assert file.status_code == 200
        assert (await client.get("/api/v2/auth/profile")).status_code == 200


async def test_one_who_takes_his_files_slowly_leaves_room_for_those_of_others(
    live: Live, marketdata: Marketdata
) -> None:
    """QuestDB writes sixteen at once: one reader who opened so many and took none kept them from everybody for ever."""
    asha, bina = await live.person("asha"), await live.person("bina")
    marketdata.answer = [b"x" * 1_000_000] * 30
    path = "/api/v2/market/history/NSE:SBIN"
    async with contextlib.AsyncExitStack() as readers:

        async def reader(person: Person) -> httpx.AsyncClient:
            headers = {"Authorization": person.client.headers["Authorization"]}
            made = httpx.AsyncClient(base_url=live.url, headers=headers, trust_env=False)
            return await readers.enter_async_context(made)

        slow, other = await reader(asha), await reader(bina)
        async with contextlib.AsyncExitStack() as files:
            for _ in range(4):
                file = await files.enter_async_context(slow.stream("GET", path, params={"format": "csv"}))
                assert file.status_code == 200
            one_more = await slow.get(path, params={"format": "parquet"})
            assert (one_more.status_code, one_more.json()["code"]) == (429, "too_many_requests")
            assert (await slow.get(path)).status_code == 200, "a page is no file"
            assert (await other.get(path, params={"format": "csv"})).status_code == 200
        async with asyncio.timeout(10):
            while (await slow.get(path, params={"format": "csv"})).status_code != 200:
                await asyncio.sleep(0.05)


async def test_what_marketdata_refuses_of_corporate_actions_is_sent_as_a_problem(
    platform: Platform, marketdata: Marketdata
) -> None:
    asha = await platform.person("asha")
    marketdata.status, marketdata.media, marketdata.answer = 422, PROBLEM_JSON, [b'{"code": "invalid"}']
    answer = await asha.client.get("/api/v2/market/corporate-actions/NSE:SBIN")
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM_JSON)


async def test_a_date_alone_is_the_day_in_india(platform: Platform, marketdata: Marketdata) -> None:
    """A day's candle begins at midnight in India: asked for by its date, it was left out and the next one told."""
    asha = await platform.person("asha")
    days = {"interval": "1d", "from": "2026-11-20", "to": "2026-11-21"}
    assert (await asha.client.get("/api/v2/market/history/NSE:SBIN", params=days)).status_code == 200
    line = marketdata.asked.partition("\r\n")[0]
    assert "start=2026-11-19T18%3A30%3A00" in line
    assert "end=2026-11-20T18%3A30%3A00" in line
    for book in ("orders", "tradebook"):
        found = await asha.client.get(f"/api/v2/trading/{book}/", params={"from": "0001-01-01"})
        assert (found.status_code, found.headers["content-type"]) == (422, PROBLEM_JSON)


@pytest.mark.parametrize(
    "number", ["2026", "+2026", "20261120", "20261120091500", "2026.5", "-5", "0", "1795132800000000", "9" * 400]
)
async def test_a_bare_number_that_is_no_moment_of_these_years_is_refused_and_told_how_to_write_one(
    platform: Platform, marketdata: Marketdata, number: str
) -> None:
    """Seen: `from=2026` was the year to whoever asked, and 2026 seconds after 1970 to us: all of the history."""
    asha = await platform.person("asha")
    for path in ("market/history/NSE:SBIN", "trading/orders/", "trading/tradebook/"):
        for name in ("from", "to"):
            answer = await asha.client.get(f"/api/v2/{path}", params={name: number})
            assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM_JSON), (path, name)
            told = answer.json()
            assert (told["code"], told["errors"][0]["field"]) == ("invalid", name)
            for form in (number[:40], "2026-11-20,", "2026-11-20T09:15:00+05:30", "seconds or milliseconds since 1970"):
                assert form in told["detail"], (path, form)
    assert marketdata.asked == ""


async def test_seconds_and_milliseconds_since_1970_are_moments(platform: Platform, marketdata: Marketdata) -> None:
    asha = await platform.person("asha")
    epochs = {"from": "1795146300", "to": "1795146360500"}
    assert (await asha.client.get("/api/v2/market/history/NSE:SBIN", params=epochs)).status_code == 200
    line = marketdata.asked.partition("\r\n")[0]
    assert "start=2026-11-20T03%3A45%3A00%2B00%3A00" in line
    assert "end=2026-11-20T03%3A46%3A00.500000%2B00%3A00" in line


@pytest.mark.parametrize("number", ["2026", "0", "20261120", "1795132800"])
async def test_a_bare_number_is_no_day(platform: Platform, marketdata: Marketdata, number: str) -> None:
    """`day=0` was the first of January 1970."""
    asha = await platform.person("asha")
    for path in (
        f"history/NSE:SBIN/quality?day={number}",
        f"option-chain/NIFTY?expiry={number}",
        f"contracts/search?expiry={number}",
    ):
        answer = await asha.client.get(f"/api/v2/market/{path}")
        assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM_JSON), path
        assert f"{number} is no day: write it as 2026-11-20" in answer.json()["detail"], path
    assert marketdata.asked == ""


async def test_a_problem_of_marketdata_is_the_client_s(platform: Platform, marketdata: Marketdata) -> None:
    asha = await platform.person("asha")
    marketdata.status, marketdata.media = 422, PROBLEM_JSON
    marketdata.answer = [b'{"code": "interval_unknown"}']
    answer = await asha.client.get("/api/v2/market/history/NSE:SBIN?interval=7m")
    assert (answer.status_code, answer.json()["code"]) == (422, "interval_unknown")
    assert answer.headers["content-type"] == PROBLEM_JSON


async def test_what_a_broker_refused_is_told_in_its_words_and_a_fault_of_ours_is_not(
    platform: Platform, marketdata: Marketdata
) -> None:
    first = await platform.person("first")
    url = "/api/v2/market/history/NSE:SBIN/backfill?from=2026-11-20T09:15:00Z&to=2026-11-21T09:15:00Z"
    said = b'{"code": "broker_refused", "detail": "Session expired"}'
    for status, media, code in (
        (502, PROBLEM_JSON, "broker_refused"),
        (502, "text/html", "unavailable"),
        (500, PROBLEM_JSON, "unavailable"),
    ):
        marketdata.status, marketdata.media, marketdata.answer = status, media, [said]
        answer = await first.client.post(url)
        assert (answer.status_code, answer.json()["code"]) == (502 if code == "broker_refused" else 503, code)


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


IMPORT = "/api/v2/market/history/NSE:SBIN/import?label=end"
ROW = b"2021-06-09T09:16:00+05:30,427.5,428,427,427.2,1000\n"


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("HISTORY_IMPORT_BYTES", "3000000")
    return 3_000_000


async def test_a_year_of_minutes_is_passed_on_while_it_comes(platform: Platform, marketdata: Marketdata) -> None:
    """5 MB; marketdata has most of it before the client has sent the rest: the gateway keeps no file."""
    first = await platform.person("first")
    marketdata.media, marketdata.answer = "application/json", [b'{"kept": 93750}']
    block = ROW * 1_000

    async def rows() -> AsyncIterator[bytes]:
        for n in range(100):
            yield block
            async with asyncio.timeout(20):
                while marketdata.heard < (n - 20) * len(block):
                    await asyncio.sleep(0.001)

    answer = await first.client.post(IMPORT, content=rows())
    assert (answer.status_code, answer.json()) == (200, {"kept": 93750})
    assert marketdata.heard == 100 * len(block)
    assert marketdata.asked.endswith(ROW.decode())


@pytest.mark.parametrize("announced", [True, False])
async def test_a_file_over_the_bound_is_a_413_that_says_what_to_do(
    bound: int, platform: Platform, marketdata: Marketdata, announced: bool
) -> None:
    first = await platform.person("first")

    async def rows() -> AsyncIterator[bytes]:
        for _ in range(70):
            yield ROW * 1_000

    content = ROW * 70_000 if announced else rows()
    answer = await first.client.post(IMPORT, content=content)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large"), answer.text
    assert answer.headers["content-type"] == PROBLEM_JSON
    assert str(bound) in answer.json()["detail"]
    assert not marketdata.heard_all
    assert (marketdata.heard == 0) == announced
    marketdata.media, marketdata.answer = "application/json", [b'{"kept": 4}']
    assert (await first.client.post(IMPORT, content=ROW)).status_code == 200


async def test_who_sends_too_much_or_may_not_send_is_told_why_on_a_real_connection(
    bound: int, live: Live, marketdata: Marketdata
) -> None:
    """And not by a connection that is reset while he still sends: what he sends is read and dropped."""
    first, asha = await live.person("first"), await live.person("asha")
    async with httpx.AsyncClient(base_url=live.url, trust_env=False) as client:
        for who, status in [(first, 413), (asha, 403)] * 3:
            authorization = {"Authorization": who.client.headers["Authorization"]}
            answer = await client.post(IMPORT, content=b"x" * 20_000_000, headers=authorization)
            assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM_JSON)
    assert marketdata.heard == 0


async def test_nobody_but_an_admin_has_a_byte_of_a_file_read(platform: Platform, marketdata: Marketdata) -> None:
    await platform.person("first")
    asha = await platform.person("asha")
    read = 0

    async def rows() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(50):
            read += 1
            yield ROW * 1_000

    stranger = await platform.client()
    for client, status in ((asha.client, 403), (stranger, 401)):
        answer = await client.post(IMPORT, content=rows())
        assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM_JSON)
    assert read == 0
    assert marketdata.asked == ""


async def test_the_larger_body_is_the_import_s_alone(platform: Platform) -> None:
    first = await platform.person("first")
    for path in ("/api/v2/market/quotes/bulk", "/api/v2/accounts/"):
        answer = await first.client.post(path, content=ROW * 50_000, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["detail"]) == (413, "a body has at most 1048576 bytes"), path


async def test_that_marketdata_is_busy_is_told_with_when_to_come_again(
    platform: Platform, marketdata: Marketdata
) -> None:
    first = await platform.person("first")
    marketdata.status, marketdata.media = 429, PROBLEM_JSON + "\r\nretry-after: 5"
    marketdata.answer = [b'{"code": "busy"}']
    answer = await first.client.post(IMPORT, content=ROW)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
