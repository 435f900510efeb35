"""A process whose servers are away waits for them; one that shall stop parts with its callers first."""

import asyncio
import os
import signal
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


async def test_a_process_that_waits_ends_when_it_is_told_to(ledger: Ledger) -> None:
    process = Process(ledger.name, ledger.url, 0)
    starting = asyncio.create_task(process.start(KAFKA_BOOTSTRAP="127.0.0.1:1"))
    try:
        await asyncio.sleep(3)
        await process.signal(signal.SIGTERM)
        await process.ended(5)
        await starting
    finally:
        process.end()
