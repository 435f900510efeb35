"""A WebSocket connection whose client is slow on purpose: what it holds of us, and for how long."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from libs.common import websocket
from libs.common.websocket import WRITE_BUFFER, WebSocket, text_frame

UPGRADE = (
    b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
)
PING = b"\x89\xfd\x00\x00\x00\x00" + b"x" * 125
CLOSE = b"\x88\x80\x00\x00\x00\x00"
SMALL = 16_384


def long_text(size: int) -> bytes:
    """The beginning of a text frame of so many bytes."""
    return b"\x81\xff" + size.to_bytes(8) + b"\x00\x00\x00\x00"


@dataclass
class Listener:
    """What our side of the connection is told."""

    socket: WebSocket | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)
    heard_texts: list[str] = field(default_factory=list)

    def heard(self, text: str) -> None:
        self.heard_texts.append(text)

    def writable(self) -> None: ...

    def ended(self) -> None:
        self.over.set()

    @property
    def transport(self) -> asyncio.Transport:
        assert self.socket is not None
        return self.socket._transport


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[tuple[Listener, socket.socket]]:
    """A connection whose buffers in the kernel are small; nothing is read from the client's but by the test."""
    listener, loop = Listener(), asyncio.get_running_loop()

    def begin(made: WebSocket, _: str) -> Listener:
        listener.socket = made
        made._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        return listener

    state = SimpleNamespace(connections=set())
    server = await loop.create_server(
        lambda: WebSocket(begin, config=None, server_state=state, app_state={}), "127.0.0.1", 0
    )
    with contextlib.closing(socket.socket()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        client.setblocking(False)
        await loop.sock_connect(client, server.sockets[0].getsockname())
        await loop.sock_sendall(client, UPGRADE)
        assert (await loop.sock_recv(client, 4096)).startswith(b"HTTP/1.1 101 ")
        yield listener, client
    server.close()
    await asyncio.wait_for(listener.over.wait(), 5)


async def test_who_pings_and_does_not_read_is_not_read_either() -> None:
    async with connected() as (listener, client):
        sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(client, PING * 100_000))
        done, _ = await asyncio.wait({sending}, timeout=2)
        held = listener.transport.get_write_buffer_size()
        assert not done, f"he was heard to the end, and his answers wait here: {held} bytes"
        assert held < 4 * WRITE_BUFFER
        sending.cancel()
        await asyncio.wait({sending})


async def test_who_reads_again_is_heard_again() -> None:
    async with connected() as (listener, client):
        loop = asyncio.get_running_loop()
        sending = asyncio.create_task(loop.sock_sendall(client, PING * 20_000 + b"\x81\x82\x00\x00\x00\x00hi"))
        await asyncio.wait({sending}, timeout=0.5)
        async with asyncio.timeout(20):
            while not listener.heard_texts:
                await loop.sock_recv(client, 1_000_000)
        await sending
        assert listener.heard_texts == ["hi"]


async def test_who_says_goodbye_and_does_not_take_what_is_left_is_gone_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "CLOSING_SECONDS", 0.2)
    async with connected() as (listener, client):
        assert listener.socket is not None
        listener.socket.write(text_frame(b"x" * (WRITE_BUFFER - 1000)))
        assert listener.transport.get_write_buffer_size()
        await asyncio.get_running_loop().sock_sendall(client, CLOSE)
        await asyncio.wait_for(listener.over.wait(), 5)


async def test_a_text_in_pieces_without_anything_in_them_fills_no_memory() -> None:
    """Its length is bounded, the number of its pieces was not."""
    async with connected() as (listener, client):
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, b"\x01\x81\x00\x00\x00\x00h" + b"\x00\x80\x00\x00\x00\x00" * 10_000 + PING)
        while not await loop.sock_recv(client, 4096):
            pass
        assert listener.socket is not None
        assert len(listener.socket._parts) == 1
        await loop.sock_sendall(client, b"\x80\x81\x00\x00\x00\x00i" + PING)
        while not listener.heard_texts:
            await loop.sock_recv(client, 4096)
        assert listener.heard_texts == ["hi"]


async def test_who_says_much_before_he_says_who_he_is_is_not_waited_for() -> None:
    """Anybody may connect: each could leave a quarter of a megabyte here."""
    async with connected() as (_, client):
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, long_text(200_000))
        async with asyncio.timeout(5):
            told = await loop.sock_recv(client, 4096)
        assert (told[0], int.from_bytes(told[2:4])) == (0x88, 1009)


async def test_a_long_message_right_behind_the_first_is_heard() -> None:
    async with connected() as (listener, client):
        first, long = b"\x81\x82\x00\x00\x00\x00hi", long_text(200_000) + b"x" * 200_000
        await asyncio.get_running_loop().sock_sendall(client, first + long)
        async with asyncio.timeout(20):
            while len(listener.heard_texts) < 2:
                await asyncio.sleep(0.01)
        assert [len(text) for text in listener.heard_texts] == [2, 200_000]
