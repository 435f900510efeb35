"""A request's body, never more of it than is allowed and never for longer."""

import asyncio
from dataclasses import dataclass

from fastapi import Request


@dataclass(frozen=True, slots=True)
class Oversized:
    """The body is longer than allowed; what is beyond was not read."""


@dataclass(frozen=True, slots=True)
class TooSlow:
    """The sender did not finish its body in time."""


async def read_body(request: Request, most_bytes: int, seconds: float) -> bytes | Oversized | TooSlow:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > most_bytes:
        return Oversized()
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most_bytes:
                    return Oversized()
    except TimeoutError:
        return TooSlow()
    return bytes(body)
