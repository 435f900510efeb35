"""A process whose servers are away waits for them; one that shall stop parts with its callers first."""

import asyncio
import json
import os
import signal
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.common.forwarding import forwarding, free_port
from tests.common.instance import Process
from tests.common.ledger import DepositRequested, Ledger


@pytest.mark.parametrize("away", ["kafka", "postgres"])
async def test_a_process_started_while_a_server_is_away_waits_and_begins_when_it_is_back(
    ledger: Ledger, away: str
) -> None:
    port = free_port()
    kafka, url = os.environ["KAFKA_BOOTSTRAP"], urlsplit(ledger.url)
    bootstrap = f"127.0.0.1:{port}" if away == "kafka" else kafka
    reached = url._replace(netloc=url.netloc.replace(f":{url.port}", f":{port}")).geturl()
    process = Process(ledger.name, reached if away == "postgres" else ledger.url, 0)
    there = int(kafka.rpartition(":")[2]) if away == "kafka" else url.port
    assert there
    starting = asyncio.create_task(process.start(KAFKA_BOOTSTRAP=bootstrap))
    try:
        await asyncio.sleep(4)
        assert not starting.done(), "it is neither ready nor dead"
        async with forwarding("127.0.0.1", there, port):
            await starting
            assert await process.is_ready()
            await ledger.request(DepositRequested(account_id="a", amount=5))
            await ledger.eventually({"a": 5})
            process.end()
    finally:
        starting.cancel()
        process.end()


@pytest.mark.parametrize("kafka", ["away", "silent"])
async def test_a_process_that_waits_for_everything_and_is_told_to_stop_says_on_one_line_what_it_lacks(
    ledger: Ledger, capfd: pytest.CaptureFixture[str], kafka: str
) -> None:
    """Operators had to read nested tracebacks."""
    process = Process(ledger.name, f"postgresql://nobody@127.0.0.1:{free_port()}/nowhere", 0)
    silent = socket.create_server(("127.0.0.1", 0))
    port = silent.getsockname()[1] if kafka == "silent" else free_port()
    starting = asyncio.create_task(process.start(KAFKA_BOOTSTRAP=f"127.0.0.1:{port}"))
    try:
        await until_it_waits(capfd)
        await process.signal(signal.SIGTERM)
        assert await process.ended(5) == 0
        await starting
    finally:
        process.end()
        silent.close()
    last = told_at_last(capfd)
    assert last["event"] == "stopped_before_it_began"
    assert last["missing"].keys() == {"postgres", "kafka"}
    assert "KAFKA_BOOTSTRAP" in last["hint"]
    assert f"{ledger.name.upper()}_DATABASE_URL" in last["hint"]


@pytest.mark.parametrize("kafka", [{}, {"KAFKA_BOOTSTRAP": "127.0.0.1:1"}], ids=["kafka there", "kafka away"])
async def test_a_process_that_postgresql_will_not_have_ends_and_says_on_one_line_why(
    ledger: Ledger, capfd: pytest.CaptureFixture[str], kafka: dict[str, str]
) -> None:
    process = Process(ledger.name, with_password(ledger, "wrong"), 0)
    await process.start(**kafka)
    assert await process.ended() == 1
    last = told_at_last(capfd)
    assert (last["event"], last["level"]) == ("cannot_start", "critical")
    assert "password authentication failed" in last["missing"]["postgres"]
    assert f"{ledger.name.upper()}_DATABASE_URL" in last["hint"]


@pytest.mark.parametrize("address", ["postgresql//a@b/c", "postgresql://a@127.0.0.1:abc/b"])
async def test_a_process_whose_database_url_cannot_be_read_ends_and_says_so(
    ledger: Ledger, capfd: pytest.CaptureFixture[str], address: str
) -> None:
    process = Process(ledger.name, address, 0)
    await process.start()
    assert await process.ended() == 1
    assert f"settings: {ledger.name.upper()}_DATABASE_URL: " in capfd.readouterr().err


async def test_a_process_whose_schema_was_not_migrated_ends_and_says_how_it_is(
    ledger: Ledger, process: Process, capfd: pytest.CaptureFixture[str]
) -> None:
    connection = await ledger.connect()
    await connection.execute("DROP TABLE message_outbox CASCADE")
    await connection.close()
    await process.start()
    assert await process.ended() == 1
    last = told_at_last(capfd)
    assert last["event"] == "cannot_start"
    assert "message_outbox" in last["missing"]["postgres"]
    assert "libs.common.schemas" in last["hint"]


def with_password(ledger: Ledger, password: str) -> str:
    url = urlsplit(ledger.url)
    return url._replace(netloc=f"{url.username}:{password}@{url.hostname}:{url.port}").geturl()


def told_at_last(capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Its last line, when it showed no traceback."""
    said = capfd.readouterr()
    assert "Traceback" not in said.out + said.err, said.err
    last: dict[str, Any] = json.loads(said.out.splitlines()[-1])
    return last


async def until_it_waits(capfd: pytest.CaptureFixture[str]) -> None:
    """It has told that something is away: before that it may not even have been started."""
    async with asyncio.timeout(60):
        while '"waits_for"' not in capfd.readouterr().out:
            await asyncio.sleep(0.1)


async def test_a_process_that_waits_ends_when_it_is_told_to(ledger: Ledger, capfd: pytest.CaptureFixture[str]) -> None:
    process = Process(ledger.name, ledger.url, 0)
    starting = asyncio.create_task(process.start(KAFKA_BOOTSTRAP="127.0.0.1:1"))
    try:
        await until_it_waits(capfd)
        await process.signal(signal.SIGTERM)
        assert await process.ended(5) == 0
        await starting
    finally:
        process.end()
