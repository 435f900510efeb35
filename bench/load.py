"""Constant arrival: requests start when they are due, however slow the answers to the earlier ones are."""

import asyncio
from collections.abc import Callable, Sequence

from bench.wire import Pool
from libs.common.clock import stopwatch

SETTLE = 15.0
"""How long after the last request an answer may still come, in seconds."""


class Attempt:
    """One request. Its latency runs from the instant it was due, not from when we got round to sending it."""

    __slots__ = ("answered", "body", "due", "status", "to")

    def __init__(self, due: float, to: object) -> None:
        self.due = due
        self.to = to
        self.answered = 0.0
        self.status = -1
        self.body = b""

    def take(self, status: int, body: bytes) -> None:
        self.answered = stopwatch()
        self.status = status
        self.body = body

    @property
    def seconds(self) -> float:
        return self.answered - self.due


async def constant_rate(rate: float, seconds: float, start_one: Callable[[int, float], None]) -> None:
    """Calls `start_one(n, due)` for each arrival; a late wake-up starts all that are due by then."""
    total = int(rate * seconds)
    begin = stopwatch() + 0.05
    n = 0
    while n < total:
        now = stopwatch()
        while n < total and begin + n / rate <= now:
            start_one(n, begin + n / rate)
            n += 1
        await asyncio.sleep(max(0.0, begin + n / rate - stopwatch()))


async def offer(pool: Pool, prepared: Sequence[tuple[bytes, object]], rate: float) -> list[Attempt]:
    """Sends the prepared requests at a constant rate and waits for their answers."""
    attempts: list[Attempt] = []

    def start_one(n: int, due: float) -> None:
        content, to = prepared[n]
        attempt = Attempt(due, to)
        attempts.append(attempt)
        pool.send(content, attempt.take)

    await constant_rate(rate, len(prepared) / rate, start_one)
    await settled(lambda: all(attempt.status >= 0 for attempt in attempts), SETTLE)
    return attempts


async def settled(is_done: Callable[[], bool], seconds: float) -> bool:
    """Waits until it is done, at most so long; tells whether it was."""
    deadline = stopwatch() + seconds
    while not is_done():
        if stopwatch() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True
