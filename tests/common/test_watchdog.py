"""A process that hangs for good ends itself; one that waits for a server, slept, or was only slow goes on."""

import asyncio
import contextlib
import signal
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.common.forwarding import Join, forwarding
from tests.common.instance import Process
from tests.common.ledger import DepositRequested, Ledger
from tests.common.test_messaging import takes_writes

AT_ONCE = {"STILL": "3", "STUCK": "1", "OVERDUE": "2"}
GAVE_UP = 1


async def deposit(ledger: Ledger) -> None:
    await ledger.request(DepositRequested(account_id="asha", amount=5))


def carrying(is_open: asyncio.Event) -> Join:
    """While it is not open nothing gets through, and nobody is told."""
    loop = asyncio.get_running_loop()

    async def carry(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while some := await loop.sock_recv(source, 65_536):
                await is_open.wait()
                await loop.sock_sendall(sink, some)
            sink.shutdown(socket.SHUT_WR)

    async def join(here: socket.socket, there: socket.socket) -> None:
        await asyncio.gather(carry(here, there), carry(there, here))

    return join


async def goes_on(ledger: Ledger, process: Process) -> None:
    """The same process, and nothing was done twice."""
    await ledger.eventually({"asha": 5})
    await ledger.said(1)
    await ledger.forgets_what_it_said()
    await deposit(ledger)
    await ledger.eventually({"asha": 10})
    await process.signal(signal.SIGTERM)
    assert await process.ended() == 0


@pytest.mark.parametrize(
    ("hangs", "where"), [("loop", "_stand_still"), ("handler", "_never_return")], ids=["the loop", "a handler"]
)
async def test_who_hangs_for_good_ends_says_where_and_is_made_good_by_the_next(
    ledger: Ledger, process: Process, capfd: pytest.CaptureFixture[str], hangs: str, where: str
) -> None:
    await deposit(ledger)
    await process.start(**AT_ONCE, HANGS=hangs)
    assert await process.ended(60) == GAVE_UP
    said = capfd.readouterr()
    assert where in said.out + said.err
    assert ("loop_stands_still" if hangs == "loop" else "part_overdue") in said.out
    await process.start()
    await goes_on(ledger, process)


async def test_a_loop_that_stood_still_for_a_while_goes_on(ledger: Ledger, process: Process) -> None:
    await deposit(ledger)
    await process.start(STILL="20", HANGS="loop", SECONDS="5")
    await goes_on(ledger, process)


async def test_who_was_stopped_in_the_middle_of_its_work_has_not_hung(
    ledger: Ledger, process: Process, tmp_path: Path
) -> None:
    """SIGSTOP, or a laptop that was shut: the clock went on, the process did not."""
    told = tmp_path / "told"
    await deposit(ledger)
    await process.start(STILL="10", STUCK="1", OVERDUE="10", HANGS="handler until told", GO_ON=str(told))
    await process.signal(signal.SIGSTOP)
    await asyncio.sleep(14)
    told.touch()
    await process.signal(signal.SIGCONT)
    await goes_on(ledger, process)


async def test_who_waits_for_postgresql_is_not_ended_however_long_it_is_silent(ledger: Ledger) -> None:
    """It accepts and says nothing, as when it is frozen or the network is cut: a statement takes ten seconds then."""
    there, is_open = urlsplit(ledger.url), asyncio.Event()
    is_open.set()
    async with forwarding("127.0.0.1", there.port or 0, join=carrying(is_open)) as port:
        url = there._replace(netloc=there.netloc.replace(f":{there.port}", f":{port}")).geturl()
        process = Process(ledger.name, url, 0)
        try:
            await process.start(**AT_ONCE)
            is_open.clear()
            await deposit(ledger)
            with pytest.raises(TimeoutError):
                await process.ended(20)
            is_open.set()
            await goes_on(ledger, process)
        finally:
            process.end()


async def test_who_waits_for_kafka_is_not_ended_however_long_it_takes_nothing(
    ledger: Ledger, process: Process, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    await deposit(ledger)
    await process.start(**AT_ONCE, HANGS="sending until told", GO_ON=str(told))
    with pytest.raises(TimeoutError):
        await process.ended(12)
    told.touch()
    await goes_on(ledger, process)


async def test_who_cannot_keep_what_it_handles_is_not_ready_but_serves(ledger: Ledger, process: Process) -> None:
    """A database whose disk is full, or that became a standby, answers all the same: nothing was handled, all green."""
    await process.start(**AT_ONCE)
    await takes_writes(ledger, "off")
    await deposit(ledger)
    async with asyncio.timeout(20):
        wanted = {"consumer": False, "kafka": True, "postgres": True, "running": True}
        while (await process.tells("ready"))["checks"] != wanted:
            await asyncio.sleep(0.1)
    assert (await process.tells("serving"))["status"] == "serving"
    await takes_writes(ledger, "on")
    await ledger.eventually({"asha": 5})
    async with asyncio.timeout(20):
        while not await process.is_ready():
            await asyncio.sleep(0.1)


async def test_who_cannot_do_what_a_timer_has_to_is_not_ready_but_serves(
    ledger: Ledger, process: Process, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its log alone told of it: a stop-loss could have waited for it with all of `make status` green."""
    connection = await ledger.connect()
    await connection.execute("ALTER TABLE balances RENAME TO elsewhere")
    await process.start(**AT_ONCE, TIMED="yes")
    async with asyncio.timeout(20):
        wanted = {"consumer": True, "timer:audit": False, "kafka": True, "postgres": True, "running": True}
        while (await process.tells("ready"))["checks"] != wanted:
            await asyncio.sleep(0.1)
    assert (await process.tells("serving"))["status"] == "serving"
    await connection.execute("ALTER TABLE elsewhere RENAME TO balances")
    await connection.close()
    async with asyncio.timeout(20):
        while not await process.is_ready():
            await asyncio.sleep(0.1)
    assert '"timer_waits"' in capfd.readouterr().out
