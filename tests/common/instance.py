"""A test's ledger as a process of its own."""

import asyncio
import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

import httpx

from libs.common.process import run
from libs.common.service import every
from tests.common import crashes, hanging
from tests.common.forwarding import free_port
from tests.common.led import led
from tests.common.ledger import Ledger, audit

ROOT = Path(__file__).resolve().parents[2]
FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(["tests.common.instance", "tests.services.trading.process"])


def main(name: str, url: str, port: str, number: str) -> None:
    prefix = name.upper()
    os.environ.update(
        {f"{prefix}_DATABASE_URL": url, f"{prefix}_PORT": port, "INSTANCE_ID": number, "LOG_LEVEL": "INFO"}
    )
    if point := os.environ.get("CRASH_AT"):
        crashes.POINTS[point]()
    hanging.prepare()
    service = Ledger(name, url).service
    if os.environ.get("TIMED"):
        service = replace(service, timers=[every(0.2, audit)])
    run(led(service) if os.environ.get("LED") else service)


class Process:
    """An instance that a test may kill, stop and start. It is forked of one that has imported everything already."""

    def __init__(self, name: str, url: str, number: int, module: str = "tests.common.instance") -> None:
        self._module = module
        self._words = (name, url, str(free_port()), str(number))
        self._running: ForkServerProcess | None = None

    @property
    def pid(self) -> int:
        assert self._process.pid, "it is still being started: a signal would go to all of us"
        return self._process.pid

    @property
    def _process(self) -> ForkServerProcess:
        assert self._running, "it was not started"
        return self._running

    async def start(self, **environment: str) -> None:
        """Returns when it is ready, or has ended."""
        known = (self._module, self._words, dict(os.environ) | environment, Outputs())
        self._running = FORKS.Process(target=_run, args=known)
        await asyncio.to_thread(self._running.start)
        async with asyncio.timeout(60), httpx.AsyncClient(trust_env=False) as client:
            while self._running.is_alive() and not await self._tells(client):
                await asyncio.sleep(0.02)

    async def is_ready(self) -> bool:
        async with httpx.AsyncClient(trust_env=False) as client:
            return await self._tells(client)

    async def tells(self, what: str) -> dict[str, Any]:
        """Of its health: `ready` or `serving`."""
        async with httpx.AsyncClient(trust_env=False) as client:
            told: dict[str, Any] = (await client.get(f"http://127.0.0.1:{self._words[2]}/health/{what}")).json()
            return told

    async def _tells(self, client: httpx.AsyncClient) -> bool:
        try:
            return (await client.get(f"http://127.0.0.1:{self._words[2]}/health/ready")).is_success
        except httpx.HTTPError:
            return False

    async def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    async def ended(self, seconds: float = 30) -> int:
        """Its exit status."""
        await asyncio.to_thread(self._process.join, seconds)
        if self._process.exitcode is None:
            raise TimeoutError(f"it did not end within {seconds} s")
        return self._process.exitcode

    def end(self) -> None:
        if self._running and self._running.is_alive():
            self._running.kill()
            self._running.join(10)


class Outputs:
    """Where this process writes to: a test has outputs of its own, which the one that forks has never heard of."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Any, ...]]:
        return _write_there, (DupFd(1), DupFd(2))


def _write_there(out: Any, err: Any) -> None:
    for number, theirs in ((1, out), (2, err)):
        os.dup2(theirs.detach(), number)


def _run(module: str, words: Sequence[str], environment: dict[str, str], _: None) -> None:
    os.environ.clear()
    os.environ.update(environment)
    importlib.import_module(module).main(*words)
