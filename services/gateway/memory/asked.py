"""What requests asked for: it is to have prices for a while, so that who asks again finds them."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import TypeAlias

Name: TypeAlias = tuple[str, str]
"""A field of WatchRenewed, and what is in it."""
HOLDS = timedelta(seconds=60)
MOST = {"asked": 3_000, "asked_chains": 50}
"""Of a process, the newest: no more than one user may stream."""


class Asked:
    def __init__(self) -> None:
        self._held: dict[str, dict[str, tuple[datetime, datetime]]] = {field: {} for field in MOST}
        """Since when each is asked for and how long it holds, in the order in which they end."""

    def note(self, field: str, names: Iterable[str], now: datetime) -> bool:
        """Whether any of them was not asked for before."""
        held, news = self._held[field], False
        _forget_ended(held, now)
        for name in names:
            before = held.pop(name, None)
            news = news or before is None
            held[name] = before[0] if before else now, now + HOLDS
        while len(held) > MOST[field]:
            del held[next(iter(held))]
        return news

    def since(self, field: str, name: str) -> datetime | None:
        found = self._held[field].get(name)
        return found[0] if found else None

    def names(self, now: datetime) -> Iterator[Name]:
        """What is asked for at this moment."""
        for field, held in self._held.items():
            _forget_ended(held, now)
            for name in held:
                yield field, name


def _forget_ended(held: dict[str, tuple[datetime, datetime]], now: datetime) -> None:
    while held and next(iter(held.values()))[1] <= now:
        del held[next(iter(held))]
