"""How a process may hang, if HANGS says so, the first time that it has something to handle or to send.

POISON says what one kind of message does to its handler, whenever it is handled.
What the product waits for in minutes takes seconds here: STILL, STUCK and OVERDUE say how many. GO_ON is a file: the
work that waits for it goes on as soon as it is there.
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from libs.common import parts, watchdog
from libs.common.contracts.base import Delivery
from libs.common.messaging.outbox import Outbox
from libs.common.messaging.work import Work


def _sleep() -> None:
    time.sleep(float(os.environ.get("SECONDS", "3600")))


async def _stand_still() -> None:
    """With the loop."""
    _sleep()


def _spin() -> None:
    while True:
        pass


async def _spin_in_place() -> None:
    _spin()


async def _never_return() -> None:
    await asyncio.Event().wait()


async def _never_return_while_another_spins() -> None:
    asyncio.get_running_loop().call_later(0.1, _spin)
    await _never_return()


async def _raise() -> None:
    raise ValueError("a bug")


async def _stop_amid_statements(work: Work[Any, Any]) -> None:
    """PostgreSQL has been told of a statement, and waits to hear what to do with it; the process is stopped."""
    await work.store.connection.prepare("SELECT $1::int")
    os.kill(os.getpid(), signal.SIGSTOP)


async def _wait_for_file() -> None:
    while not Path(os.environ["GO_ON"]).exists():  # noqa: ASYNC240
        await asyncio.sleep(0.02)


HANGS: dict[str, tuple[type, str, Callable[[], Awaitable[None]]]] = {
    "loop": (Work, "handle", _stand_still),
    "handler": (Work, "handle", _never_return),
    "loop beside a handler": (Work, "handle", _never_return_while_another_spins),
    "handler until told": (Work, "handle", _wait_for_file),
    "sending until told": (Outbox, "_send", _wait_for_file),
}
POISONOUS = 666
"""The amount that does it."""
POISONS: dict[str, Callable[[Work[Any, Any]], Awaitable[None]]] = {
    "spins": lambda _: _spin_in_place(),
    "waits": lambda _: _never_return(),
    "raises": lambda _: _raise(),
    "stops amid statements": _stop_amid_statements,
}


def prepare() -> None:
    watchdog.STILL_SECONDS = float(os.environ.get("STILL", watchdog.STILL_SECONDS))
    parts.STUCK_SECONDS = float(os.environ.get("STUCK", parts.STUCK_SECONDS))
    parts.OVERDUE_SECONDS = float(os.environ.get("OVERDUE", parts.OVERDUE_SECONDS))
    if name := os.environ.get("HANGS"):
        _hang(*HANGS[name])
    if name := os.environ.get("POISON"):
        _poison(POISONS[name])


def _hang(owner: Any, name: str, how: Callable[[], Awaitable[None]]) -> None:
    carry_out = getattr(owner, name)
    first = [True]

    async def hanging(*arguments: Any) -> Any:
        if first[0]:
            first[0] = False
            await how()
        return await carry_out(*arguments)

    setattr(owner, name, hanging)


def _poison(how: Callable[[Work[Any, Any]], Awaitable[None]]) -> None:
    handle = Work._handle_one

    async def poisoned(work: Work[Any, Any], delivery: Delivery) -> None:
        if getattr(delivery.message, "amount", None) == POISONOUS:
            await how(work)
        await handle(work, delivery)

    setattr(Work, "_handle_one", poisoned)  # noqa: B010 - a method cannot be assigned to
