"""What a machine and its clients do to a platform: a full disk, a clock that jumps, half a request, idle sockets."""

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from websockets.asyncio.client import ClientConnection, connect

from libs.common.clock import stopwatch
from libs.common.contracts import topics
from tests.chaos.flow import PLACE
from tests.chaos.scenario import Chaos, Scenario
from tests.chaos.test_servers import probing
from tools.stream import subscription

BACK_WITHIN = 30.0
UNTOUCHED_WITHIN = 1.5
MOST_MIB_A_SOCKET = 0.15
A_LITTLE = 4096
"""Bytes by which a file may still grow when the disk is almost full."""


@pytest.mark.scenario(11)
async def test_a_full_disk_under_kafka_refuses_orders_and_loses_none(chaos: Chaos) -> None:
    """Its files may grow by a little more, and then no further: every write fails as on a full disk."""
    async with chaos.scenario(11, "a full disk under Kafka") as scenario:
        pid = await scenario.faults.pid("kafka")
        kept = (chaos.stack.instance.home / "kafka").glob(f"{topics.ORDER_REQUESTS.name}-*/*.log")
        room = max(path.stat().st_size for path in kept) + A_LITTLE
        psutil.Process(pid).rlimit(resource.RLIMIT_FSIZE, (room, room))
        scenario.kills += 1
        at = stopwatch()
        await fails(scenario, pid, chaos.pick(40, 25))
        async with probing(scenario) as probe:
            await asyncio.sleep(chaos.pick(5, 2))
        answered = {status for what, status, _, _ in probe.answers if what == "an order"}
        scenario.expect(answered <= {201, 202, 422, 503}, f"with a full disk orders were answered {answered}")
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).rlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        scenario.figures["room again after"] = f"{stopwatch() - at:.0f} s"
        freed = stopwatch()
        await scenario.faults.answers("kafka")
        await scenario.recovers(freed, BACK_WITHIN, "there was room on the disk again")


async def fails(scenario: Scenario, pid: int, seconds: float) -> None:
    """Until orders are refused or Kafka has given up: it stops when it cannot write."""
    deadline = stopwatch() + seconds
    while stopwatch() < deadline and psutil.pid_exists(pid):
        if any(503 in wish.statuses for wish in scenario.flow.wishes[-50:]):
            return
        await asyncio.sleep(0.2)


@pytest.mark.scenario(11, last=True)
async def test_a_clock_that_jumps_by_an_hour_stops_nobody_for_long(chaos: Chaos) -> None:
    """Forward, and back again, while every service is at work; as when a machine's clock is set right."""
    hands = chaos.home / "clock"
    hands.parent.mkdir(parents=True, exist_ok=True)
    hands.write_text("+0\n")
    await asyncio.to_thread(chaos.stack.start_services, moved_by(hands))
    async with chaos.scenario(11, "the clock moved by an hour and back") as scenario:
        for position in ("+3600\n", "+0\n"):
            hands.write_text(position)
            scenario.kills += 1
            at = stopwatch()
            await scenario.recovers_everywhere(at, BACK_WITHIN, f"the clock was set to {position.strip()} s")
            await asyncio.sleep(chaos.pick(5, 2))


def moved_by(hands: Path) -> dict[str, str]:
    """The environment of processes whose wall clock follows a file; what only counts seconds does not."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(hands),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


@pytest.mark.scenario(11)
async def test_half_a_request_holds_up_nobody(chaos: Chaos) -> None:
    """The sender stops in the middle of the head, or of the body, and stays connected."""
    count = 400 if chaos.full else 60
    async with chaos.scenario(11, "half-sent requests") as scenario, contextlib.AsyncExitStack() as opened:
        for n in range(count):
            url, path = (
                (chaos.world.gateway_url, PLACE)
                if n % 2
                else (chaos.world.signals_url, urlsplit(chaos.world.receivers[0].url).path)
            )
            await opened.enter_async_context(half_a_request(url, path, in_the_head=n % 4 < 2))
        scenario.kills += 1
        for _ in range(3):
            await scenario.recovers(stopwatch(), UNTOUCHED_WITHIN, f"{count} requests were sent by half")
            await asyncio.sleep(1)


@contextlib.asynccontextmanager
async def half_a_request(url: str, path: str, *, in_the_head: bool) -> AsyncIterator[None]:
    parts = urlsplit(url)
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 200\r\n\r\n{{"
    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(head[:40].encode() if in_the_head else head.encode())
    await writer.drain()
    try:
        yield
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.mark.scenario(11)
async def test_thousands_of_idle_sockets_hold_up_nobody(chaos: Chaos) -> None:
    count = 2000 if chaos.full else 200
    async with chaos.scenario(11, f"{count} idle WebSockets") as scenario:
        pid = await scenario.faults.pid("gateway")
        before = psutil.Process(pid).memory_info().rss
        sockets = await open_sockets(chaos, count)
        scenario.kills += 1
        try:
            for _ in range(3):
                await scenario.recovers(stopwatch(), UNTOUCHED_WITHIN, f"{count} sockets were opened")
                await asyncio.sleep(chaos.pick(3, 0.5))
            grown = (psutil.Process(pid).memory_info().rss - before) / 2**20
            scenario.figures["MiB for each"] = round(grown / count, 3)
            scenario.expect(grown <= 50 + count * MOST_MIB_A_SOCKET, f"{count} sockets cost {grown:.0f} MiB")
        finally:
            await asyncio.gather(*(socket.close() for socket in sockets))


async def open_sockets(chaos: Chaos, count: int) -> list[ClientConnection]:
    """Signed in, subscribed to what hardly ever happens to them, and silent."""
    sockets: list[ClientConnection] = []
    for start in range(0, count, 50):
        batch = min(50, count - start)
        sockets += await asyncio.gather(*(open_one(chaos, start + n) for n in range(batch)))
    return sockets


async def open_one(chaos: Chaos, n: int) -> ClientConnection:
    user = chaos.world.users[n % len(chaos.world.users)]
    socket = await connect(chaos.world.stream_url, open_timeout=30, ping_interval=None, compression=None)
    for text in subscription(user.api_key, ("risk",), {}):
        await socket.send(text)
    return socket
