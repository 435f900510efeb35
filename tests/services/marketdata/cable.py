"""A road to a server that can be cut, in the middle of whatever goes over it."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Self
from urllib.parse import urlsplit


class Cable:
    """`async with Cable(url) as cable`: the server is at `cable.url` too, until the cable is cut."""

    def __init__(self, url: str) -> None:
        self.host, self.port = urlsplit(url).hostname, urlsplit(url).port
        self.cut = False
        self.cut_after: Callable[[bytes], bool] | None = None
        """Of what goes to the server: the cable is cut as soon as this was carried."""
        self._ends: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.sever()
        self._server.close()

    def sever(self) -> None:
        self.cut, self.cut_after = True, None
        for end in self._ends:
            end.close()

    def mend(self) -> None:
        self.cut = False

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.cut:
            writer.close()
            return
        there_reader, there_writer = await asyncio.open_connection(self.host, self.port)
        self._ends |= {writer, there_writer}
        await asyncio.gather(self._carry(reader, there_writer, there=True), self._carry(there_reader, writer))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, there: bool = False) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if self.cut:
                    break
                writer.write(data)
                if there and self.cut_after is not None:
                    await writer.drain()
                    if self.cut_after(data):
                        self.sever()
        writer.close()
        self._ends.discard(writer)
