"""A process whose servers are away waits for them; one that shall stop parts with its callers first."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from tests.common.instance import Process
from tests.common.ledger import DepositRequested, Ledger, new_ledger


@pytest.fixture
async def ledger() -> AsyncIterator[Ledger]:
    async with new_ledger() as made:
        yield made


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def forwarding(port: int, host: str, to: int) -> AsyncIterator[None]:
    """What listens at `to` answers at `port` as well."""
    writers: list[asyncio.StreamWriter] = []
    pipes: set[asyncio.Task[None]] = set()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while some := await reader.read(65_536):
                writer.write(some)
                await writer.drain()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        accepting = asyncio.current_task()
        assert accepting
        pipes.add(accepting)
        there, back = await asyncio.open_connection(host, to)
        writers.append(back)
        pipes.update((asyncio.create_task(pipe(reader, back)), asyncio.create_task(pipe(there, writer))))

    server = await asyncio.start_server(accept, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
        await asyncio.sleep(0.05)  # who was just accepted is ours to close
        for task in pipes:
            task.cancel()
        await asyncio.gather(*pipes, return_exceptions=True)
        for writer in writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


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
        async with forwarding(port, "127.0.0.1", there):
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
