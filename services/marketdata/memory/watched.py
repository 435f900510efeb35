"""What somebody looks at right now, as the gateways say in Redis: told of faster than every other instrument.

Sorted sets `watched:quotes`, `watched:depths` (instruments) and `watched:chains` (`NFO:NIFTY:2026-11-24`); the score is
the Unix time until which the entry counts. Whoever watches renews it; nobody has to take it back.
"""

import asyncio
from enum import StrEnum

from redis.asyncio import Redis

from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import Tick

REDIS_SECONDS = 2.0


class Interest(StrEnum):
    QUOTES = "watched:quotes"
    DEPTHS = "watched:depths"
    CHAINS = "watched:chains"


class Watched:
    def __init__(self) -> None:
        self.instruments: frozenset[InstrumentId] = frozenset()
        """Of which every tick is to be taken here."""
        self.depths: frozenset[InstrumentId] = frozenset()
        self.chains: frozenset[str] = frozenset()
        self.ticked = asyncio.Event()
        self._fresh: dict[InstrumentId, Tick] = {}

    def take(self, tick: Tick) -> None:
        self._fresh[tick.instrument] = tick
        self.ticked.set()

    def drain(self) -> list[Tick]:
        """The newest tick of each watched instrument since the last call."""
        self.ticked.clear()
        ticks, self._fresh = list(self._fresh.values()), {}
        return ticks

    async def follow(self, redis: Redis, now: float) -> frozenset[InstrumentId]:
        """Read what is watched now; returns the instruments whose depth nobody watched before.

        While Redis does not answer (RedisError, OSError) the last known answer stands.
        """
        pipeline = redis.pipeline(transaction=False)
        for interest in Interest:
            pipeline.zremrangebyscore(interest, "-inf", now)  # type: ignore[unused-awaitable]  # sent by execute
            pipeline.zrange(interest, 0, -1)  # type: ignore[unused-awaitable]
        async with asyncio.timeout(REDIS_SECONDS):
            answers = await pipeline.execute()
        quotes, depths, chains = (frozenset(each.decode() for each in answers[n]) for n in (1, 3, 5))
        before = self.depths
        self.depths = frozenset(map(InstrumentId, depths))
        self.instruments = frozenset(map(InstrumentId, quotes)) | self.depths
        self.chains = chains
        return self.depths - before
