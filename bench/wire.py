"""The leanest HTTP/1.1 client that can load a server: keep-alive connections, prepared requests, bytes in and out.

It shares two cores with what it measures, so it reads of an answer only its status and its length.
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable
from typing import cast
from urllib.parse import urlsplit

import orjson

from libs.common.clock import stopwatch

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
LOST = 0
"""The status of a request whose connection broke before its answer."""

LONGEST_IDLE = 2.0
CALL_SECONDS = 30.0

Answered = Callable[[int, bytes], None]


class Connection(asyncio.Protocol):
    """One request at a time; says to its pool when it is free again."""

    def __init__(self, pool: "Pool") -> None:
        self.pool = pool
        self.transport: asyncio.Transport | None = None
        self.received = b""
        self.answered: Answered | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.pool.connections.add(self)

    def send(self, request: bytes, answered: Answered) -> None:
        assert self.transport is not None
        self.answered = answered
        self.transport.write(request)

    def close(self) -> None:
        if self.transport:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        self.received = received = self.received + data if self.received else data
        head = received.find(b"\r\n\r\n")
        if head < 0:
            return
        length = LENGTH.search(received, 0, head)
        end = head + 4 + (int(length[1]) if length else 0)
        if len(received) < end:
            return
        self.received = b""
        self._finish(int(received[9:12]), received[head + 4 : end])
        self.pool.release(self)

    def connection_lost(self, _: Exception | None) -> None:
        self.pool.forget(self)
        self._finish(LOST, b"")

    def _finish(self, status: int, body: bytes) -> None:
        answered, self.answered = self.answered, None
        if answered:
            answered(status, body)


class Pool:
    """Keep-alive connections to one server, the last used first, opened when they are needed.

    A request that finds none free waits its turn, and its latency counts. A connection that was idle for long is not
    used again: the server may be closing it just then.
    """

    def __init__(self, url: str, size: int) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self.size = size
        self.open = 0
        self.free: list[tuple[Connection, float]] = []
        self.waiting: deque[tuple[bytes, Answered]] = deque()
        self.opening: set[asyncio.Task[None]] = set()
        self.connections: set[Connection] = set()

    async def __aenter__(self) -> "Pool":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.waiting.clear()
        for task in self.opening:
            task.cancel()
        for idle, _since in self.free:
            idle.close()

    def send(self, content: bytes, answered: Answered) -> None:
        fresh = stopwatch() - LONGEST_IDLE
        while self.free:
            connection, since = self.free.pop()
            if since > fresh:
                connection.send(content, answered)
                return
            connection.close()
        self.waiting.append((content, answered))
        self._open_one()

    def give_up(self, answered: Answered) -> None:
        """Nobody waits for this answer any more: a request that still waits its turn is not sent, a sent one is hung up
        on. `answered` is not called.
        """
        self.waiting = deque(each for each in self.waiting if each[1] is not answered)
        for connection in self.connections:
            if connection.answered is answered:
                connection.answered = None
                connection.close()

    async def call(self, content: bytes) -> tuple[int, bytes]:
        """One request by itself, for a caller that waits."""
        done: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

        def answered(status: int, body: bytes) -> None:
            if not done.done():
                done.set_result((status, body))

        self.send(content, answered)
        async with asyncio.timeout(CALL_SECONDS):
            return await done

    def release(self, connection: Connection) -> None:
        if self.waiting:
            connection.send(*self.waiting.popleft())
        else:
            self.free.append((connection, stopwatch()))

    def forget(self, connection: Connection) -> None:
        self.open -= 1
        self.connections.discard(connection)
        self.free = [(each, since) for each, since in self.free if each is not connection]
        if self.waiting:
            self._open_one()

    def _open_one(self) -> None:
        if self.open >= self.size:
            return
        self.open += 1
        task = asyncio.get_running_loop().create_task(self._connect())
        self.opening.add(task)
        task.add_done_callback(self.opening.discard)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                _, connection = await loop.create_connection(lambda: Connection(self), self.host, self.port)
            except OSError:
                await asyncio.sleep(0.2)
            else:
                self.release(connection)
                return


def request(method: str, path: str, headers: dict[str, str], body: object = None) -> bytes:
    """The bytes of a request, made before the clock runs."""
    content = b"" if body is None else orjson.dumps(body, default=str)
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(content)}"]
    if content:
        lines.append("content-type: application/json")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content
