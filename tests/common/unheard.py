"""A road to PostgreSQL on which a commit is made and its answer lost: the connection breaks in between."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

COMMIT = b"COMMIT;"


@dataclass
class Road:
    """`url` leads to the database through us. `lose_next` breaks off as soon as the next commit is made."""

    url: str
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    _losing: bool = False

    def lose_next(self) -> None:
        self._losing = True

    async def _to_server(self, client: asyncio.StreamReader, server: asyncio.StreamWriter) -> bool:
        """True when a commit is under way whose answer shall be lost."""
        while chunk := await client.read(65_536):
            server.write(chunk)
            if self._losing and COMMIT in chunk:
                self._losing = False
                return True
        return False

    async def carry(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        back = asyncio.create_task(_pass_on(server[0], client[1]))
        sending = asyncio.create_task(self._to_server(client[0], server[1]))
        try:
            await asyncio.wait({back, sending}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and sending.result():
                back.cancel()
                await asyncio.wait({back})
                await server[0].read(65_536)
                self.lost.set()
        finally:
            for task in (back, sending):
                task.cancel()
            await asyncio.gather(back, sending, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65_536):
        writer.write(chunk)


@contextlib.asynccontextmanager
async def road_to(url: str) -> AsyncIterator[Road]:
    there = urlsplit(url)
    assert there.hostname
    assert there.port
    road = Road("")
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        server = await asyncio.open_connection(there.hostname, there.port)
        try:
            await road.carry((reader, writer), server)
        finally:
            for each in (writer, server[1]):
                each.close()
            with contextlib.suppress(OSError):
                await asyncio.gather(writer.wait_closed(), server[1].wait_closed())
            tasks.discard(task)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    road.url = there._replace(netloc=there.netloc.replace(f":{there.port}", f":{port}")).geturl()
    try:
        yield road
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
