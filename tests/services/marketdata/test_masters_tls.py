"""Dumps fetched over TLS from a server on this machine, whose authority is the tests' own."""

import asyncio
import gzip
import hashlib
import io
import json
import ssl
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from libs.common.clock import FixedClock
from libs.common.contracts.masters import MasterSource
from libs.common.testing.apps import opened
from services.marketdata.adapters.masters import load
from services.marketdata.adapters.masters.places import DumpUnavailable, Limits, Place, Places, Posted
from services.marketdata.app import app
from services.marketdata.settings import MarketDataSettings
from services.marketdata.streams.masters import download
from tests.services.marketdata.authority import authority
from tests.services.marketdata.test_masters_described import DESCRIBED, SHARE

ROWS = (
    b"instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,instrument_type,"
    b"segment,exchange\n779521,3045,SBIN,STATE BANK OF INDIA,0.0,,0.0,0.05,1,EQ,NSE,NSE\n"
)
DAY = date(2026, 11, 20)
PATIENT = Limits(size=1_000_000, whole_seconds=20, silent_seconds=10, connect_seconds=10)


class Server:
    """Answers `raw` (a whole HTTP answer) to whatever is asked, and then is silent or hangs up."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self.raw: dict[str, bytes] = {}
        self.asked: list[bytes] = []
        self.hangs_up = True

    async def __aenter__(self) -> "Server":
        self._over = asyncio.Event()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        scheme = "https" if self._context else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over.set()
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((int(s[15:]) for s in head.lower().split(b"\r\n") if s.startswith(b"content-length:")), 0)
        self.asked.append(head + await reader.readexactly(length))
        writer.write(self.raw.get(head.split(b" ")[1].decode(), self.raw.get("*", b"")))
        try:
            await writer.drain()
            if not self.hangs_up:
                await self._over.wait()
        except ConnectionError:
            return
        finally:
            writer.close()


def answer(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    lines = (f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body) if length is None else length}", "", "")
    return "\r\n".join(lines).encode() + body


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    return authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
async def server(tls: tuple[Path, ssl.SSLContext]) -> AsyncIterator[Server]:
    async with Server(tls[1]) as server:
        yield server


@pytest.fixture
def places(tls: tuple[Path, ssl.SSLContext]) -> Places:
    return Places(tls[0], PATIENT)


async def refusal(places: Places, place: Place, folder: Path) -> str:
    with pytest.raises(DumpUnavailable) as refused:
        await places.fetch([place], folder)
    return str(refused.value)


def zipped(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("instruments.csv", content)
    return packed.getvalue()


@pytest.mark.parametrize(
    "raw",
    [
        answer(ROWS, "Content-Type: text/csv"),
        answer(gzip.compress(ROWS), "Content-Type: text/csv", "Content-Encoding: gzip"),
        answer(gzip.compress(ROWS), "Content-Type: application/gzip"),
        answer(zipped(ROWS), "Content-Type: application/zip"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(ROWS), ROWS),
    ],
    ids=["plain", "gzip on the wire", "gzip file", "zip file", "chunked"],
)
async def test_a_dump_is_fetched_and_unpacked_however_it_comes(
    server: Server, places: Places, tmp_path: Path, raw: bytes
) -> None:
    server.raw["*"] = raw
    fetched = await places.fetch([f"{server.url}/instruments"], tmp_path)
    assert fetched.checksum == hashlib.sha256(fetched.paths[0].read_bytes()).hexdigest()
    dump = load(MasterSource.ZERODHA, fetched.paths, DAY)
    assert dump.table["instrument"].to_list() == [SHARE]


async def test_a_server_that_no_known_authority_vouches_for_gives_nothing(server: Server, tmp_path: Path) -> None:
    server.raw["*"] = answer(ROWS)
    assert "CERTIFICATE_VERIFY_FAILED" in await refusal(Places(limits=PATIENT), server.url, tmp_path)
    assert server.asked == []


async def test_certificates_that_are_not_there_are_said_to_be_so(tmp_path: Path) -> None:
    said = await refusal(Places(tmp_path / "nowhere.pem"), "https://127.0.0.1:9/x", tmp_path)
    assert "nowhere.pem cannot be read" in said


async def test_a_body_that_breaks_off_is_not_taken_for_whole(server: Server, places: Places, tmp_path: Path) -> None:
    server.raw["*"] = answer(ROWS, length=len(ROWS) + 1000)
    assert "complete message body" in await refusal(places, server.url, tmp_path)
    server.raw["*"] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(ROWS), ROWS)
    assert "incomplete" in await refusal(places, server.url, tmp_path)


async def test_a_server_that_falls_silent_is_not_waited_for(
    server: Server, tls: tuple[Path, ssl.SSLContext], tmp_path: Path
) -> None:
    server.hangs_up = False
    brisk = Places(tls[0], replace(PATIENT, silent_seconds=0.5))
    assert "ReadTimeout" in await refusal(brisk, server.url, tmp_path)
    server.raw["*"] = answer(ROWS, length=len(ROWS) + 1000)
    assert "ReadTimeout" in await refusal(brisk, server.url, tmp_path)


async def test_all_files_together_have_their_time(
    server: Server, tls: tuple[Path, ssl.SSLContext], tmp_path: Path
) -> None:
    server.hangs_up = False
    hurried = Places(tls[0], Limits(whole_seconds=0.2))
    assert "not all of it came within 0.2 s" in await refusal(hurried, server.url, tmp_path)


@pytest.mark.parametrize("media", ["text/html; charset=utf-8", "application/xhtml+xml", "TEXT/HTML"])
async def test_a_page_is_no_dump_although_it_comes_with_200(
    server: Server, places: Places, tmp_path: Path, media: str
) -> None:
    server.raw["*"] = answer(ROWS, f"Content-Type: {media}")
    assert "answers with a page" in await refusal(places, server.url, tmp_path)


async def test_what_is_too_large_is_left_whatever_length_it_claims(
    server: Server, tls: tuple[Path, ssl.SSLContext], tmp_path: Path
) -> None:
    """A small packed answer may unpack to any size."""
    small = Places(tls[0], Limits(size=100_000, whole_seconds=10))
    server.raw["*"] = answer(b"x" * 200_000)
    assert "more than 100000 bytes" in await refusal(small, server.url, tmp_path)
    server.raw["*"] = answer(gzip.compress(b"x" * 10_000_000), "Content-Encoding: gzip")
    assert "more than 100000 bytes" in await refusal(small, server.url, tmp_path)


async def test_a_redirect_is_followed_to_https_and_not_for_ever(server: Server, places: Places, tmp_path: Path) -> None:
    server.raw["/old"] = answer(b"", "Location: /new", status="302 Found")
    server.raw["/new"] = answer(ROWS)
    fetched = await places.fetch([f"{server.url}/old"], tmp_path)
    assert fetched.paths[0].read_bytes() == ROWS
    server.raw["*"] = answer(b"", "Location: /again", status="302 Found")
    assert "more than 5 times" in await refusal(places, f"{server.url}/once", tmp_path)


async def test_a_redirect_away_from_https_is_not_followed(server: Server, places: Places, tmp_path: Path) -> None:
    """Not even to this machine, where only the operator may send us."""
    async with Server(None) as plain:
        plain.raw["*"] = answer(ROWS)
        server.raw["*"] = answer(b"", f"Location: {plain.url}/dump", status="302 Found")
        assert "only https addresses" in await refusal(places, server.url, tmp_path)
        assert plain.asked == []
        assert (await places.fetch([plain.url], tmp_path)).paths[0].read_bytes() == ROWS


async def test_a_dump_that_is_asked_for_with_a_question_is_fetched(
    server: Server, places: Places, tmp_path: Path
) -> None:
    contents, expected = DESCRIBED[MasterSource.WISDOM]
    server.raw["*"] = answer(contents[0].encode(), "Content-Type: application/json")
    question = {"exchangeSegmentList": ["NSECM", "NSEFO"]}
    fetched = await places.fetch([Posted(f"{server.url}/instruments/master", question)], tmp_path)
    assert set(load(MasterSource.WISDOM, fetched.paths, DAY).table["instrument"]) == expected
    assert server.asked[0].startswith(b"POST /instruments/master ")
    assert json.loads(server.asked[0].partition(b"\r\n\r\n")[2]) == question


@pytest.mark.servers
async def test_the_authority_of_the_settings_is_the_one_that_counts(
    server: Server, tls: tuple[Path, ssl.SSLContext]
) -> None:
    """From the setting to the master: a dump over TLS, refused without the setting and good with it."""
    server.raw["*"] = answer(gzip.compress(ROWS), "Content-Type: application/gzip")
    standing: list[tuple[bool, str]] = []
    async with opened(app, clock=FixedClock(datetime(2026, 8, 18, 4, tzinfo=UTC))) as runtime:
        for table in ("contracts", "broker_contracts", "pending_listings", "master_downloads"):
            await runtime.pool.execute(f"DELETE FROM {table}")  # noqa: S608 - names of our own
        for certificates in (None, tls[0]):
            settings = MarketDataSettings(
                masters={MasterSource.ZERODHA: f"{server.url}/instruments"}, masters_ca=certificates
            )
            async with runtime.transaction() as unit:
                await unit.store.downloads.want(MasterSource.ZERODHA, unit.now)
                wanted = await unit.store.downloads.claim(unit.now)
            assert wanted is not None
            await download(runtime, settings, wanted)
            row = await runtime.pool.fetchrow("SELECT good_at, reason FROM master_downloads")
            assert row is not None
            standing.append((row["good_at"] is not None, row["reason"] or ""))
        for table in ("contracts", "broker_contracts", "pending_listings", "master_downloads"):
            await runtime.pool.execute(f"DELETE FROM {table}")  # noqa: S608 - names of our own
    (refused, why), good = standing
    assert not refused
    assert "CERTIFICATE_VERIFY_FAILED" in why
    assert good == (True, "")


def test_nothing_is_named_where_the_setting_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETDATA_MASTERS_CA", "")
    assert MarketDataSettings().masters_ca is None
