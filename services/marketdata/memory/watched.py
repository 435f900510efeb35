"""What somebody looks at right now, as the gateways say: told of faster than every other instrument.

Whoever watches says it again before it ends; nobody has to take it back.
"""

import asyncio
from datetime import datetime
from typing import TypeVar

from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import Tick, WatchRenewed

Name = TypeVar("Name")


class Watched:
    def __init__(self) -> None:
        self.instruments: frozenset[InstrumentId] = frozenset()
        """Of which every tick is to be taken here."""
        self.depths: frozenset[InstrumentId] = frozenset()
        self.chains: frozenset[str] = frozenset()
        self.asked: frozenset[InstrumentId] = frozenset()
        """Wanted as well, but not told of faster than everything else."""
        self.asked_chains: frozenset[str] = frozenset()
        self.ticked = asyncio.Event()
        self._quotes: dict[InstrumentId, datetime] = {}
        self._depths: dict[InstrumentId, datetime] = {}
        self._chains: dict[str, datetime] = {}
        self._asked: dict[InstrumentId, datetime] = {}
        self._asked_chains: dict[str, datetime] = {}
        self._fresh: dict[InstrumentId, Tick] = {}

    def take(self, tick: Tick) -> None:
        self._fresh[tick.instrument] = tick
        self.ticked.set()

    def drain(self) -> list[Tick]:
        """The newest tick of each watched instrument since the last call."""
        self.ticked.clear()
        ticks, self._fresh = list(self._fresh.values()), {}
        return ticks

    def note(self, said: WatchRenewed) -> frozenset[InstrumentId]:
        """Returns the instruments whose depth nobody watched before."""
        before = self.depths
        self._quotes.update(dict.fromkeys(said.quotes, said.until))
        self._depths.update(dict.fromkeys(said.depths, said.until))
        self._chains.update(dict.fromkeys(said.chains, said.until))
        self._asked.update(dict.fromkeys(said.asked, said.until))
        self._asked_chains.update(dict.fromkeys(said.asked_chains, said.until))
        self._count()
        return self.depths - before

    def forget(self, now: datetime) -> None:
        """What has ended."""
        ended = _forget(self._quotes, now) + _forget(self._depths, now) + _forget(self._chains, now)
        if ended + _forget(self._asked, now) + _forget(self._asked_chains, now):
            self._count()

    def _count(self) -> None:
        self.depths = frozenset(self._depths)
        self.instruments = frozenset(self._quotes) | self.depths
        self.chains = frozenset(self._chains)
        self.asked = frozenset(self._asked)
        self.asked_chains = frozenset(self._asked_chains)


def _forget(held: dict[Name, datetime], now: datetime) -> int:
    ended = [name for name, until in held.items() if until <= now]
    for name in ended:
        del held[name]
    return len(ended)
