"""`python -m bench.listener`: WebSocket clients in a process of their own, that count messages and read few of them.

It prints one line of JSON when it is told (by a line on its standard input) to begin, and to end, a measurement. It
shares the cores with what it measures, so a message costs it little: it is counted by the bytes that each begins with,
and one in SAMPLED chunks is read for the time of its price.
"""

import asyncio
import base64
import functools
import os
import resource
import sys
from datetime import datetime
from typing import cast
from urllib.parse import urlsplit

import orjson
import uvloop

from bench.latency import percentiles
from libs.common.clock import SystemClock

MARK = b'{"type":"event"'
AT = b'"at":"'
ADMITTED = b'"type":"authenticated"'
SAMPLED = 7
TOGETHER = 50


class Listener(asyncio.Protocol):
    """One connection: shakes hands, says what it was given, counts what comes."""

    def __init__(self, path: str, wishes: list[bytes], tally: "Tally") -> None:
        self.tally = tally
        self.wishes = wishes
        self.path = path
        self.open = asyncio.get_running_loop().create_future()
        self.tail = b""
        self.chunks = 0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        key = base64.b64encode(os.urandom(16)).decode()
        self.transport.write(
            f"GET {self.path} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        if not self.open.done():
            head, end, data = data.partition(b"\r\n\r\n")
            if not end or b" 101 " not in head[:20]:
                self.open.set_exception(ConnectionError(head[:200].decode(errors="replace")))
                return
            self.open.set_result(None)
            for wish in self.wishes:
                self.transport.write(masked(wish))
        data = self.tail + data
        self.tally.messages += data.count(MARK)
        self.tally.admitted += data.count(ADMITTED)
        # The mark may be cut in two by the end of a chunk; fewer bytes than it has cannot be counted twice.
        self.tail = data[-(len(MARK) - 1) :]
        self.chunks += 1
        if self.chunks % SAMPLED == 0:
            self.tally.sample(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.tally.lost += 1
        if not self.open.done():
            self.open.set_exception(ConnectionError("closed"))


class Tally:
    def __init__(self) -> None:
        self.messages = 0
        self.lost = 0
        self.admitted = 0
        self.latencies: list[float] = []
        self.clock = SystemClock()

    def sample(self, data: bytes) -> None:
        """The age of the last price in this chunk: of those that were written together, the one that waited least, so
        also of the first, which waited longest."""
        now = self.clock.now()
        for place in (data.find(AT), data.rfind(AT)):
            end = data.find(b'"', place + len(AT))
            if place >= 0 and end > 0:
                at = datetime.fromisoformat(data[place + len(AT) : end].decode())
                self.latencies.append((now - at).total_seconds())


def masked(payload: bytes) -> bytes:
    """A client's text frame. The mask is zero: the server must unmask, and need not."""
    size = len(payload)
    length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return b"\x81" + length + b"\0\0\0\0" + payload


async def main() -> None:
    """The first line on standard input: {"url", "clients": [[wish, …], …]}; then one line for each reading."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    loop = asyncio.get_running_loop()
    asked = orjson.loads(await asyncio.to_thread(sys.stdin.readline))
    url = urlsplit(asked["url"])
    tally = Tally()
    for n in range(0, len(asked["clients"]), TOGETHER):
        opening = [
            loop.create_connection(
                functools.partial(Listener, url.path, [orjson.dumps(wish) for wish in wishes], tally),
                url.hostname,
                url.port,
            )
            for wishes in asked["clients"][n : n + TOGETHER]
        ]
        for _, listener in await asyncio.gather(*opening):
            await listener.open
    began = loop.time()
    while True:
        print(
            orjson.dumps(
                {
                    "messages": tally.messages,
                    "seconds": loop.time() - began,
                    "lost": tally.lost,
                    "admitted": tally.admitted,
                    "cpu_s": sum(os.times()[:2]),
                    **percentiles(tally.latencies),
                }
            ).decode(),
            flush=True,
        )
        tally.latencies = []
        if not await asyncio.to_thread(sys.stdin.readline):
            return


if __name__ == "__main__":
    uvloop.run(main())
