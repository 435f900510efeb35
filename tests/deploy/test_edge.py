"""HAProxy with the configuration of this machine's edge, before servers that are slow, full or gone."""

import asyncio
import contextlib
import socket
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from deploy.local.edge import binary
from deploy.local.servers import render

MOST = 2048
_SWITCH = b"connection: upgrade\r\nupgrade: websocket\r\n"
UPGRADE = _SWITCH + b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
UPGRADED = _SWITCH + b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
CHECKED_OUT = 3.0
"""After so long every server that does not answer its check in two seconds is out."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@dataclass
class Place:
    """An instance: how it answers the edge's check, and what it was asked."""

    name: str
    port: int = field(default_factory=free_port)
    serves: bool = True
    is_slow: bool = False
    deaths: list[str] = field(default_factory=list)
    """Of instances that have them in common: who is asked next dies one of them, with that request in hand."""
    asked: list[str] = field(default_factory=list)
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                status = b"200 OK"
                if head.startswith(b"GET /health/serving"):
                    if self.is_slow:
                        await self.closing.wait()
                    status = b"200 OK" if self.serves else b"503 Service Unavailable"
                else:
                    self.asked.append(head.split(b" ")[1].decode())
                    if self.deaths:
                        self.deaths.pop()
                        return
                if b"upgrade: websocket" in head.lower():
                    writer.write(b"HTTP/1.1 101 Switching Protocols\r\n" + UPGRADED)
                    await reader.read()
                    return
                body = self.name.encode()
                writer.write(b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body))
                await writer.drain()


@contextlib.asynccontextmanager
async def edge(tmp_path: Path, *places: Place, most: int = MOST) -> AsyncIterator[httpx.AsyncClient]:
    """With room for so many requests at each place."""
    port, nobody = free_port(), free_port()
    ports = [place.port for place in places] + [nobody]
    lines = "\n".join(f"    server gateway-{n} 127.0.0.1:{each}" for n, each in enumerate(ports))
    conf = render("haproxy.cfg", tmp_path / "haproxy.cfg", edge_port=port, gateways=lines, signals=lines)
    text = conf.read_text()
    assert f" maxconn {MOST} " in text
    conf.write_text(text.replace(f" maxconn {MOST} ", f" maxconn {most} "))
    async with contextlib.AsyncExitStack() as stack:
        for place in places:
            server = await asyncio.start_server(place.answer, "127.0.0.1", place.port)
            stack.push_async_callback(asyncio.sleep, 0.1)  # those who answer hear that the edge is gone
            stack.callback(place.closing.set)
            stack.callback(server.close)
        process = await asyncio.create_subprocess_exec(str(binary()), "-db", "-f", str(conf), stderr=DEVNULL)
        stack.push_async_callback(process.wait)
        stack.callback(process.terminate)
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}"))
        await until(client, lambda _: True)
        yield client


async def answering(client: httpx.AsyncClient) -> set[str]:
    """Who answers twenty requests: they are dealt in turn."""
    return {(await client.get("/anything")).text for _ in range(20)}


async def until(client: httpx.AsyncClient, is_it: Callable[[httpx.Response], bool]) -> None:
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(httpx.TransportError):
                if is_it(await client.get("/anything")):
                    return
            await asyncio.sleep(0.05)


async def test_who_drains_is_asked_no_more_while_another_serves(tmp_path: Path) -> None:
    goes, stays = Place("goes"), Place("stays")
    async with edge(tmp_path, goes, stays) as client:
        await until(client, lambda answer: answer.text == "goes")
        goes.serves = False
        async with asyncio.timeout(10):
            while await answering(client) != {"stays"}:
                await asyncio.sleep(0.05)
        assert await answering(client) == {"stays"}


@pytest.mark.parametrize("path", ["/api/v2/trading/orders/", "/api/v2/webhooks/tradingview/x"])
async def test_who_stands_alone_and_is_slow_to_answer_the_check_is_asked_all_the_same(
    tmp_path: Path, path: str
) -> None:
    """Seen on a starved machine: its only gateway was late for a check, and every request was refused for seconds."""
    alone = Place("alone", is_slow=True)
    async with edge(tmp_path, alone) as client:
        await asyncio.sleep(CHECKED_OUT)
        answers = [await client.get(path) for _ in range(20)]
        assert {(answer.status_code, answer.text) for answer in answers} == {(200, "alone")}


async def test_what_an_instance_died_with_is_sent_again_only_if_that_does_no_harm(tmp_path: Path) -> None:
    """A DELETE was: whoever sent it once heard that it had been deleted before; with its version a PUT conflicted.

    Instead of a 502 HAProxy ends a connection that had requests before.
    """
    key, deaths = {"Idempotency-Key": "wish-1"}, list[str]()
    first, second = Place("first", deaths=deaths), Place("second", deaths=deaths)
    async with edge(tmp_path, first, second) as client:
        for method, headers, again in (
            ("POST", {}, False),
            ("PUT", {}, False),
            ("DELETE", {}, False),
            ("POST", key, True),
            ("PUT", key, True),
            ("DELETE", key, True),
            ("GET", {}, True),
        ):
            async with asyncio.timeout(10):
                while len(await answering(client)) < 2:
                    await asyncio.sleep(0.05)
            before = len(first.asked) + len(second.asked)
            deaths.append(method)
            try:
                status = (await client.request(method, "/api/v2/accounts/x", headers=headers)).status_code
            except httpx.RemoteProtocolError:
                status = 502
            assert len(first.asked) + len(second.asked) - before == 1 + again, (method, headers)
            assert status == (200 if again else 502), (method, headers)


async def test_streams_take_no_request_its_place(tmp_path: Path) -> None:
    """They last for hours, and who opens one need not have said who he is: two thousand kept every order out."""
    ask = b"GET /api/v2/stream HTTP/1.1\r\nhost: x\r\nsec-websocket-version: 13\r\n" + UPGRADE
    async with edge(tmp_path, Place("gateway"), most=5) as client:
        streams = [await asyncio.open_connection("127.0.0.1", client.base_url.port) for _ in range(5)]
        for reader, writer in streams:
            writer.write(ask)
            async with asyncio.timeout(5):
                assert b" 101 " in await reader.readline()
        assert (await client.get("/api/v2/trading/orders/")).status_code == 200
        for _, writer in streams:
            writer.close()


async def test_without_any_instance_the_edge_says_when_to_try_again(tmp_path: Path) -> None:
    async with edge(tmp_path) as client:
        answer = await client.get("/api/v2/trading/orders/")
        assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, "unavailable", "1")


async def test_what_is_for_operators_stays_inside(tmp_path: Path) -> None:
    place = Place("gateway")
    async with edge(tmp_path, place) as client:
        before = len(place.asked)
        for path in ("/metrics", "/health/ready", "/internal/anything", "/%6Detrics", "/%68ealth/ready", "/%69nternal"):
            assert (await client.get(path)).status_code == 404
        assert len(place.asked) == before
