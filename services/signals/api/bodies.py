"""A request's body, never more of it than is allowed and never for longer."""

import asyncio

from fastapi import Request

from services.signals.domain.fates import Fate, Refusal
from services.signals.settings import SignalsSettings


async def read_body(request: Request, settings: SignalsSettings) -> bytes | Refusal:
    """The body, or why it was not read to its end."""
    most, seconds = settings.max_body_bytes, settings.body_seconds
    oversized = Refusal(Fate.OVERSIZED, f"the body is longer than {most} bytes")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > most:
        return oversized
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    return oversized
    except TimeoutError:
        return Refusal(Fate.REQUEST_TIMEOUT, f"the body did not arrive within {seconds:g} s")
    return bytes(body)
