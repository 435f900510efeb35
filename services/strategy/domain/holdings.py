"""What an algo holds in one account: its books, the entries on their way, and a closing or reversal under way.

Closing is a promise: an entry that slips through behind a square-off (it was still at risk's gate) is squared off
too, until nothing of the algo is left. Only then does a reversal enter.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from libs.common.contracts.enums import Product, Side, SignalType
from libs.common.contracts.ids import AccountId, AlgoId, InstrumentId, OrderId, SignalId, SquareOffId, UserId

LOST_AFTER = timedelta(seconds=30)
"""An entry that trading does not know when it calls the algo flat, this long after we asked for it, most likely died on
its way: risk denies what is older than its `expires_at`. But what risk let through before, trading may yet read.
"""
LOST_FOR = timedelta(days=30)
"""How long one that fills after all is known: of one that its broker never answered for a person tells, days later."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An order that we asked for, and how much of it is not yet filled or given up; one of `legs` of its entry."""

    remaining: int
    requested_at: datetime
    legs: int = 1


@dataclass(frozen=True, slots=True)
class Closing:
    """A square-off that we asked for; not `answered` until trading says that it is complete."""

    square_off_id: SquareOffId
    requested_at: datetime
    answered: bool = False


@dataclass(frozen=True, slots=True)
class Reversal:
    """The entry that waits for the old position to be closed. It may have closed that itself, or came after an exit."""

    signal_id: SignalId
    signal_type: SignalType
    action: Side
    deadline: datetime
    reverses: bool = True


@dataclass(frozen=True, slots=True)
class Holding:
    """`books` are signed quantities by instrument and product, none of them 0. Those that trading `left`, since nobody
    can trade them, are held, and are in nobody's way.

    `direction` is that of its last entry: of a buy signal, where that traded the legs as configured. `lost` are entries
    that were given up behind a square-off, and when they were asked for. `stock`: it is of that one alone, as each is
    of an algo that trades those that alerts name.
    """

    algo_id: AlgoId
    account_id: AccountId
    user_id: UserId
    books: Mapping[str, int] = field(default_factory=dict)
    entries: Mapping[OrderId, Entry] = field(default_factory=dict)
    direction: Side | None = None
    closing: Closing | None = None
    reversal: Reversal | None = None
    lost: Mapping[OrderId, datetime] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    stock: InstrumentId | None = None

    @property
    def is_open(self) -> bool:
        """Something is held that can be closed."""
        return bool(self.books.keys() - self.left)

    @property
    def occupied(self) -> bool:
        """Something is open, or may become so."""
        return bool(self.is_open or self.entries)

    @property
    def instruments(self) -> set[InstrumentId]:
        return {InstrumentId(name.rpartition(" ")[0]) for name in self.books}

    @property
    def is_empty(self) -> bool:
        return not (self.books or self.entries or self.closing or self.reversal or self.lost)

    def closing_since(self, after: datetime) -> bool:
        """A square-off asked for later than `after` has not been answered, or has left something to close."""
        return self.closing is not None and self.closing.requested_at > after


def entering(holding: Holding, orders: Mapping[OrderId, int], direction: Side, now: datetime) -> Holding:
    """These orders, with their quantities, are on their way."""
    fresh = {order_id: Entry(quantity, now, len(orders)) for order_id, quantity in orders.items()}
    return replace(holding, entries={**holding.entries, **fresh}, direction=direction, closing=None, reversal=None)


def booked(
    holding: Holding, instrument: InstrumentId, product: Product, quantity: int, order_id: OrderId, filled: int
) -> Holding:
    """A fill moved one of the algo's books to `quantity`; if it was of an entry, less of that is on its way. What was
    left, and is told again as it was when a day begins, still cannot be traded.
    """
    moved = f"{instrument} {product}"
    books = {name: open_quantity for name, open_quantity in {**holding.books, moved: quantity}.items() if open_quantity}
    left = tuple(name for name in holding.left if name != moved or holding.books.get(name) == quantity)
    entry = holding.entries.get(order_id)
    changed = replace(holding, books=books, left=left)
    if entry is None:
        return ended(changed, order_id)
    if filled >= entry.remaining:
        return ended(changed, order_id)
    return replace(changed, entries={**holding.entries, order_id: replace(entry, remaining=entry.remaining - filled)})


def awaiting(holding: Holding, order_id: OrderId, remaining: int) -> Holding:
    """The order of this entry was changed: so much of it may still fill. Other orders are not ours to count."""
    entry = holding.entries.get(order_id)
    if entry is None:
        return holding
    if remaining <= 0:
        return ended(holding, order_id)
    return replace(holding, entries={**holding.entries, order_id: replace(entry, remaining=remaining)})


def found(
    holding: Holding, order_id: OrderId, remaining: int, legs: int, direction: Side | None, now: datetime
) -> Holding:
    """The venue has an entry after all that was told to be rejected. With nothing else open, its direction holds."""
    if remaining <= 0:
        return holding
    entries = {**holding.entries, order_id: Entry(remaining, now, legs)}
    return replace(holding, entries=entries, direction=holding.direction if holding.occupied else direction)


def turned(holding: Holding) -> Holding:
    """The legs of its algo were turned round: what it holds is what the other signal would enter now."""
    return replace(holding, direction=holding.direction.opposite if holding.direction else None)


def ended(holding: Holding, order_id: OrderId) -> Holding:
    """Nothing more will come of this entry."""
    entries = {own: entry for own, entry in holding.entries.items() if own != order_id}
    return replace(holding, entries=entries, lost={own: at for own, at in holding.lost.items() if own != order_id})


def closing(holding: Holding, square_off_id: SquareOffId, now: datetime) -> Holding:
    return replace(holding, closing=Closing(square_off_id, now))


def closed(
    holding: Holding, square_off_id: SquareOffId, told_at: datetime, expired: Collection[InstrumentId] = ()
) -> Holding:
    """Trading had nothing pending and nothing open for the algo in this account, but for what expired or was delisted,
    when it told so: we may hear it long after, and have asked for entries since.
    """
    left = tuple(sorted({*holding.left, *(name for name in holding.books if _instrument(name) in expired)}))
    entries = {own: entry for own, entry in holding.entries.items() if told_at - entry.requested_at < LOST_AFTER}
    given_up = {own: entry.requested_at for own, entry in holding.entries.items() if own not in entries}
    lost = {own: at for own, at in {**holding.lost, **given_up}.items() if told_at - at < LOST_FOR}
    own = holding.closing
    if own is not None and own.square_off_id == square_off_id:
        own = replace(own, answered=True)
    return replace(holding, entries=entries, closing=own, lost=lost, left=left)


def left_for_good(holding: Holding) -> Holding:
    """Its account was deleted: what is held in there has expired, and nobody closes it."""
    return replace(holding, left=tuple(sorted(holding.books)))


def listed_again(holding: Holding, is_tradable: Callable[[InstrumentId], bool]) -> Holding:
    """Of what trading left counts again what can be traded: a share that was suspended, or that a dump lacked."""
    return replace(holding, left=tuple(name for name in holding.left if not is_tradable(_instrument(name))))


def _instrument(name: str) -> InstrumentId:
    return InstrumentId(name.rpartition(" ")[0])


def refused(holding: Holding, square_off_id: SquareOffId) -> Holding:
    """Our square-off will not happen, and neither will what waited for it."""
    if holding.closing is None or holding.closing.square_off_id != square_off_id:
        return holding
    return replace(holding, closing=None, reversal=None)
