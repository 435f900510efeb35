"""What a machine and its clients do to a platform: a full disk, a clock that jumps, half a request, idle sockets."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import psutil
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from libs.common.clock import stopwatch
from libs.common.contracts import topics
from libs.common.settings import ServiceSettings
from tests.chaos.scenario import Chaos, Scenario
from tests.chaos.test_servers import ANSWERED_WITHIN, probing
from tests.chaos.wishes import Kind
from tools.stream import subscription

BACK_WITHIN = 30.0
UNTOUCHED_WITHIN = 1.5
MOST_MIB_A_SOCKET = 0.15
MOST_OF_A_USER = 100
"""Connections, unless it is set otherwise."""
HEARD_WITHIN = 30.0
REQUEST_S: float = ServiceSettings.model_fields["request_s"].default
ALERT_S = 2.0
"""How long a request may take to arrive whole, and the body of an alert, which has less."""
LOOKED_FOR_WITHIN = 2.0
"""Late requests are looked for twice a second."""
A_LITTLE = 4096
"""Bytes by which a file may still grow when the disk is almost full."""


@pytest.mark.scenario(11)
async def test_a_full_disk_under_kafka_refuses_orders_and_loses_none(chaos: Chaos) -> None:
    """Its files may grow by a little more, and then no further: every write fails as on a full disk."""
    async with chaos.scenario(11, "a full disk under Kafka") as scenario:
        pid = await scenario.faults.pid("kafka")
        kept = (chaos.stack.instance.home / "kafka").glob(f"{topics.ORDER_REQUESTS.name}-*/*.log")
        room = max(path.stat().st_size for path in kept) + A_LITTLE
        at = stopwatch()
        async with scenario.faults.full_disk("kafka", room):
            scenario.faults_done += 1
            await gives_up(pid, chaos.pick(40, 25))
            await asyncio.sleep(0.5)
            async with probing(scenario) as probe:
                await asyncio.sleep(chaos.pick(5, 2))
        freed = stopwatch()
        for what, may_be_kept in {"an order": (), "an alert": (202,)}.items():
            complaints = probe.complaints(what, may_be_kept, chaos.within(ANSWERED_WITHIN))
            scenario.complaints += [f"a full disk: {words}" for words in complaints]
        scenario.figures["room again after"] = f"{freed - at:.0f} s"
        await scenario.faults.answers("kafka")
        await scenario.recovers(freed, BACK_WITHIN, "there was room on the disk again")


async def gives_up(pid: int, seconds: float) -> None:
    """Kafka stops when it cannot write, and every time that it is started again."""
    async with asyncio.timeout(seconds):
        while psutil.pid_exists(pid):
            await asyncio.sleep(0.1)


@pytest.mark.scenario(11, last=True)
async def test_a_clock_that_jumps_by_an_hour_stops_nobody_for_long(chaos: Chaos) -> None:
    """Forward, and back again, while every service is at work; as when a machine's clock is set right.

    Nobody panics meanwhile: the checker tells what left before a panic from what left after it by their times.
    """
    hands = chaos.home / "clock"
    hands.parent.mkdir(parents=True, exist_ok=True)
    hands.write_text("+0\n")
    await asyncio.to_thread(chaos.stack.start_services, moved_by(hands))
    async with chaos.scenario(11, "the clock moved by an hour and back", panicking=False) as scenario:
        for position in ("+3600\n", "+0\n"):
            hands.write_text(position)
            scenario.faults_done += 1
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
    """The sender stops in the middle of the head, or of the body, and stays connected until the server ends it.

    For most that is longer than the short version, unless its machine is slow: tests/common/test_connections.py has a
    listener that waits less.
    """
    count = 400 if chaos.full else 60
    async with chaos.scenario(11, "half-sent requests") as scenario, contextlib.AsyncExitStack() as opened:
        world, began = chaos.world, stopwatch()
        bodies_of_alerts: list[asyncio.StreamReader] = []
        others: list[asyncio.StreamReader] = []
        for n in range(count):
            if n % 2:
                url, wish = world.gateway_url, scenario.flow.order(Kind.RESTING, world.accounts[0])
            else:
                url, wish = world.signals_url, scenario.flow.alert(world.receivers[0], stopwatch())
            half = wish.content[: 40 if n % 4 < 2 else -10]
            reader = await opened.enter_async_context(half_a_request(url, half))
            (bodies_of_alerts if n % 4 == 2 else others).append(reader)
        scenario.faults_done += 1
        async with asyncio.TaskGroup() as ending:
            ending.create_task(end_in_time(scenario, "bodies of alerts", bodies_of_alerts, ALERT_S))
            if chaos.full:
                ending.create_task(end_in_time(scenario, "requests", others, REQUEST_S))
            for _ in range(3):
                await scenario.recovers(stopwatch(), UNTOUCHED_WITHIN, f"{count} requests were sent by half")
                await asyncio.sleep(1)
        if not chaos.full:
            said = [answer for answer in await asyncio.gather(*map(answer_so_far, others)) if answer is not None]
            early = said if stopwatch() - began < REQUEST_S else [each for each in said if not is_late(each)]
            words = f"{len(early)} of {len(others)} half requests were answered, such as {early[:1]}"
            scenario.expect(not early, words)


async def answer_so_far(reader: asyncio.StreamReader) -> bytes | None:
    """None while nothing was answered, and the connection is open."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            return await reader.read(100)
    return None


def is_late(answer: bytes) -> bool:
    return answer.startswith(b"HTTP/1.1 408 ")


async def end_in_time(scenario: Scenario, what: str, halves: list[asyncio.StreamReader], promised: float) -> None:
    """Each is answered 408, and its connection closed."""
    began = stopwatch()
    ended: list[bytes] = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(scenario.chaos.within(promised + LOOKED_FOR_WITHIN)):
            for reader in halves:
                ended.append(await reader.read())
    other = [answer for answer in ended if not is_late(answer)]
    told = f"{len(ended)} of {len(halves)} ended in {stopwatch() - began:.1f} s"
    scenario.figures[f"half {what}"] = told
    scenario.expect(len(ended) == len(halves), f"half {what}: {told}, though {promised:g} s are promised")
    scenario.expect(not other, f"{len(other)} half {what} were not told that they are late, but {other[:1]}")


@contextlib.asynccontextmanager
async def half_a_request(url: str, half: bytes) -> AsyncIterator[asyncio.StreamReader]:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(half)
    await writer.drain()
    try:
        yield reader
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.mark.scenario(11)
async def test_thousands_of_idle_sockets_hold_up_nobody(chaos: Chaos) -> None:
    count = 2000 if chaos.full else 200
    most = math.ceil(count / len(chaos.world.users))
    if most > MOST_OF_A_USER:
        await asyncio.to_thread(chaos.stack.start_services, {"GATEWAY_STREAM_CONNECTIONS": str(most)})
    async with chaos.scenario(11, f"{count} idle WebSockets") as scenario:
        pid = await scenario.faults.pid("gateway")
        before = psutil.Process(pid).memory_info().rss
        sockets = await open_sockets(chaos, count)
        scenario.faults_done += 1
        try:
            for _ in range(3):
                await scenario.recovers(stopwatch(), UNTOUCHED_WITHIN, f"{count} sockets were opened")
                await asyncio.sleep(chaos.pick(3, 0.5))
            grown = (psutil.Process(pid).memory_info().rss - before) / 2**20
            scenario.figures["MiB for each"] = round(grown / count, 3)
            scenario.expect(grown <= 50 + count * MOST_MIB_A_SOCKET, f"{count} sockets cost {grown:.0f} MiB")
            there = sum(await asyncio.gather(*map(answers, sockets)))
            scenario.expect(there == count, f"{count - there} of {count} idle sockets are gone, or silent")
        finally:
            await asyncio.gather(*(socket.close() for socket in sockets))
    if most > MOST_OF_A_USER:
        await asyncio.to_thread(chaos.stack.start_services)


async def open_sockets(chaos: Chaos, count: int) -> list[ClientConnection]:
    """Signed in, subscribed to what hardly ever happens to them, and silent."""
    sockets: list[ClientConnection] = []
    for start in range(0, count, 50):
        batch = min(50, count - start)
        sockets += await asyncio.gather(*(open_one(chaos, start + n) for n in range(batch)))
    return sockets


async def open_one(chaos: Chaos, n: int) -> ClientConnection:
    """Until what it subscribed to is there."""
    user = chaos.world.users[n % len(chaos.world.users)]
    socket = await connect(chaos.world.stream_url, open_timeout=30, ping_interval=None, compression=None)
    for text in subscription(user.api_key, ("risk",), {}):
        await socket.send(text)
    assert await hears(socket, "snapshot"), f"a subscription was never taken: {socket.close_reason}"
    return socket


async def answers(socket: ClientConnection) -> bool:
    with contextlib.suppress(ConnectionClosed):
        await socket.send('{"action": "ping"}')
        return await hears(socket, "pong")
    return False


async def hears(socket: ClientConnection, kind: str) -> bool:
    with contextlib.suppress(ConnectionClosed, TimeoutError):
        async with asyncio.timeout(HEARD_WITHIN):
            while orjson.loads(await socket.recv())["type"] != kind:
                pass
            return True
    return False
