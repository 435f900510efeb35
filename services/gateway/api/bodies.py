"""How JSON bodies are read: as RFC 8259 has it, and with nothing in them that a service behind us could not keep.

A text that PostgreSQL cannot hold would park the message that carries it, and with it everything that follows for that
account or panic: a name with a zero byte would stop the account's cancels and its panic.
"""

import re
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute

from libs.common.problems import zero_byte

_ZERO = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class StrictRoute(APIRoute):
    """A route that reads its body itself (the road that has to be fast) is left as it is."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def handle_strictly(request: Request) -> Response:
            strict = _StrictRequest(request.scope, request.receive)
            if _ZERO.search(await strict.body()):
                raise zero_byte()
            return await handle(strict)

        return handle_strictly


class _StrictRequest(Request):
    async def json(self) -> Any:
        """No NaN, no number beyond what JSON's readers agree on, no half of a character (a lone surrogate)."""
        return orjson.loads(await self.body())
