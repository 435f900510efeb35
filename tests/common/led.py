"""A ledger whose instances write down who leads and who stands by, and when they were sure of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from redis.asyncio import Redis

from libs.common.clock import stopwatch
from libs.common.runtime import Runtime
from libs.common.service import Service
from libs.common.testing.caches import patient_redis
from tests.common.ledger import LedgerMemory, LedgerStore

LedgerService = Service[LedgerStore, LedgerMemory]
LedgerRuntime = Runtime[LedgerStore, LedgerMemory]
EVERY_S = 0.02
LAST_WORDS_S = 0.3


def led(service: LedgerService) -> LedgerService:
    return replace(service, leader=[lead, conclude], standby=[stand_by])


@asynccontextmanager
async def diary(runtime: LedgerRuntime) -> AsyncIterator["Diary"]:
    async with patient_redis() as redis:
        yield Diary(redis, runtime.service.name, runtime.settings.instance_id)


@dataclass(frozen=True)
class Diary:
    """Of all instances of one service, all on this machine: their stopwatch is the same.

    A process may be stopped when it has asked whether it leads and has not yet written: what counts is when it asked.
    """

    redis: Redis
    name: str
    instance: str = ""

    async def write(self, what: str, at: float | None = None) -> None:
        """`at`: on the stopwatch, just before the question was asked; now when there was none."""
        await self.redis.rpush(self.name, f"{stopwatch() if at is None else at} {self.instance} {what}")

    async def read(self) -> list[tuple[str, str]]:
        """Who did what, the earliest first."""
        found: list[tuple[float, str, str]] = []
        for entry in await self.redis.lrange(self.name, 0, -1):
            at, instance, what = str(entry).split(" ", 2)
            found.append((float(at), instance, what))
        return [(instance, what) for _, instance, what in sorted(found)]


async def lead(runtime: LedgerRuntime) -> None:
    """Has last words, which take a while."""
    async with diary(runtime) as book:
        await book.write("begins")
        try:
            while True:
                at = stopwatch()
                if runtime.lead.leads():
                    await book.write("leads", at)
                await asyncio.sleep(EVERY_S)
        finally:
            if runtime.lead.leads():
                await asyncio.sleep(LAST_WORDS_S)
                await book.write("ends")


async def conclude(runtime: LedgerRuntime) -> None:
    """Is stopped after the one before it."""
    try:
        await asyncio.Event().wait()
    finally:
        if runtime.lead.leads():
            async with diary(runtime) as book:
                await book.write("concludes")


async def stand_by(runtime: LedgerRuntime) -> None:
    async with diary(runtime) as book:
        await book.write("stands by")
        await asyncio.Event().wait()
