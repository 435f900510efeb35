"""What a broker shows: the rows of its order book, and its trades."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from services.trading.domain.book.watched import Terms, Watched
from services.trading.domain.orders import is_tag


class RowState(StrEnum):
    PASSING = "PASSING"
    """On its way between broker and exchange; the terms may be old or new."""
    DORMANT = "DORMANT"
    OPEN = "OPEN"
    COMPLETE = "COMPLETE"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"


@dataclass(frozen=True, slots=True)
class BookRow:
    broker_order_id: str
    tag: str
    state: RowState
    terms: Terms
    filled_quantity: int
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Trade:
    """`trade_id` is the exchange's; with the broker's order id it is unique for ever. What it moved is in the broker's
    words, and empty where the broker does not say it.
    """

    trade_id: str
    broker_order_id: str
    quantity: int
    price: Decimal
    at: datetime
    symbol: str = ""
    product: str = ""
    side: str = ""


def is_over(row: BookRow) -> bool:
    return row.state in (RowState.COMPLETE, RowState.CANCELLED, RowState.REJECTED)


class Book:
    """`began_at` is when we asked for it: what happened later may be missing."""

    def __init__(self, rows: Iterable[BookRow], trades: Iterable[Trade], began_at: datetime) -> None:
        self.began_at = began_at
        self._by_id: dict[str, BookRow] = {}
        self._by_tag: defaultdict[str, dict[str, BookRow]] = defaultdict(dict)
        self._trades: defaultdict[str, dict[str, Trade]] = defaultdict(dict)
        for row in rows:
            self._by_id[row.broker_order_id] = row
            self._by_tag[row.tag][row.broker_order_id] = row
        for trade in trades:
            self._trades[trade.broker_order_id][trade.trade_id] = trade

    @property
    def tags(self) -> Collection[str]:
        return self._by_tag.keys()

    def rows_of(self, order: Watched) -> list[BookRow]:
        """By our tag, or the id that the broker gave for it; never by likeness (openalgo#1991). The known one first."""
        found = dict(self._by_tag.get(order.tag, {}))
        known = self._by_id.get(order.broker_order_id or "")
        if known is not None:
            found[known.broker_order_id] = known
        return sorted(found.values(), key=lambda r: (r.broker_order_id != order.broker_order_id, r.broker_order_id))

    def past_us(self, ours: Iterable[Watched]) -> list[Trade]:
        """Trades of orders that are neither these nor, by their tags, another account's here."""
        known = {row.broker_order_id for order in ours for row in self.rows_of(order)}
        others = (row for row in self._by_id.values() if row.broker_order_id not in known)
        return self.trades_of(row for row in others if not is_tag(row.tag))

    def trades_of(self, rows: Iterable[BookRow]) -> list[Trade]:
        found = [trade for row in rows for trade in self._trades.get(row.broker_order_id, {}).values()]
        return sorted(found, key=lambda trade: (trade.at, trade.trade_id))
