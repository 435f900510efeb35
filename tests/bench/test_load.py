"""The load itself: it must not wait for the server, and must count what it waited for."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from itertools import pairwise

from bench import latency
from bench.audit import unbooked, unfilled
from bench.load import constant_rate, offer
from bench.report import sections
from bench.wire import Pool, request
from libs.common.clock import stopwatch

ANSWER = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"


@contextlib.asynccontextmanager
async def server(stall_at: int = -1, stall: float = 0.0) -> AsyncIterator[str]:
    """Answers at once, but for one request, before which all of it stands still."""
    served = 0
    gate = asyncio.Lock()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                async with gate:
                    served += 1
                    if served == stall_at:
                        await asyncio.sleep(stall)
                writer.write(ANSWER[:20])
                await writer.drain()
                writer.write(ANSWER[20:])
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


async def test_requests_start_when_they_are_due_whatever_the_answers_do() -> None:
    dues: list[float] = []
    began = stopwatch()
    await constant_rate(200, 0.5, lambda _, due: dues.append(due))
    assert len(dues) == 100
    assert all(abs((later - earlier) - 0.005) < 1e-6 for earlier, later in pairwise(dues))
    assert 0.45 < stopwatch() - began < 2


async def test_a_stall_of_the_server_is_in_the_latency_of_everything_due_meanwhile() -> None:
    content = request("GET", "/", {})
    async with server(stall_at=20, stall=0.3) as url, Pool(url, 4) as pool:
        attempts = await offer(pool, [(content, None)] * 100, 200)
    assert [attempt.status for attempt in attempts] == [201] * 100
    assert sum(1 for attempt in attempts if attempt.seconds > 0.05) > 40
    assert 250 < latency.percentiles(a.seconds for a in attempts)["p999_ms"] < 2000


async def test_a_broken_connection_is_a_lost_request_not_a_hung_one() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    listening = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with listening, Pool(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", 1) as pool:
        status, _ = await pool.call(request("GET", "/", {}))
    assert status == 0


def test_percentiles_are_of_all_that_was_measured() -> None:
    found = latency.percentiles([0.010] * 990 + [0.500] * 10)
    assert 9.9 < found["p50_ms"] < 10.1
    assert 9.9 < found["p99_ms"] < 10.1
    assert 499 < found["p999_ms"] < 501


def test_a_fill_that_moved_no_position_is_found() -> None:
    fill = {"account_id": "a", "instrument": "NSE:SBIN", "product": "MIS", "side": "SELL", "quantity": 3}
    key = ("a", "NSE:SBIN", "MIS")
    assert unbooked([fill], Counter({key: 5}), Counter({key: 2})) == 0
    assert unbooked([fill], Counter({key: 5}), Counter({key: 5})) == 1
    assert unbooked([], Counter(), Counter({key: 1})) == 1


def test_an_order_filled_twice_is_found() -> None:
    order = {"order_id": "o", "filled_quantity": 3}
    fill = {"order_id": "o", "quantity": 3}
    assert unfilled([order], [fill]) == 0
    assert unfilled([order], [fill, fill]) == 1


def test_nested_figures_are_shown_by_their_place() -> None:
    found = sections({"webhook": {"refused": 0, "accepted": {"p50_ms": 1.0}}, "note": "x"})
    assert found == {"webhook": {"refused": 0}, "webhook.accepted": {"p50_ms": 1.0}}
