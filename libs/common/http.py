"""Every service's HTTP listener: liveness, readiness, metrics, and the service's own routes."""

import asyncio
import contextlib
import functools
import resource
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.common import problems
from libs.common.connections import Bounds, Connection, Unfinished
from libs.common.runtime import Runtime
from libs.common.telemetry import continue_trace, trace

DRAIN_SECONDS = 5
BACKLOG = 4096
"""Connections that wait to be accepted, as many as kernels allow: whoever finds no room there waits for a second."""
ACCEPTED_AT_ONCE = 32
"""Connections, in a turn of the loop. libuv accepts one for each socket that listens, and a turn that handles a batch
takes milliseconds: who connected together with hundreds, as after a restart, waited for seconds.
"""
IDLE_SECONDS = 75
"""How long a connection may idle: longer than edges keep theirs, so that none is closed just when it is used again."""
NOTICE_SECONDS = 1.0
"""How long a service that drains still takes requests: within it the edge asks whether we are ready, and hears no."""


class Tracing:
    """Continue the caller's W3C trace, so that one id leads from the request to the last event."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            parent = next((v.decode("latin-1") for k, v in scope["headers"] if k == b"traceparent"), None)
            trace.set(continue_trace(parent))
        await self.app(scope, receive, send)


class Heads:
    """HEAD is GET, whose answer the server sends without its body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_head = scope["type"] == "http" and scope["method"] == "HEAD"
        await self.app({**scope, "method": "GET"} if is_head else scope, receive, send)


class Draining:
    """Ask those who keep their connections open to go elsewhere, as soon as we shall stop."""

    def __init__(self, app: ASGIApp, stopping: asyncio.Event) -> None:
        self.app = app
        self.stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_and_part(message: Message) -> None:
            if message["type"] == "http.response.start" and self.stopping.is_set():
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await self.app(scope, receive, send_and_part)


def build_app(runtime: Runtime[Any, Any]) -> Starlette:
    """The service's application, without a server around it."""
    app = _with_routes(runtime)
    app.router.routes.extend(_health(runtime))
    problems.install(app)
    app.add_middleware(Heads)
    app.add_middleware(Tracing)
    app.add_middleware(Draining, stopping=runtime.stopping)
    if runtime.service.entrance:
        inner = app.router.middleware_stack
        app.router.middleware_stack = runtime.service.entrance(runtime, inner)  # type: ignore[assignment]  # a coroutine
    return app


def _with_routes(runtime: Runtime[Any, Any]) -> Starlette:
    routes = runtime.service.routes
    if routes is None:
        return Starlette()
    from libs.common import api  # FastAPI, a fifth of a start: who has no routes does without it

    return api.application(runtime.service.name, routes(runtime))


def _health(runtime: Runtime[Any, Any]) -> list[Route]:
    name = runtime.service.name

    async def live(_: Request) -> Response:
        """The process answers. One that hangs need not be asked: it ends itself (libs/common/watchdog.py)."""
        return JSONResponse({"status": "live", "service": name})

    async def ready(_: Request) -> Response:
        """Consuming, and the servers that no service can do without answer."""
        parts = runtime.ready | dict.fromkeys(runtime.held_up, False)
        checks = {**parts, **await runtime.servers(), "running": not runtime.stopping.is_set()}
        good = all(checks.values())
        told = {"status": "ready" if good else "not ready", "service": name, "checks": checks}
        return JSONResponse(told, 200 if good else 503)

    async def serving(_: Request) -> Response:
        """For the edge: ready, and not draining. What all instances need may be away: then each answers that itself."""
        good = all(runtime.ready.values()) and not runtime.stopping.is_set()
        return JSONResponse({"status": "serving" if good else "not serving", "service": name}, 200 if good else 503)

    async def metrics(_: Request) -> Response:
        """Prometheus text."""
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return [
        Route("/health/live", live),
        Route("/health/ready", ready),
        Route("/health/serving", serving),
        Route("/metrics", metrics),
    ]


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """To its end, also when it is cancelled: what listens by then has to be known, to be closed."""
        starting = asyncio.ensure_future(super().startup(sockets))
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            await starting
            raise

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The runtime owns the signals; uvicorn must not take them."""
        yield


def _sockets(runtime: Runtime[Any, Any]) -> Any:
    """What uvicorn is to make of a request to upgrade: a factory of protocols, or nothing."""
    if runtime.service.sockets is None:
        return "none"
    from libs.common.websocket import WebSocket  # with the library that speaks the protocol

    return functools.partial(WebSocket, runtime.service.sockets(runtime))


def _listening(host: str, port: int) -> list[socket.socket]:
    """One socket, by as many names as connections are to be accepted at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    first = socket.create_server((host, port), family=family, backlog=BACKLOG)
    return [first, *(first.dup() for _ in range(ACCEPTED_AT_ONCE - 1))]


def descriptors() -> int:
    """How many this process may open; as many as the machine lets it: what it starts with is often 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


class Listener:
    """Serves the app until drained: refuses new connections, lets running requests end."""

    def __init__(self, runtime: Runtime[Any, Any]) -> None:
        own = runtime.own_settings
        self._is_asked = bool(runtime.service.routes or runtime.service.sockets)
        self._unfinished = Unfinished(
            Bounds(
                seconds=own.request_s,
                most=own.unfinished_requests,
                most_at_once=min(own.unfinished_at_once, descriptors() // 2),
                most_bytes=own.unfinished_bytes,
                grace=own.unfinished_grace_s,
                untaken=own.untaken_s,
                most_untaken=own.untaken_bytes,
            )
        )
        config = uvicorn.Config(
            build_app(runtime),
            http=functools.partial(Connection, self._unfinished),  # type: ignore[arg-type]  # a class that makes them
            ws=_sockets(runtime),
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            forwarded_allow_ips=own.trusted_proxies,
            timeout_graceful_shutdown=DRAIN_SECONDS,
            timeout_keep_alive=IDLE_SECONDS,
            backlog=BACKLOG,
        )
        self._address = own.host, own.port
        self._server = _Server(config)
        self._server.servers = []  # until it has started
        self._served = asyncio.Event()

    async def run(self) -> None:
        sockets: list[socket.socket] = []
        try:
            sockets += _listening(*self._address)
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._unfinished.watch(), name="unfinished requests")
                await self._server.serve(sockets)
                watching.cancel()
        finally:
            for server in self._server.servers:
                server.close()
            for each in sockets:
                each.close()
            self._served.set()
        if self._server.should_exit:
            await asyncio.Event().wait()

    async def drain(self) -> None:
        """Go on until the edge sends nothing new, then end what is in hand."""
        if self._is_asked:
            await asyncio.sleep(NOTICE_SECONDS)
        await self.stop()

    async def stop(self) -> None:
        """Stop accepting and wait for the requests in hand, at most DRAIN_SECONDS."""
        self._server.should_exit = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._served.wait(), DRAIN_SECONDS + 1)
