"""Redis, for tests that ask it themselves."""

import asyncio
import os
import shutil
import socket
from pathlib import Path
from typing import Self

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError as RedisConnectionError


def patient_redis() -> Redis:
    """It waits as long as it takes: services take a Redis that is slow for one that is away, and do without it. A test
    on a busy machine, or one that stops processes, cannot.
    """
    return Redis.from_url(
        os.environ["REDIS_URL"], decode_responses=True, socket_timeout=None, socket_connect_timeout=None
    )


class RedisOfOurOwn:
    """`async with RedisOfOurOwn(folder) as redis`: one at `redis.url` that nobody else needs. Whoever kills it may
    start it again: it has forgotten everything then.
    """

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self._folder = folder

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def start(self) -> None:
        program = shutil.which("redis-server")
        assert program is not None
        words = ("--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder))
        self._process = await asyncio.create_subprocess_exec(program, *words, stdout=asyncio.subprocess.DEVNULL)
        patience = Retry(ConstantBackoff(0.05), retries=200)
        async with Redis.from_url(self.url, retry=patience, retry_on_error=[RedisConnectionError]) as redis:
            await redis.ping()

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
