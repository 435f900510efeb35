"""A port that leads to a server, for as long as a test wants it to: afterwards whoever uses it is cut off."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

Join = Callable[[socket.socket, socket.socket], Awaitable[None]]
"""What is done with a caller's connection and the one that was opened to the server for it."""
Carry = Callable[[socket.socket, socket.socket], Coroutine[Any, Any, None]]
"""What is done with all that comes from the one for the other."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def forwarding(host: str, to: int, port: int = 0, join: Join | None = None) -> AsyncIterator[int]:
    """What listens at `to` answers at the port that is given, or else at a free one; which that is.

    Plain sockets, each closed by the stack from the moment it exists: of asyncio's streams one that is accepted at the
    very end is nobody's, and is found unclosed in some later test.
    """
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", port)))
        listener.setblocking(False)
        tasks: set[asyncio.Task[None]] = set()

        async def serve(here: socket.socket, there: socket.socket) -> None:
            with contextlib.closing(here), contextlib.closing(there), contextlib.suppress(OSError):
                await loop.sock_connect(there, (host, to))
                await (join or _both_ways)(here, there)

        def accept() -> None:
            here = opened.enter_context(listener.accept()[0])
            there = opened.enter_context(socket.socket())
            here.setblocking(False)
            there.setblocking(False)
            tasks.add(loop.create_task(serve(here, there)))

        loop.add_reader(listener, accept)
        try:
            yield listener.getsockname()[1]
        finally:
            loop.remove_reader(listener)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def until_silent(silent: asyncio.Event, back: Carry | None = None) -> Join:
    """Both ways, until it is `silent`: nothing more is carried then on the connections there are, and nobody is told of
    it. New ones are carried as ever. `back` carries from the server to the caller, if it is more than that.
    """

    async def join(here: socket.socket, there: socket.socket) -> None:
        was_silent = silent.is_set()
        async with asyncio.TaskGroup() as ways:
            both = [ways.create_task(carry(here, there)), ways.create_task((back or carry)(there, here))]
            if not was_silent:
                await silent.wait()
                for way in both:
                    way.cancel()
                await asyncio.Event().wait()

    return join


async def _both_ways(here: socket.socket, there: socket.socket) -> None:
    async with asyncio.TaskGroup() as ways:
        ways.create_task(carry(here, there))
        ways.create_task(carry(there, here))


async def carry(source: socket.socket, sink: socket.socket) -> None:
    """All that comes, and that no more will."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        while some := await loop.sock_recv(source, 65_536):
            await loop.sock_sendall(sink, some)
        sink.shutdown(socket.SHUT_WR)
