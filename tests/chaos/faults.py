"""What is done to the stack. Everything is by process id, found with the supervisor; nothing is waited for."""

import asyncio
import contextlib
import os
import resource
import shutil
import signal
from collections.abc import AsyncIterator, Callable

import psutil

from deploy.local.instance import SERVERS
from deploy.local.stack import Stack
from libs.common.clock import stopwatch

SOON = 60.0


def program(service: str, number: int = 0) -> str:
    """The supervisor's name of an instance: the first one's is the service's."""
    return f"{service}-{number}" if number else service


def group(name: str) -> str:
    if name in SERVERS:
        return "servers"
    return name if "-" in name else "services"


class Faults:
    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.supervisor = stack.supervisor

    async def pid(self, name: str) -> int:
        """Waits out the moment in which the supervisor is starting it again."""
        async with asyncio.timeout(SOON):
            while not (pid := (await asyncio.to_thread(self.supervisor.pids)).get(name)):
                await asyncio.sleep(0.05)
        return pid

    async def kill(self, name: str) -> float:
        """`kill -9`; when it was. The supervisor starts a service's first instance, and every server, again."""
        pid = await self.pid(name)
        os.kill(pid, signal.SIGKILL)
        return stopwatch()

    async def take_away(self, name: str) -> float:
        """`kill -9`, and nobody starts it again until it is brought back; when it was."""
        at = stopwatch()
        await asyncio.to_thread(self.supervisor.end, group(name), name)
        return at

    async def bring_back(self, name: str) -> float:
        """When it was started: it is not ready yet."""
        at = stopwatch()
        await asyncio.to_thread(self.supervisor.start, group(name), name)
        return at

    async def forget_redis(self) -> None:
        """Redis has no data after this, whatever it wrote."""
        home = self.stack.instance.home / "redis"
        for path in home.iterdir():
            await asyncio.to_thread(shutil.rmtree if path.is_dir() else os.remove, path)

    async def ready(self, service: str, number: int = 0) -> None:
        await self._until(lambda: self.stack.ready(service, number), f"{program(service, number)} is not ready")

    async def answers(self, server: str) -> None:
        await self._until(lambda: self.stack.answers(server), f"{server} does not answer")

    async def _until(self, there: Callable[[], bool], complaint: str) -> None:
        deadline = stopwatch() + SOON
        while not await asyncio.to_thread(there):
            if stopwatch() > deadline:
                raise TimeoutError(f"{complaint} after {SOON:.0f} s")
            await asyncio.sleep(0.1)

    @contextlib.asynccontextmanager
    async def frozen(self, name: str) -> AsyncIterator[int]:
        """A zombie: stopped by SIGSTOP within, going on as if nothing had happened after."""
        pid = await self.pid(name)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    @contextlib.asynccontextmanager
    async def full_disk(self, name: str, room: int) -> AsyncIterator[None]:
        """No file grows beyond `room` bytes, for the process that runs and for whichever is started in its place."""

        async def limit(most: int) -> None:
            process = psutil.Process(await self.pid(name))
            with contextlib.suppress(psutil.NoSuchProcess):
                _, hard = process.rlimit(resource.RLIMIT_FSIZE)  # which only some may raise again
                process.rlimit(resource.RLIMIT_FSIZE, (most, hard))

        async def keep_full() -> None:
            while True:
                await limit(room)
                await asyncio.sleep(0.05)

        keeping = asyncio.create_task(keep_full())
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])
            await limit(resource.RLIM_INFINITY)

    @contextlib.asynccontextmanager
    async def more(self, *instances: tuple[str, int]) -> AsyncIterator[None]:
        """Further instances of services, removed after."""
        try:
            await asyncio.to_thread(self.stack.add, *instances)
            yield
        finally:
            await asyncio.to_thread(self.stack.remove, *instances)
