"""A service's HTTP side on its real store, producer and memory; it consumes nothing."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx

from libs.common import http
from libs.common.clock import Clock, SystemClock
from libs.common.messaging import admin
from libs.common.runtime import Runtime
from libs.common.service import Service
from libs.common.settings import CommonSettings, ServiceSettings
from libs.common.testing.databases import Databases

_topics_ready = False


@contextlib.asynccontextmanager
async def opened(
    service: Service[Any, Any], *, clock: Clock | None = None, database_url: str | None = None
) -> AsyncIterator[Runtime[Any, Any]]:
    """A runtime with its connections open and its outbox running, on the service's test database or another."""
    global _topics_ready
    common = CommonSettings()
    if not _topics_ready:
        await asyncio.to_thread(admin.ensure_topics, common)
        _topics_ready = True
    own = ServiceSettings(database_url=database_url or await Databases.url(service.name), port=_free_port())
    runtime = Runtime(service, common, own, clock or SystemClock())
    await runtime.open()
    await runtime.memory.open(runtime)
    outbox = asyncio.create_task(runtime.outbox.run())
    try:
        yield runtime
    finally:
        outbox.cancel()
        await asyncio.wait([outbox])
        await runtime.memory.close()
        await runtime.close()


@contextlib.asynccontextmanager
async def service_app(service: Service[Any, Any], *, clock: Clock | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service's real FastAPI application, in process."""
    async with opened(service, clock=clock) as runtime:
        transport = httpx.ASGITransport(http.build_app(runtime), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client


@contextlib.asynccontextmanager
async def served(
    service: Service[Any, Any], *, clock: Clock | None = None
) -> AsyncIterator[tuple[str, Runtime[Any, Any]]]:
    """The service listening on a free port of 127.0.0.1: its base URL, and its runtime."""
    async with opened(service, clock=clock) as runtime:
        listener = http.Listener(runtime)
        serving = asyncio.create_task(listener.run())
        base_url = f"http://127.0.0.1:{runtime.own_settings.port}"
        async with httpx.AsyncClient() as client:
            await _until_up(client, base_url)
        try:
            yield base_url, runtime
        finally:
            await listener.stop()
            serving.cancel()
            await asyncio.wait([serving])


async def _until_up(client: httpx.AsyncClient, base_url: str) -> None:
    for _ in range(100):
        try:
            await client.get(f"{base_url}/health/live")
        except httpx.ConnectError:
            await asyncio.sleep(0.05)
        else:
            return
    raise TimeoutError(f"{base_url} does not answer")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
