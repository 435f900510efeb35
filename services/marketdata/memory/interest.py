"""The open interest of the day before, by which today's change is told; kept in Redis over restarts."""

import asyncio
from datetime import date

from redis.asyncio import Redis

from libs.common.contracts.ids import InstrumentId

INTEREST_HASH = "open_interest"
REDIS_SECONDS = 2.0


class EarlierInterest:
    def __init__(self) -> None:
        self.known: dict[InstrumentId, int] = {}
        self._days: dict[InstrumentId, date] = {}
        self._unsaved: set[InstrumentId] = set()

    def begin(self, instrument: InstrumentId, day: date, oi: int) -> None:
        """A new day of an instrument, which had this open interest before it. A day begins once."""
        if self._days.get(instrument) == day:
            return
        self.known[instrument] = oi
        self._days[instrument] = day
        self._unsaved.add(instrument)

    def forget(self, instrument: InstrumentId) -> None:
        for kept in (self.known, self._days):
            kept.pop(instrument, None)
        self._unsaved.discard(instrument)

    async def load(self, redis: Redis) -> None:
        """What an earlier run knew of days that began before."""
        async with asyncio.timeout(REDIS_SECONDS):
            found = await redis.hgetall(INTEREST_HASH)
        for name, value in found.items():
            instrument = InstrumentId(_text(name))
            day, _, oi = _text(value).partition(" ")
            if instrument not in self._days:
                self.known[instrument], self._days[instrument] = int(oi), date.fromisoformat(day)

    async def save(self, redis: Redis) -> None:
        """What began since the last call; it stays to be saved when Redis does not take it."""
        if not self._unsaved:
            return
        unsaved = list(self._unsaved)
        items = [part for each in unsaved for part in (each, f"{self._days[each]} {self.known[each]}")]
        async with asyncio.timeout(REDIS_SECONDS):
            await redis.hset(INTEREST_HASH, items=items)
        self._unsaved.difference_update(unsaved)

    def save_again(self) -> None:
        """What was saved is lost."""
        self._unsaved.update(self.known)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
