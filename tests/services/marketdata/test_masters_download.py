"""Dumps from fetching to what the platform hears of them, on the real files and the real servers."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer

from libs.common.clock import FixedClock
from libs.common.contracts import topics
from libs.common.contracts.base import Message
from libs.common.contracts.masters import (
    ContractsDownloaded,
    ContractTermsChanged,
    ContractWithdrawn,
    DownloadTrigger,
    ExpiryRole,
    ExpiryRolled,
    MasterSource,
)
from libs.common.messaging.envelope import decode, type_of
from libs.common.runtime import Runtime
from libs.common.testing.apps import opened
from services.marketdata.app import app
from services.marketdata.memory import MarketMemory
from services.marketdata.settings import MarketDataSettings
from services.marketdata.store import ContractStore
from services.marketdata.store.contracts.downloads import Download
from services.marketdata.streams.contracts import publish_differences
from services.marketdata.streams.masters import AGAIN_AFTER, download, keep_masters

MarketRuntime = Runtime[ContractStore, MarketMemory]
AUGUST = datetime(2026, 8, 18, 4, tzinfo=UTC)
"""The morning of a NIFTY weekly expiry in the week of the Zerodha dump."""
HEADER = (
    "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,instrument_type,"
    "segment,exchange"
)
TABLES = ("contracts", "broker_contracts", "pending_listings", "master_downloads", "expiry_roles")


class Heard:
    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    async def until(self, last: type[Message]) -> list[Message]:
        """Everything up to the first message of that type and what comes with it, by name."""
        names = {m.__name__: m for t in (topics.CONTRACT_CHANGES, topics.MASTER_DOWNLOADS) for m in t.carries}
        found: list[Message] = []
        async with asyncio.timeout(20):
            while not any(isinstance(message, last) for message in found):
                for records in (await self._consumer.getmany(timeout_ms=500)).values():
                    found += [decode(names[type_of(r.headers)], r.value) for r in records]
        return sorted(found, key=lambda m: (not isinstance(m, ContractsDownloaded), type(m).__name__))


@pytest.fixture
async def runtime(real_servers: None) -> AsyncIterator[MarketRuntime]:
    async with opened(app, clock=FixedClock(AUGUST)) as runtime:
        for table in TABLES:
            await runtime.pool.execute(f"DELETE FROM {table}")  # noqa: S608 - names of our own
        yield runtime
        for table in TABLES:
            await runtime.pool.execute(f"DELETE FROM {table}")  # noqa: S608 - names of our own


async def fetch(runtime: MarketRuntime, place: Path | str, source: MasterSource = MasterSource.ZERODHA) -> None:
    settings = MarketDataSettings(masters={source: str(place)})
    checksum = await runtime.pool.fetchval("SELECT checksum FROM master_downloads WHERE source = $1", source.value)
    async with runtime.transaction() as unit:
        await unit.store.downloads.want(source, unit.now)
        wanted = await unit.store.downloads.claim(unit.now)
    assert wanted == Download(source, DownloadTrigger.REQUEST, 1, checksum)
    await download(runtime, settings, wanted)


async def status(runtime: MarketRuntime) -> tuple[bool, str | None, int]:
    """Whether a dump is good; why the last one was refused; how many contracts are tradable."""
    row = await runtime.pool.fetchrow("SELECT good_at, reason FROM master_downloads")
    tradable = await runtime.pool.fetchval("SELECT count(*) FROM contracts WHERE tradable")
    return row is not None and row["good_at"] is not None, row["reason"] if row else None, tradable


def future(symbol: str, expiry: str, token: int, lot: int = 65) -> str:
    return f"{token},{token},{symbol}FUT,NIFTY,0.0,{expiry},0.0,0.1,{lot},FUT,NFO-FUT,NFO"


def call(strike: str) -> str:
    return f"7,7,NIFTY26SEP24000CE,NIFTY,0.0,2026-09-29,{strike},0.05,65,CE,NFO-OPT,NFO"


async def test_a_real_dump_becomes_the_master_and_the_same_one_again_changes_nothing(
    runtime: MarketRuntime, shared_data: Path
) -> None:
    place = shared_data / "masters/zerodha/instruments-nfo-bfo-*.csv"
    await fetch(runtime, place)
    assert await status(runtime) == (True, None, 39_941)
    published = await runtime.pool.fetchval("SELECT max(published_at) FROM contracts")
    await fetch(runtime, place)
    assert await runtime.pool.fetchval("SELECT max(published_at) FROM contracts") == published


async def test_a_real_dump_is_taken_also_while_the_planner_believes_that_the_tables_are_empty(
    runtime: MarketRuntime, shared_data: Path
) -> None:
    """Seen on a slow machine: statistics of the tables as they were before made it compare each row with each."""
    place = shared_data / "masters/zerodha/instruments-nfo-bfo-*.csv"
    await fetch(runtime, place)
    for table in TABLES:
        await runtime.pool.execute(f"DELETE FROM {table}")  # noqa: S608 - names of our own
        await runtime.pool.execute(f"ANALYZE {table}")
    await fetch(runtime, place)
    assert await status(runtime) == (True, None, 39_941)


async def test_half_of_a_real_dump_is_refused_with_the_reason_and_the_good_one_stays(
    runtime: MarketRuntime, shared_data: Path, tmp_path: Path
) -> None:
    whole = next((shared_data / "masters/zerodha").glob("*.csv"))
    await fetch(runtime, whole)
    lines = whole.read_text().splitlines()
    half = tmp_path / "half.csv"
    half.write_text("\n".join(lines[: len(lines) // 2]))
    await fetch(runtime, half)
    good, reason, tradable = await status(runtime)
    assert (good, tradable) == (True, 39_941)
    assert reason is not None
    assert "cut short" in reason


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty"),
        (b"<html>503 Service Unavailable</html>", "columns"),
        (HEADER.encode() + b"\n", "no instrument"),
        (gzip.compress(HEADER.encode() * 1000)[:-20], "cut short or damaged"),
        (f"{HEADER}\n{future('NIFTY26JANFUT', '2026-01-27', 1)}\n".encode(), "have expired"),
        (f"{HEADER}\n{future('NIFTY26SEP', '2026-09-29', 1)}\nrubbish,,,\n".encode(), "cannot be read"),
        (f"{HEADER}\n{call('1e9999999')}\n".encode(), "no instrument"),
        (f"{HEADER}\n{call('1e999999')}\n".encode(), "no instrument"),
        (f"{HEADER}\n{call('24000')}\n".replace("NIFTY,", "NIF\0TY,").encode(), "PostgreSQL"),
    ],
)
async def test_what_is_no_dump_is_refused_and_says_why(
    runtime: MarketRuntime, tmp_path: Path, content: bytes, why: str
) -> None:
    path = tmp_path / "instruments.csv"
    path.write_bytes(content)
    await fetch(runtime, path)
    good, reason, tradable = await status(runtime)
    assert (good, tradable) == (False, 0)
    assert reason is not None
    assert why in reason


async def test_a_file_that_is_not_there_or_an_address_without_tls_is_refused(
    runtime: MarketRuntime, tmp_path: Path
) -> None:
    await fetch(runtime, tmp_path / "nowhere.csv")
    assert "there is no file" in str((await status(runtime))[1])
    await fetch(runtime, "http://example.com/instruments.csv")
    assert "https" in str((await status(runtime))[1])


async def test_the_day_after_an_expiry_the_week_rolls_and_its_contracts_stay_resolvable(
    runtime: MarketRuntime, shared_data: Path
) -> None:
    await fetch(runtime, shared_data / "masters/zerodha/instruments-nfo-bfo-*.csv")
    series = ("NFO", "NIFTY", "OPTION")
    async with runtime.transaction() as unit:
        before = (await unit.store.expiry_roles())[series]
    assert before == {
        ExpiryRole.CURRENT_WEEK: date(2026, 8, 18),
        ExpiryRole.NEXT_WEEK: date(2026, 8, 25),
        ExpiryRole.CURRENT_MONTH: date(2026, 8, 25),
        ExpiryRole.NEXT_MONTH: date(2026, 9, 29),
    }
    runtime.clock = FixedClock(datetime(2026, 8, 18, 19, tzinfo=UTC))
    await publish_differences(runtime)
    async with runtime.transaction() as unit:
        after = (await unit.store.expiry_roles())[series]
        expired = await unit.store.find("NFO:NIFTY18AUG2624400CE")  # type: ignore[arg-type]
    assert (after[ExpiryRole.CURRENT_WEEK], after[ExpiryRole.NEXT_WEEK]) == (date(2026, 8, 25), date(2026, 9, 1))
    assert expired is not None
    assert (expired.tradable, expired.delisted, expired.lot_size) == (False, True, 65)


async def test_brokers_call_one_instrument_by_their_own_names(runtime: MarketRuntime, shared_data: Path) -> None:
    masters = shared_data / "masters"
    await fetch(runtime, masters / "dhan/api-scrip-master-*.csv", MasterSource.DHAN)
    await fetch(runtime, masters / "upstox/NSE-*.csv.gz", MasterSource.UPSTOX)
    async with runtime.transaction() as unit:
        names = {r["source"]: r["token"] for r in await unit.store.brokers_of("NSE:SBIN")}  # type: ignore[arg-type]
        (back,) = await unit.store.look_up(MasterSource.UPSTOX, token="NSE_EQ|INE062A01020", symbol=None, exchange=None)
    assert names == {"dhan": "3045", "upstox": "NSE_EQ|INE062A01020"}
    assert back["instrument"] == "NSE:SBIN"


def test_the_setting_names_places_by_broker() -> None:
    settings = MarketDataSettings(masters=json.loads('{"zerodha": "published", "dhan": ["/a.csv", "/b.csv"]}'))
    assert settings.masters == {MasterSource.ZERODHA: "published", MasterSource.DHAN: ["/a.csv", "/b.csv"]}


@pytest.fixture
async def heard(runtime: MarketRuntime) -> AsyncIterator[Heard]:
    """What is said on the topic of changes from now on, of the underlyings of this test alone."""
    consumer = AIOKafkaConsumer(
        topics.CONTRACT_CHANGES.name,
        topics.MASTER_DOWNLOADS.name,
        bootstrap_servers=runtime.settings.kafka_bootstrap,
        auto_offset_reset="latest",
    )
    await consumer.start()
    await consumer.seek_to_end()
    for partition in consumer.assignment():
        await consumer.position(partition)
    yield Heard(consumer)
    await consumer.stop()


async def test_a_days_changes_are_said_as_events(runtime: MarketRuntime, heard: Heard, tmp_path: Path) -> None:
    path = tmp_path / "instruments.csv"
    names = ("NIFTY26AUG", "2026-08-18"), ("NIFTY26SEP", "2026-09-29"), ("NIFTY26OCT", "2026-10-27")
    first = [future(name, expiry, n) for n, (name, expiry) in enumerate(names, 1)]
    path.write_text("\n".join([HEADER, *first]) + "\n")
    await fetch(runtime, path)
    runtime.clock = FixedClock(datetime(2026, 8, 19, 4, tzinfo=UTC))
    changed = [first[1].replace(",65,FUT", ",75,FUT"), future("NIFTY26DEC", "2026-12-29", 9)]
    path.write_text("\n".join([HEADER, *changed]) + "\n")
    await fetch(runtime, path)
    runtime.clock = FixedClock(datetime(2026, 8, 20, 4, tzinfo=UTC))
    await fetch(runtime, path)
    said = await heard.until(ContractWithdrawn)
    assert [type(m).__name__ for m in said if not isinstance(m, ExpiryRolled)] == [
        "ContractsDownloaded",
        "ContractsDownloaded",
        "ContractsDownloaded",
        "ContractAdded",
        "ContractExpired",
        "ContractTermsChanged",
        "ContractWithdrawn",
    ]
    (terms,) = [m for m in said if isinstance(m, ContractTermsChanged)]
    assert (terms.instrument, terms.before.lot_size, terms.after.lot_size) == ("NFO:NIFTY29SEP26FUT", 65, 75)
    rolled = {m.role: (m.before, m.after) for m in said if isinstance(m, ExpiryRolled)}
    assert rolled[ExpiryRole.CURRENT_MONTH] == (date(2026, 8, 18), date(2026, 9, 29))


async def test_openalgo_684_dumps_are_wanted_once_a_day_and_tried_again_when_they_fail(runtime: MarketRuntime) -> None:
    settings = MarketDataSettings(masters={MasterSource.ZERODHA: "/nowhere.csv"})
    wanted = None
    for _ in range(2):
        async with runtime.transaction() as unit:
            await unit.store.downloads.schedule([MasterSource.ZERODHA], AUGUST.date(), AUGUST)
            wanted = await unit.store.downloads.claim(AUGUST)
        if wanted is not None:
            await download(runtime, settings, wanted)
    assert wanted is None
    later = AUGUST + AGAIN_AFTER
    async with runtime.transaction() as unit:
        again = await unit.store.downloads.claim(later)
    assert again == Download(MasterSource.ZERODHA, DownloadTrigger.SCHEDULE, 2, None)


async def test_what_was_never_fetched_is_fetched_at_once_whatever_the_hour(
    runtime: MarketRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new stack with a live feed had no contracts until the next morning."""
    path = tmp_path / "dump.csv"
    path.write_text("\n".join([HEADER, future("NIFTY26SEP", "2026-09-29", 1)]) + "\n")
    monkeypatch.setenv("MARKETDATA_MASTERS", json.dumps({"zerodha": str(path)}))
    monkeypatch.setenv("MARKETDATA_MASTERS_AT", "23:00")
    keeping = asyncio.create_task(keep_masters(runtime))
    try:
        async with asyncio.timeout(30):
            while await status(runtime) != (True, None, 1):
                await asyncio.sleep(0.05)
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])


async def test_an_address_that_breaks_off_or_fails_is_refused(runtime: MarketRuntime) -> None:
    async def cut_short(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + HEADER.encode())
        await writer.drain()
        writer.close()

    async def fails(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    for serve, why in ((cut_short, "complete message body"), (fails, "503")):
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        await fetch(runtime, f"http://127.0.0.1:{port}/instruments.csv")
        server.close()
        await server.wait_closed()
        good, reason, _ = await status(runtime)
        assert not good
        assert why in str(reason)
