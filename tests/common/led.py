"""A ledger whose instances write down who leads and who stands by, in the order in which it happens."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from redis.asyncio import Redis

from libs.common.runtime import Runtime
from libs.common.service import Service
from tests.common.ledger import LedgerMemory, LedgerStore

LedgerService = Service[LedgerStore, LedgerMemory]
LedgerRuntime = Runtime[LedgerStore, LedgerMemory]
EVERY_S = 0.02
LAST_WORDS_S = 0.3


def led(service: LedgerService) -> LedgerService:
    return replace(service, leader=[lead, conclude], standby=[stand_by])


@asynccontextmanager
async def diary(runtime: LedgerRuntime) -> AsyncIterator["Diary"]:
    async with Redis.from_url(os.environ["REDIS_URL"], decode_responses=True) as redis:
        yield Diary(redis, runtime.service.name, runtime.settings.instance_id)


@dataclass(frozen=True)
class Diary:
    """Of all instances of one service, in one list."""

    redis: Redis
    name: str
    instance: str = ""

    async def write(self, what: str) -> None:
        await self.redis.rpush(self.name, f"{self.instance} {what}")

    async def read(self) -> list[tuple[str, str]]:
        """Who did what, the earliest first."""
        found: list[tuple[str, str]] = []
        for entry in await self.redis.lrange(self.name, 0, -1):
            instance, _, what = str(entry).partition(" ")
            found.append((instance, what))
        return found


async def lead(runtime: LedgerRuntime) -> None:
    """Has last words, which take a while."""
    async with diary(runtime) as book:
        await book.write("begins")
        try:
            while True:
                if runtime.lead.leads():
                    await book.write("leads")
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
