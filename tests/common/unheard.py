"""A road to PostgreSQL on which a commit is made and its answer lost: the connection breaks in between."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.common.forwarding import carry, forwarding

COMMIT = b"COMMIT"


@dataclass
class Road:
    """`url` leads to the database through us. `lose_next` breaks off as soon as the next commit is made, or later."""

    url: str
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    is_cut_off: asyncio.Event = field(default_factory=asyncio.Event)
    _losing: bool = False
    _until: asyncio.Event | None = None
    _commit_at: asyncio.Event | None = None

    def lose_next(self, until: asyncio.Event | None = None) -> None:
        """Its caller hears nothing, and not before `until` that the connection is broken."""
        self._losing, self._until = True, until

    def delay_next(self, until: asyncio.Event) -> None:
        """Its caller is cut off at once, and the commit made only then."""
        self._losing, self._commit_at = True, until

    async def join(self, client: socket.socket, server: socket.socket) -> None:
        """Nothing is carried back any more before the commit is sent whose answer shall be lost."""
        loop = asyncio.get_running_loop()
        back = asyncio.create_task(carry(server, client))
        try:
            while chunk := await loop.sock_recv(client, 65_536):
                if losing := self._losing and COMMIT in chunk:
                    self._losing = False
                    back.cancel()
                    await asyncio.wait({back})
                    if self._commit_at:
                        client.shutdown(socket.SHUT_RDWR)
                        self.is_cut_off.set()
                        await self._commit_at.wait()
                await loop.sock_sendall(server, chunk)
                if losing:
                    await loop.sock_recv(server, 65_536)
                    self.lost.set()
                    if self._until:
                        await self._until.wait()
                    return
        finally:
            back.cancel()
            await asyncio.gather(back, return_exceptions=True)


@contextlib.asynccontextmanager
async def road_to(url: str) -> AsyncIterator[Road]:
    there = urlsplit(url)
    assert there.hostname
    assert there.port
    road = Road("")
    async with forwarding(there.hostname, there.port, join=road.join) as port:
        road.url = there._replace(netloc=there.netloc.replace(f":{there.port}", f":{port}")).geturl()
        yield road
