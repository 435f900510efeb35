"""The parts of a running process: none of them may end before it is told to, nor stand still and pass for ready."""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Iterator
from functools import partial
from typing import Any

from libs.common.clock import stopwatch
from libs.common.runtime import Runtime
from libs.common.telemetry import log
from libs.common.watchdog import LAST_WORDS_SECONDS, LOOK_SECONDS, give_up

STUCK_SECONDS = 30.0
"""Longer than one attempt at anything takes: every statement, connection and call to another service ends before."""
OVERDUE_SECONDS = 90.0
"""Who is stuck for so long more, though nothing is away that it could wait for, will not go on by itself."""


class Part:
    """Whether a part that readiness asks for works: it has begun, and has not been at one piece of work for too long.

    What it shows may not depend on the part itself: one that hangs would be shown as ready for ever. One that hangs for
    good ends the process: its supervisor starts it anew, and others do its work meanwhile.
    """

    def __init__(self, runtime: Runtime[Any, Any], name: str, *, asked_for: bool) -> None:
        """`runtime.ready` is what the process tells of its parts, of this one only if it is `asked_for`."""
        self._ready = runtime.ready
        self._held_up = runtime.held_up
        self._needs = runtime.has_what_it_needs
        self._note = runtime.in_hand.note
        self._name = name
        self._asked_for = asked_for
        self._works = False
        self._is_stuck = False
        self._failed_first: float | None = None
        """When it began to fail, by the stopwatch."""
        self._waiting: asyncio.Task[None] | None = None
        self._tell()

    def works(self) -> None:
        """It has begun."""
        if not self._works:
            self._works = True
            self._tell()

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """With one piece of work, of the task that asks."""
        watch = asyncio.get_running_loop().call_later(STUCK_SECONDS, self._sticks, asyncio.current_task())
        try:
            yield
        finally:
            watch.cancel()
            if self._is_stuck:
                log.warning("part_goes_on", part=self._name)
                self._is_stuck = False
                self._tell()
            if self._waiting:
                self._waiting.cancel()
                self._waiting = None

    @contextlib.contextmanager
    def trying(self) -> Iterator[None]:
        """One piece of work, again and again while what it needs fails: it is not ready then, but serves."""
        watch = asyncio.get_running_loop().call_later(STUCK_SECONDS, self._held_up.add, self._name)
        try:
            yield
        finally:
            watch.cancel()
            self._held_up.discard(self._name)

    def failed(self) -> None:
        """What it does again and again came to nothing. When that goes on it is not ready, but serves."""
        now = stopwatch()
        if self._failed_first is None:
            self._failed_first = now
        elif now - self._failed_first >= STUCK_SECONDS:
            self._held_up.add(self._name)

    def succeeded(self) -> None:
        self._failed_first = None
        self._held_up.discard(self._name)

    def _sticks(self, task: "asyncio.Task[Any] | None") -> None:
        log.critical("part_stuck", part=self._name, seconds=STUCK_SECONDS, at=_where(task))
        self._is_stuck = True
        self._tell()
        self._waiting = asyncio.create_task(self._outwait(task), name=f"stuck:{self._name}")

    async def _outwait(self, task: "asyncio.Task[Any] | None") -> None:
        """End the process unless the piece of work ends first. Only seconds count that it could have made use of: a
        process that was stopped had none, and while a server is away a new process would stand where this one does.
        """
        left = OVERDUE_SECONDS
        while left > 0:
            await asyncio.sleep(LOOK_SECONDS)
            if await self._needs():
                left -= LOOK_SECONDS
        seconds = STUCK_SECONDS + OVERDUE_SECONDS
        give_up("part_overdue", partial(self._note, task), part=self._name, seconds=seconds, at=_where(task))

    def _tell(self) -> None:
        if self._asked_for:
            self._ready[self._name] = self._works and not self._is_stuck


def _where(task: "asyncio.Task[Any] | None") -> list[str]:
    """What each of the task's coroutines waits in, outermost first."""
    found: list[str] = []
    coroutine: Any = task.get_coro() if task else None
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        found.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
        coroutine = coroutine.cr_await
    return found


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
