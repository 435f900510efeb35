"""Errors over HTTP in one shape: RFC 9457 problem details."""

from http import HTTPStatus
from typing import Any

import asyncpg
import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from libs.common.messaging.errors import MessageTooLarge
from libs.common.messaging.waiting import PASSING
from libs.common.telemetry import log

PROBLEM_JSON = "application/problem+json"
UNAVAILABLE = PASSING
"""Kafka or PostgreSQL is away, or starting, takes no writes, or was broken off in the middle of a statement."""


class Problem(Exception):
    """Raise it anywhere below a route. `code` is a stable word for programs, `detail` a sentence for people."""

    def __init__(
        self, status: int, code: str, detail: str, *, headers: dict[str, str] | None = None, **extra: object
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers or {}
        self.extra = extra

    def body(self) -> dict[str, object]:
        title = HTTPStatus(self.status).phrase
        return {
            "type": f"urn:openalgo:problem:{self.code}",
            "title": title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            **self.extra,
        }

    def response(self) -> Response:
        content = orjson.dumps(self.body(), default=str)
        return Response(content, self.status, headers=self.headers, media_type=PROBLEM_JSON)


def unavailable(detail: str) -> Problem:
    """Something we need is away; the client may try again in a second."""
    return Problem(503, "unavailable", detail, headers={"Retry-After": "1"})


def away() -> Problem:
    """Kafka or PostgreSQL does not answer."""
    return unavailable("a part of the platform is away; nothing was taken, try again")


def zero_byte() -> Problem:
    return Problem(422, "invalid", "a text holds a zero byte, which cannot be stored: leave it out")


def file_too_large(most: int) -> Problem:
    """A file that a client sends is longer than may be. Its connection stays: what is still sent is read and dropped,
    or the sender would never see this answer.
    """
    detail = f"a file has at most {most} bytes here: cut it into parts, send it as Parquet, or import it by command"
    return Problem(413, "too_large", detail)


async def _on_zero_byte(_: Request, error: Exception) -> Response:
    return zero_byte().response()


async def _on_http(request: Request, error: Any) -> Response:
    """What a route raised, or that there is none."""
    status, detail, headers = HTTPStatus(error.status_code), str(error.detail), dict(error.headers or {})
    if status is HTTPStatus.METHOD_NOT_ALLOWED and "Allow" in headers:
        detail = f"{request.method} is not taken at this address, {headers['Allow']} is; the gateway's /docs list all"
    elif status is HTTPStatus.NOT_FOUND and "endpoint" not in request.scope:
        detail = "there is nothing at this address; the gateway's /docs list what there is under /api/v2"
    return Problem(status, status.name.lower(), detail, headers=headers).response()


def install(app: Starlette) -> None:
    """Make every error of the app a problem."""

    async def on_problem(_: Request, problem: Any) -> Response:
        response: Response = problem.response()
        return response

    async def on_unavailable(_: Request, error: Exception) -> Response:
        log.warning("dependency_unavailable", error=repr(error))
        return away().response()

    async def on_too_large(_: Request, error: Exception) -> Response:
        log.warning("message_too_large", error=str(error))
        return Problem(413, "too_large", "this is more than can be passed on at once; nothing was taken").response()

    async def on_hang_up(_: Request, error: Exception) -> Response:
        return Problem(400, "incomplete", "the connection ended before the request did").response()

    async def on_bug(request: Request, error: Exception) -> Response:
        log.error("request_failed", path=request.url.path, exc_info=error)
        # The server closes the connection after this: were it not said, the next request on it would be lost.
        parting = {"Connection": "close"}
        return Problem(500, "internal_error", "this is a fault of ours; it is logged", headers=parting).response()

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(HTTPException, _on_http)
    for kind in UNAVAILABLE:
        app.add_exception_handler(kind, on_unavailable)
    app.add_exception_handler(MessageTooLarge, on_too_large)
    app.add_exception_handler(asyncpg.CharacterNotInRepertoireError, _on_zero_byte)
    app.add_exception_handler(asyncpg.UntranslatableCharacterError, _on_zero_byte)
    app.add_exception_handler(ClientDisconnect, on_hang_up)
    app.add_exception_handler(Exception, on_bug)
