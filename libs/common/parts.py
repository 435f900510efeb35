"""The parts of a running process: none of them may end before it is told to."""

import asyncio
import os
from collections.abc import Awaitable

from libs.common.telemetry import log

LAST_WORDS_SECONDS = 5.0
"""How long a process may take to end after one of its parts has failed. Whatever it was doing, a kill is harmless."""


async def endless(work: Awaitable[None], name: str) -> None:
    """A part that ends before it is told to has failed, and the process with it: the supervisor starts it anew."""
    try:
        await work
    except Exception as error:
        log.critical("part_failed", part=name, exc_info=error)
        # The others are cancelled now. One that swallows that must not keep a process alive that does half of its work.
        asyncio.get_running_loop().call_later(LAST_WORDS_SECONDS, os._exit, 1)
        raise
    raise RuntimeError(f"{name} ended")
