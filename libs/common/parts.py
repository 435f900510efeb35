"""The parts of a running process: none of them may end before it is told to, nor stand still and pass for ready."""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Iterator

from libs.common.telemetry import log

LAST_WORDS_SECONDS = 5.0
"""How long a process may take to end after one of its parts has failed. Whatever it was doing, a kill is harmless."""
STUCK_SECONDS = 30.0
"""Longer than one attempt at anything takes: every statement, connection and call to another service ends before."""


class Part:
    """Whether a part that readiness asks for works: it has begun, and has not been at one piece of work for too long.

    What it shows may not depend on the part itself: one that hangs would be shown as ready for ever.
    """

    def __init__(self, ready: dict[str, bool], name: str, *, asked_for: bool) -> None:
        """`ready` is what the process tells of its parts, of this one only if it is `asked_for`."""
        self._ready = ready
        self._name = name
        self._asked_for = asked_for
        self._works = False
        self._is_stuck = False
        self._tell()

    def works(self) -> None:
        """It has begun."""
        if not self._works:
            self._works = True
            self._tell()

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """With one piece of work."""
        watch = asyncio.get_running_loop().call_later(STUCK_SECONDS, self._sticks)
        try:
            yield
        finally:
            watch.cancel()
            if self._is_stuck:
                log.warning("part_goes_on", part=self._name)
                self._is_stuck = False
                self._tell()

    def _sticks(self) -> None:
        log.critical("part_stuck", part=self._name, seconds=STUCK_SECONDS)
        self._is_stuck = True
        self._tell()

    def _tell(self) -> None:
        if self._asked_for:
            self._ready[self._name] = self._works and not self._is_stuck


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
