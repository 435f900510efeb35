"""How a process may hang, if HANGS says so, the first time that it has something to handle or to send.

What the product waits for in minutes takes seconds here: STILL, STUCK and OVERDUE say how many. GO_ON is a file: the
work that waits for it goes on as soon as it is there.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from libs.common import parts, watchdog
from libs.common.messaging.outbox import Outbox
from libs.common.messaging.work import Work


async def _stand_still() -> None:
    """With the loop."""
    time.sleep(float(os.environ.get("SECONDS", "3600")))  # noqa: ASYNC251 - that is what it is for


async def _never_return() -> None:
    await asyncio.Event().wait()


async def _wait_for_file() -> None:
    while not Path(os.environ["GO_ON"]).exists():  # noqa: ASYNC240
        await asyncio.sleep(0.02)


HANGS: dict[str, tuple[type, str, Callable[[], Awaitable[None]]]] = {
    "loop": (Work, "handle", _stand_still),
    "handler": (Work, "handle", _never_return),
    "handler until told": (Work, "handle", _wait_for_file),
    "sending until told": (Outbox, "_send", _wait_for_file),
}


def prepare() -> None:
    watchdog.STILL_SECONDS = float(os.environ.get("STILL", watchdog.STILL_SECONDS))
    parts.STUCK_SECONDS = float(os.environ.get("STUCK", parts.STUCK_SECONDS))
    parts.OVERDUE_SECONDS = float(os.environ.get("OVERDUE", parts.OVERDUE_SECONDS))
    if name := os.environ.get("HANGS"):
        _hang(*HANGS[name])


def _hang(owner: Any, name: str, how: Callable[[], Awaitable[None]]) -> None:
    carry_out = getattr(owner, name)
    first = [True]

    async def hanging(*arguments: Any) -> Any:
        if first[0]:
            first[0] = False
            await how()
        return await carry_out(*arguments)

    setattr(owner, name, hanging)
