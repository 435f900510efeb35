"""A road to PostgreSQL on which a commit is made and its answer lost: the connection breaks in between."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.common.forwarding import carry, forwarding

COMMIT = b"COMMIT;"


@dataclass
class Road:
    """`url` leads to the database through us. `lose_next` breaks off as soon as the next commit is made."""

    url: str
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    _losing: bool = False

    def lose_next(self) -> None:
        self._losing = True

    async def _to_server(self, client: socket.socket, server: socket.socket) -> bool:
        """True when a commit is under way whose answer shall be lost."""
        loop = asyncio.get_running_loop()
        while chunk := await loop.sock_recv(client, 65_536):
            await loop.sock_sendall(server, chunk)
            if self._losing and COMMIT in chunk:
                self._losing = False
                return True
        return False

    async def join(self, client: socket.socket, server: socket.socket) -> None:
        back = asyncio.create_task(carry(server, client))
        sending = asyncio.create_task(self._to_server(client, server))
        try:
            await asyncio.wait({back, sending}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and sending.result():
                back.cancel()
                await asyncio.wait({back})
                await asyncio.get_running_loop().sock_recv(server, 65_536)
                self.lost.set()
        finally:
            for task in (back, sending):
                task.cancel()
            await asyncio.gather(back, sending, return_exceptions=True)


@contextlib.asynccontextmanager
async def road_to(url: str) -> AsyncIterator[Road]:
    there = urlsplit(url)
    assert there.hostname
    assert there.port
    road = Road("")
    async with forwarding(there.hostname, there.port, join=road.join) as port:
        road.url = there._replace(netloc=there.netloc.replace(f":{there.port}", f":{port}")).geturl()
        yield road
