"""One look at something for all who ask within a moment: whoever asks often costs no more than one who asks."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Generic, TypeVar

T = TypeVar("T")


class Glance(Generic[T]):
    def __init__(self, holds_s: float) -> None:
        self._holds_s = holds_s
        self._looking: asyncio.Task[T] | None = None
        self._until = 0.0

    async def take(self, look: Callable[[], Coroutine[None, None, T]]) -> T:
        """What was seen within `holds_s`, or is just being looked at."""
        now = asyncio.get_running_loop().time()
        if self._looking is None or (self._looking.done() and now >= self._until):
            self._looking = asyncio.create_task(look(), name="glance")
            self._until = now + self._holds_s
        return await asyncio.shield(self._looking)
