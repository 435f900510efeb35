"""Which instruments a live feed is to carry: asked for by several, counted by reason, cut at the feed's limit."""

import itertools
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import IntEnum
from typing import Generic, TypeVar

from libs.common.contracts.enums import InstrumentKind
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed, Quote

EXPIRIES_AHEAD = 2
ENDS_OF_CURRENCIES = 2
"""Their futures have weeks, too, and the last of those may end behind the month. What has none lists one in a month."""
NEAR = 0.05
"""How far a strike may be from the spot, as a fraction, to be near the money."""

_DERIVATIVES = (InstrumentKind.FUTURE, InstrumentKind.OPTION)
T = TypeVar("T", bound=Hashable)


class Reason(IntEnum):
    """Why a price is wanted; where the feed is full, the first of these go before the last."""

    POSITION = 0
    """Money is at stake: stop-losses watch it."""
    ORDER = 1
    STRATEGY = 2
    STANDING = 3
    """Indices and what options are written on."""
    VIEWER = 4
    ASKED = 5
    """By a request, for a while, or shown now and then."""


@dataclass(frozen=True, slots=True)
class Wanted:
    carried: tuple[InstrumentId, ...]
    dropped: tuple[InstrumentId, ...]
    """Asked for, but the feed carries no more: the least needed."""


def wanted(demand: Mapping[Reason, Collection[InstrumentId]], known: Collection[InstrumentId], most: int) -> Wanted:
    """What the feed carries of this demand: what it knows, by its best reason, then by how many reasons it has."""
    best: dict[InstrumentId, Reason] = {}
    count: dict[InstrumentId, int] = {}
    for reason in sorted(demand):
        for instrument in demand[reason]:
            if instrument in known:
                best.setdefault(instrument, reason)
                count[instrument] = count.get(instrument, 0) + 1
    ranked = sorted(best, key=lambda instrument: (best[instrument], -count[instrument], instrument))
    return Wanted(tuple(ranked[:most]), tuple(ranked[most:]))


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """What a connection that carries something is to be told."""

    subscribe: tuple[T, ...]
    unsubscribe: tuple[T, ...]


def dealt(
    carried: Sequence[InstrumentId], held: Sequence[Collection[InstrumentId]], most_each: int
) -> list[tuple[InstrumentId, ...]]:
    """`carried` over as many connections as there are in `held`; what a connection holds already stays with it.

    There must be room: `len(carried) <= len(held) * most_each`.
    """
    left = dict.fromkeys(carried)
    hands: list[list[InstrumentId]] = []
    for holding in held:
        kept = [instrument for instrument in holding if instrument in left][:most_each]
        for instrument in kept:
            del left[instrument]
        hands.append(kept)
    rest = iter(left)
    for hand in hands:
        hand += itertools.islice(rest, most_each - len(hand))
    return [tuple(hand) for hand in hands]


def change(held: Collection[T], wanted_now: Collection[T]) -> Change[T]:
    before, after = dict.fromkeys(held), dict.fromkeys(wanted_now)
    return Change(tuple(each for each in after if each not in before), tuple(e for e in before if e not in after))


def turn(ranked: Sequence[T], most: int, n: int) -> Sequence[T]:
    """What the `n`-th question is about, where one may be about `most`: every second one about those most needed, the
    others about the rest in turn.
    """
    first, rest = ranked[:most], ranked[most:]
    if not rest or n % 2 == 0:
        return first
    at = n // 2 % -(-len(rest) // most) * most
    return rest[at : at + most]


class NearTheMoney:
    """What an underlying's name stands for: its spot, its next futures, its next options near the spot, and those that
    expire with these futures: a week that a holiday moved may end behind the month.
    """

    def __init__(self, listed: Iterable[InstrumentListed]) -> None:
        self.spots: frozenset[InstrumentId]
        """Indices, and what contracts are written on: charts, chains and margins need them all day."""
        self._spot_of: dict[str, InstrumentId] = {}
        self._dated: dict[tuple[str, InstrumentKind], dict[date, list[InstrumentListed]]] = {}
        spots: set[InstrumentId] = set()
        for contract in listed:
            if contract.kind is InstrumentKind.INDEX:
                spots.add(contract.instrument)
            if contract.underlying is None or contract.expiry is None:
                continue
            if contract.spot is not None:
                spots.add(contract.spot)
                self._spot_of.setdefault(contract.underlying, contract.spot)
            dated = self._dated.setdefault((contract.underlying, contract.kind), {})
            dated.setdefault(contract.expiry, []).append(contract)
        self.spots = frozenset(spots)

    def of(self, underlying: str, quotes: Mapping[InstrumentId, Quote]) -> set[InstrumentId]:
        """Without a price of the spot, all strikes: it is not known which are near."""
        spot = self._spot_of.get(underlying)
        found = {spot} if spot else set()
        quote = quotes.get(spot) if spot else None
        futures, options = (self._dated.get((underlying, kind), {}) for kind in _DERIVATIVES)
        near = self._near(futures, ENDS_OF_CURRENCIES)
        found |= {future.instrument for day in near for future in futures[day]}
        for option in (each for day in near | self._near(options, 1) for each in options.get(day, ())):
            if quote is None or option.strike is None or abs(float(option.strike) / quote.ltp - 1) <= NEAR:
                found.add(option.instrument)
        return found

    def _near(self, dated: Collection[date], ends: int) -> set[date]:
        """Those that expire next, and the last of the next months: where weeks are listed, they are further away."""
        days = sorted(dated)
        months: dict[tuple[int, int], list[date]] = {}
        for day in days:
            months.setdefault((day.year, day.month), []).append(day)
        last = (day for month in list(months.values())[:EXPIRIES_AHEAD] for day in month[-ends:])
        return {*days[:EXPIRIES_AHEAD], *last}
