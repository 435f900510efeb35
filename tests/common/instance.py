"""A test's ledger as a process of its own: python -m tests.common.instance <name> <url> <port> <number>"""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import httpx
import uvloop

from tests.common.forwarding import free_port

ROOT = Path(__file__).resolve().parents[2]


def main(name: str, url: str, port: str, number: str) -> None:
    prefix = name.upper()
    os.environ.update(
        {f"{prefix}_DATABASE_URL": url, f"{prefix}_PORT": port, "INSTANCE_ID": number, "LOG_LEVEL": "INFO"}
    )
    from libs.common.process import serve
    from tests.common import crashes, hanging
    from tests.common.led import led
    from tests.common.ledger import Ledger

    if point := os.environ.get("CRASH_AT"):
        crashes.POINTS[point]()
    hanging.prepare()
    service = Ledger(name, url).service
    uvloop.run(serve(led(service) if os.environ.get("LED") else service))


class Process:
    """An instance that a test may kill, stop and start."""

    def __init__(self, name: str, url: str, number: int, module: str = "tests.common.instance") -> None:
        self._module = module
        self._words = (name, url, str(free_port()), str(number))
        self._running: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._running, "it was not started"
        return self._running.pid

    async def start(self, **environment: str) -> None:
        """Returns when it is ready, or has ended."""
        command = (sys.executable, "-m", self._module, *self._words)
        self._running = await asyncio.to_thread(subprocess.Popen, command, cwd=ROOT, env=os.environ | environment)
        async with asyncio.timeout(60), httpx.AsyncClient(trust_env=False) as client:
            while self._running.poll() is None and not await self._tells(client):
                await asyncio.sleep(0.02)

    async def is_ready(self) -> bool:
        async with httpx.AsyncClient(trust_env=False) as client:
            return await self._tells(client)

    async def _tells(self, client: httpx.AsyncClient) -> bool:
        try:
            return (await client.get(f"http://127.0.0.1:{self._words[2]}/health/ready")).is_success
        except httpx.HTTPError:
            return False

    async def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    async def ended(self, seconds: float = 30) -> int:
        """Its exit status."""
        assert self._running, "it was not started"
        return await asyncio.to_thread(self._running.wait, seconds)

    def end(self) -> None:
        if self._running and self._running.poll() is None:
            self._running.kill()
            self._running.wait(10)


if __name__ == "__main__":
    main(*sys.argv[1:])
