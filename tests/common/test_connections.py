"""Clients that send half a request and stop, and who a request comes from, on the real listener."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator

import httpx
import pytest
import uvloop
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from libs.common import http
from libs.common.connections import Connection, Unfinished, allow
from libs.common.runtime import Runtime
from libs.common.service import Memory, Service, Store
from libs.common.testing.apps import opened

pytestmark = pytest.mark.servers

HALF_A_HEAD = b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Le"
HALF_A_BODY = b'POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n{"lots"'
LONG = 20_000_000
PIECE = 30_000
UPGRADE = (
    b"GET /stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
WHOLE = b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


asked: list[Connection] = []
"""By whom there was asked for a piece."""
given_up: list[str] = []
"""Answers without an end, of which their routes heard that nobody waits for them any more."""


class Silence:
    """A stream on which nothing is said."""

    def heard(self, text: str) -> None: ...
    def writable(self) -> None: ...
    def ended(self) -> None: ...


async def pieces() -> AsyncIterator[bytes]:
    try:
        while True:
            yield b"x" * 65_536
            await asyncio.sleep(0)
    finally:
        given_up.append("endless")


def routes(_: Runtime[Store, Memory]) -> APIRouter:
    router = APIRouter()

    @router.post("/orders")
    async def place(request: Request) -> dict[str, object]:
        return {"size": len(await request.body()), "from": request.client.host if request.client else None}

    @router.post("/file")
    async def file(request: Request) -> dict[str, object]:
        allow(request.scope, 4.0)
        return {"size": len(await request.body())}

    @router.post("/slow")
    async def slow(request: Request) -> dict[str, object]:
        await asyncio.sleep(1.2)
        return {"size": len(await request.body())}

    @router.get("/long")
    async def long() -> Response:
        return Response(b"x" * LONG)

    @router.get("/piece")
    async def piece(request: Request) -> Response:
        asked.append(request.scope["connection"])
        return Response(b"x" * PIECE)

    @router.get("/endless")
    async def endless() -> Response:
        return StreamingResponse(pieces())

    return router


SERVICE = Service(
    name="walkforward", store=Store, memory=Memory, routes=routes, sockets=lambda _: lambda socket, path: Silence()
)


@contextlib.asynccontextmanager
async def listening(**settings: object) -> AsyncIterator[int]:
    async with opened(SERVICE) as runtime:
        runtime.own_settings = runtime.own_settings.model_copy(update=settings)
        listener = http.Listener(runtime)
        serving = asyncio.create_task(listener.run())
        port = runtime.own_settings.port
        await _until_up(port)
        try:
            yield port
        finally:
            await listener.stop()
            serving.cancel()
            await asyncio.wait([serving])


async def _until_up(port: int) -> None:
    async with asyncio.timeout(5):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.02)


async def sent(port: int, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    await writer.drain()
    return reader, writer


async def heard(reader: asyncio.StreamReader) -> bytes:
    """All until the server closes, be it on what was still being sent: that cuts off, and what was said was heard."""
    said = b""
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionError):
            while some := await reader.read(65_536):
                said += some
    return said


@pytest.mark.parametrize("half", [b"", b"\r\n", HALF_A_HEAD, HALF_A_BODY, WHOLE + HALF_A_HEAD, WHOLE + HALF_A_BODY])
async def test_a_client_that_sends_half_a_request_and_stops_is_let_go(half: bytes) -> None:
    async with listening(request_s=0.5) as port:
        reader, writer = await sent(port, half)
        answer = await heard(reader)
        writer.close()
    assert answer.count(b"HTTP/1.1 200") == half.count(WHOLE)
    assert answer.count(b"HTTP/1.1 408") == answer.count(b'"code":"request_timeout"') == bool(half.strip())


async def test_a_request_that_arrives_in_pieces_but_in_time_is_answered() -> None:
    async with listening(request_s=10.0) as port:
        reader, writer = await sent(port, HALF_A_BODY)
        await asyncio.sleep(0.3)
        writer.write(b" " * (40 - len(b'{"lots"')))
        assert b"200" in await asyncio.wait_for(reader.readline(), 5)
        writer.close()


async def test_a_file_that_its_sender_may_send_has_the_time_that_its_route_allows_and_no_more() -> None:
    half = HALF_A_BODY.replace(b"/orders", b"/file")
    async with listening(request_s=0.5) as port:
        reader, writer = await sent(port, half)
        await asyncio.sleep(1.0)
        writer.write(b" " * (40 - len(b'{"lots"')))
        assert b"200" in await asyncio.wait_for(reader.readline(), 5)
        writer.write(half)
        assert b'"code":"request_timeout","detail":"the request did not arrive whole within 4 s' in await heard(reader)
        writer.close()
        reader, writer = await sent(port, HALF_A_BODY)
        assert b"within 0.5 s" in await heard(reader)
        writer.close()


async def test_a_drip_of_bytes_buys_no_time() -> None:
    async with listening(request_s=0.5) as port:
        reader, writer = await sent(port, b"POST /orders HTTP/1.1\r\n")
        answer = asyncio.create_task(heard(reader))
        for _ in range(30):
            with contextlib.suppress(ConnectionError):
                writer.write(b"X-Drip: 1\r\n")
                await writer.drain()
            await asyncio.sleep(0.1)
            if answer.done():
                break
        assert answer.done()
        assert b"408" in answer.result()
        writer.close()


async def test_a_slow_answer_of_ours_is_no_fault_of_the_client() -> None:
    async with listening(request_s=0.5) as port:
        reader, writer = await sent(port, WHOLE.replace(b"/orders", b"/slow") + HALF_A_BODY)
        assert b"200" in await asyncio.wait_for(reader.readline(), 5)
        writer.close()


async def taken(port: int, *, first_s: float, then_s: float) -> int:
    """How much of a long answer comes to a client who takes a megabyte now and then."""
    loop, size = asyncio.get_running_loop(), 0
    with contextlib.closing(socket.socket()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", port))
        await loop.sock_sendall(client, b"GET /long HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await asyncio.sleep(first_s)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20):
                while some := await loop.sock_recv(client, 1_000_000):
                    if (size + len(some)) // 1_000_000 > size // 1_000_000:
                        await asyncio.sleep(then_s)
                    size += len(some)
    return size


async def test_an_answer_that_nobody_takes_is_not_kept() -> None:
    """Anybody could ask for as many as fill the memory: none of them ended before its client did."""
    async with listening(untaken_s=0.5) as port:
        assert await taken(port, first_s=2.0, then_s=0) < LONG


async def test_the_end_of_an_answer_that_nobody_takes_is_not_kept_either() -> None:
    """So little was left that the server did not wait for its client, nor saw that he never took it."""
    loop = asyncio.get_running_loop()
    async with listening(untaken_s=0.5) as port:
        with contextlib.closing(socket.socket()) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", port))
            asked.clear()
            while not asked or not asked[-1].unsent:
                before = len(asked)
                await loop.sock_sendall(client, b"GET /piece HTTP/1.1\r\nHost: x\r\n\r\n")
                async with asyncio.timeout(5):
                    while len(asked) == before:
                        await asyncio.sleep(0.01)
                await asyncio.sleep(0.05)
            await asyncio.sleep(2)
            with contextlib.suppress(ConnectionError):
                async with asyncio.timeout(5):
                    while await loop.sock_recv(client, 1_000_000):
                        pass


async def test_of_more_answers_than_may_wait_for_their_clients_the_longest_go_and_others_are_answered() -> None:
    """For a minute each was kept, and for ever of whoever took a byte now and then: two hundred filled the memory."""
    async with listening(untaken_bytes=40_000_000) as port:
        waiting = [asyncio.create_task(taken(port, first_s=2.0, then_s=0)) for _ in range(6)]
        await asyncio.sleep(0.5)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            for _ in range(20):
                assert (await client.post("/orders", json={})).status_code == 200
        whole = [size > LONG for size in await asyncio.gather(*waiting)]
        assert 0 < sum(whole) < 4


async def test_a_stream_that_is_asked_for_amid_an_answer_does_not_keep_that_for_ever() -> None:
    """Who wrote it never heard that its client was gone: anybody could leave as many as fill the memory, for good."""
    given_up.clear()
    async with listening() as port:
        _, writer = await sent(port, b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.5)
        writer.write(UPGRADE)
        await asyncio.sleep(0.5)
        writer.transport.abort()
        async with asyncio.timeout(5):
            while not given_up:
                await asyncio.sleep(0.02)


async def test_an_answer_that_is_taken_slowly_comes_whole() -> None:
    async with listening(untaken_s=3.0) as port:
        assert await taken(port, first_s=0.2, then_s=0.3) > LONG


async def test_an_idle_connection_that_was_answered_is_kept() -> None:
    async with listening(request_s=0.5) as port:
        reader, writer = await sent(port, WHOLE)
        assert b"200" in await asyncio.wait_for(reader.readline(), 5)
        await asyncio.sleep(1.2)
        writer.write(WHOLE)
        await writer.drain()
        async with asyncio.timeout(5):
            await reader.readuntil(b"HTTP/1.1 200")
        writer.close()


async def test_of_too_many_half_requests_the_oldest_goes_and_honest_clients_are_served() -> None:
    async with listening(request_s=60.0, unfinished_requests=20, unfinished_grace_s=0.3) as port:
        halves = [await sent(port, HALF_A_BODY) for _ in range(40)]
        answer = await heard(halves[0][0])
        assert b"HTTP/1.1 503" in answer
        assert b'"code":"too_many_unfinished"' in answer
        assert b"\r\nRetry-After: 1\r\n" in answer
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.post("/orders", json={})).status_code == 200
        assert not halves[-1][0].at_eof()
        for _, writer in halves:
            writer.close()


async def test_thousands_who_connect_at_once_and_send_a_moment_later_are_all_answered() -> None:
    """They stand still together, as clients do on a machine that has too much to do; none of them is hung up on."""
    many = 3000

    def ask() -> list[bytes]:
        sockets = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(many)]
        time.sleep(0.7)
        for each in sockets:
            each.sendall(WHOLE)
        answers = [each.recv(17) for each in sockets]
        for each in sockets:
            each.close()
        return answers

    async with listening(request_s=60.0, unfinished_grace_s=20.0) as port:  # a slow machine needs longer to connect
        answers = await asyncio.to_thread(ask)
    assert answers == [b"HTTP/1.1 200 OK\r\n"] * many


async def test_more_than_may_ever_owe_a_request_at_once_are_not_kept_for_the_grace() -> None:
    bounds = {"unfinished_requests": 20, "unfinished_at_once": 50, "unfinished_grace_s": 60.0}
    async with listening(request_s=60.0, **bounds) as port:
        halves = [await sent(port, HALF_A_BODY) for _ in range(80)]
        answers = [await heard(reader) for reader, _ in halves[:30]]
        assert not any(reader.at_eof() for reader, _ in halves[30:])
        for _, writer in halves:
            writer.close()
    assert all(b"HTTP/1.1 503" in answer for answer in answers)


@pytest.mark.parametrize("half", [b"POST /orders HTTP/1.1\r\nX-Long: ", HALF_A_BODY.replace(b"40", b"4000000")])
async def test_what_has_arrived_of_all_half_requests_is_bounded_and_the_largest_goes(half: bytes) -> None:
    async with listening(request_s=60.0, unfinished_bytes=500_000) as port:
        small = await sent(port, HALF_A_BODY)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(half + b"x" * 1_000_000)
        with contextlib.suppress(ConnectionError):
            await heard(reader)
        assert not small[0].at_eof()
        small[1].write(b" " * (40 - len(b'{"lots"')))
        assert b"200" in await asyncio.wait_for(small[0].readline(), 5)
        for each in (writer, small[1]):
            each.close()


async def test_whoever_came_while_we_stood_still_is_answered_however_many_they_are() -> None:
    """Their requests are here already: they owe nothing, though we have read nothing of them yet."""
    many = 120
    async with listening(request_s=60.0, unfinished_requests=20, unfinished_at_once=20) as port:
        # Blocks the loop, so that nothing is accepted meanwhile
        sockets = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(many)]
        for each in sockets:
            each.sendall(WHOLE)
        answers = await asyncio.to_thread(lambda: [each.recv(17) for each in sockets])
        for each in sockets:
            each.close()
    assert answers == [b"HTTP/1.1 200 OK\r\n"] * many


def test_whoever_was_accepted_before_we_stood_still_is_read_before_it_is_judged() -> None:
    """On the loop that services run on."""
    many = 40

    async def stood_still() -> list[bytes]:
        async with listening(request_s=60.0, unfinished_requests=20, unfinished_grace_s=0.6) as port:
            opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(many)]
            for _, writer in opened:
                writer.write(WHOLE)
            time.sleep(1.5)  # noqa: ASYNC251 - this is the standing still
            answers = [await asyncio.wait_for(reader.read(17), 10) for reader, _ in opened]
            for _, writer in opened:
                writer.close()
            return answers

    assert uvloop.run(stood_still()) == [b"HTTP/1.1 200 OK\r\n"] * many


def test_who_connects_together_with_hundreds_is_accepted_within_few_turns_of_the_loop() -> None:
    """Each turn takes milliseconds while batches are handled: accepted one by one hundreds waited for seconds."""
    many = 400

    async def turns_until_all_are_answered() -> int:
        async with listening() as port:
            # Blocks the loop, so that nothing is accepted meanwhile
            sockets = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(many)]
            for each in sockets:
                each.sendall(WHOLE)
            hearing = asyncio.create_task(asyncio.to_thread(lambda: [each.recv(17) for each in sockets]))
            turns = 0
            while not hearing.done():
                turns += 1
                time.sleep(0.002)  # noqa: ASYNC251 - this is the batch
                await asyncio.sleep(0)
            for each in sockets:
                each.close()
            assert hearing.result() == [b"HTTP/1.1 200 OK\r\n"] * many
            return turns

    assert uvloop.run(turns_until_all_are_answered()) < many / 2


@pytest.mark.parametrize(("trusted", "seen"), [("127.0.0.1", "203.0.113.7"), ("10.9.0.0/16", "127.0.0.1")])
async def test_a_client_is_who_a_trusted_proxy_says_and_nobody_else_may_say_it(trusted: str, seen: str) -> None:
    forwarded = {"X-Forwarded-For": "203.0.113.7"}
    async with (
        listening(trusted_proxies=trusted) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=forwarded) as client,
    ):
        assert (await client.post("/orders", json={})).json()["from"] == seen


async def test_a_watch_that_fails_ends_the_listener_instead_of_going_unheard(monkeypatch: pytest.MonkeyPatch) -> None:
    async def failing(_: Unfinished) -> None:
        raise OSError("no more descriptors")

    numbers = list[int]()
    listen = http._listening

    def noting(host: str, port: int) -> list[socket.socket]:
        found = listen(host, port)
        numbers.extend(each.fileno() for each in found)
        return found

    monkeypatch.setattr(Unfinished, "watch", failing)
    monkeypatch.setattr(http, "_listening", noting)
    async with opened(SERVICE) as runtime:
        with pytest.raises(ExceptionGroup, match="unhandled"):
            await asyncio.wait_for(http.Listener(runtime).run(), 10)
        watched = [number for number in numbers if asyncio.get_running_loop().remove_reader(number)]
    assert numbers
    assert watched == [], "whoever gets the number of a closed socket next would not be told of what comes"
