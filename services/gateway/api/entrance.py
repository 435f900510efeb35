"""Where every request enters and every answer leaves: security headers, the body limit, refusals in an overload."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TypeAlias

from fastapi import Request, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.common.connections import allow
from libs.common.problems import file_too_large
from services.gateway.api.edge import Edge

Refusal: TypeAlias = Callable[[Edge, Request], Awaitable[Response | None]]

MAX_BODY = 1_048_576
_MOST = "most_body"
_PREFLIGHT = [
    (b"access-control-allow-methods", b"GET, POST, PUT, DELETE"),
    (b"access-control-allow-headers", b"Authorization, Content-Type, Idempotency-Key, X-API-Key"),
    (b"access-control-max-age", b"600"),
]
_READABLE = (b"access-control-expose-headers", b"Content-Disposition, Idempotency-Replayed, Location, Retry-After")
"""What a page of another origin may read of our headers; browsers hide the others from it."""
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"strict-transport-security", b"max-age=31536000"),
]


class Entrance:
    """While there is too much to do, or Kafka is away, a path of `refusals` is asked first whether it refuses a
    request. The machinery of the routes would cost as much for each of thousands as all that is decided.
    """

    def __init__(self, app: ASGIApp, edge: Edge, refusals: Mapping[str, Refusal]) -> None:
        self._app = app
        self._edge = edge
        self._refusals = refusals
        self._origins = {origin.strip() for origin in edge.settings.cors_origins.split(",") if origin.strip()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["edge"] = self._edge
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        extra = _HEADERS
        if self._origins and headers.get(b"origin", b"").decode("latin-1") in self._origins:
            extra = [*_HEADERS, (b"access-control-allow-origin", headers[b"origin"]), (b"vary", b"Origin"), _READABLE]
            if scope["method"] == "OPTIONS":
                await send({"type": "http.response.start", "status": 204, "headers": [*extra, *_PREFLIGHT]})
                await send({"type": "http.response.body", "body": b""})
                return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        is_short = _is_short(headers)
        if is_short and self._edge.turns_orders_away and (refuses := self._refusals.get(scope["path"])):
            request = Request(scope, receive)
            receive = _again(await request.body(), receive)
            if (refusal := await refuses(self._edge, request)) is not None:
                await refusal(scope, receive, send_with_headers)
                return
        await self._app(scope, receive if is_short else _limited(scope, headers, receive), send_with_headers)


def _is_short(headers: dict[bytes, bytes]) -> bool:
    announced = headers.get(b"content-length", b"")
    return announced.isdigit() and int(announced) <= MAX_BODY


def _again(body: bytes, receive: Receive) -> Receive:
    """The body that was read, and then what else comes."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again


def _limited(scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> Receive:
    """The body, as long as it is no longer than MAX_BODY, or than a route allowed that knows who sends it."""
    announced = headers.get(b"content-length", b"")
    taken = 0

    async def receive_within() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if _MOST in scope:
            if taken > scope[_MOST]:
                raise file_too_large(scope[_MOST])
        elif taken > MAX_BODY or announced:
            raise HTTPException(413, f"a body has at most {MAX_BODY} bytes", {"Connection": "close"})
        return message

    return receive_within


def upload(request: Request, most: int, seconds: float) -> AsyncIterator[bytes]:
    """The body of a route that takes files, as it comes: at most so many bytes, within so many seconds.

    To be asked for when it is known that the sender may; a Problem 413 before a byte is read if he announces too much.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > most:
        raise file_too_large(most)
    request.scope[_MOST] = most
    allow(request.scope, seconds)
    return request.stream()
