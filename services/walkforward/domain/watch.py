"""Which resting orders of one instrument a tick could concern: a cheap question, asked of every tick.

The answer may hold too many orders, never too few: their rows decide.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from libs.common.contracts.enums import Side
from libs.common.contracts.ids import OrderId
from libs.common.contracts.market import Tick
from services.walkforward.domain.market import INFINITY, last_of, reach
from services.walkforward.domain.orders import Order

Ladder = list[tuple[float, OrderId]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an order waits: at a price on a ladder, or on none, for any tick. `executions` dates what is known."""

    executions: int
    ladder: Ladder | None = None
    price: float = 0.0


class Watch:
    """Orders by the price that wakes them, half a tick generous, since markets round to whole ticks."""

    __slots__ = ("_any", "_buys", "_falls", "_places", "_rises", "_sells")

    def __init__(self) -> None:
        self._buys: Ladder = []
        self._sells: Ladder = []
        self._rises: Ladder = []
        self._falls: Ladder = []
        self._any: set[OrderId] = set()
        self._places: dict[OrderId, Place] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[OrderId]:
        return iter(self._places)

    def knows(self, order_id: OrderId, executions: int) -> bool:
        """The order is watched, as it is since it had so many executions."""
        place = self._places.get(order_id)
        return place is not None and place.executions >= executions

    def put(self, order: Order, tick_size: Decimal | None) -> None:
        """Watch the order as it is now; a final one no more. What is older than what is known is ignored."""
        known = self._places.get(order.order_id)
        if known is not None and known.executions > order.executions:
            return
        self.drop(order.order_id)
        if not order.is_open:
            return
        place = self._place(order, tick_size)
        self._places[order.order_id] = place
        if place.ladder is None:
            self._any.add(order.order_id)
        else:
            insort(place.ladder, (place.price, order.order_id))

    def drop(self, order_id: OrderId) -> None:
        place = self._places.pop(order_id, None)
        self._any.discard(order_id)
        if place is not None and place.ladder is not None:
            del place.ladder[bisect_left(place.ladder, (place.price, order_id))]

    def stirred_by(self, tick: Tick, half_spread: float, through: float = INFINITY) -> set[OrderId]:
        """The orders that could trade or trigger on this tick; where it tells of a trade, `through` is a tick."""
        ask, bid = reach(tick, half_spread, through)
        found = set(self._any)
        if self._buys and self._buys[-1][0] >= ask:
            found.update(_names(self._buys[bisect_left(self._buys, ask, key=_price) :]))
        if self._sells and self._sells[0][0] <= bid:
            found.update(_names(self._sells[: bisect_right(self._sells, bid, key=_price)]))
        last = last_of(tick) if self._rises or self._falls else 0.0
        if self._rises and self._rises[0][0] <= last:
            found.update(_names(self._rises[: bisect_right(self._rises, last, key=_price)]))
        if self._falls and self._falls[-1][0] >= last > 0:
            found.update(_names(self._falls[bisect_left(self._falls, last, key=_price) :]))
        return found

    def _place(self, order: Order, tick_size: Decimal | None) -> Place:
        if tick_size is None:
            return Place(order.executions)
        buys = order.side is Side.BUY
        generous = float(tick_size) / 2 if buys else -float(tick_size) / 2
        if order.is_dormant and order.trigger_price is not None:
            return Place(order.executions, self._rises if buys else self._falls, float(order.trigger_price) - generous)
        if order.limit is None or order.seen is None:
            return Place(order.executions)
        return Place(order.executions, self._buys if buys else self._sells, float(order.limit) + generous)


def _names(steps: Ladder) -> list[OrderId]:
    return [order_id for _, order_id in steps]


def _price(step: tuple[float, OrderId]) -> float:
    return step[0]
