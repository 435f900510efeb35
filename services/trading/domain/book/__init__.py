"""A broker's order book and trades, held against what we know: what happened, told once, whatever order it shows in.

Fills are only ever the broker's own trades. What the book does not show proves something for one question alone:
whether an order that nobody answered for was taken, and only after it was missing long and often enough, on its day.
"""

from services.trading.domain.book.looking import answered, look
from services.trading.domain.book.shown import Book, BookRow, RowState, Trade, is_over
from services.trading.domain.book.watched import (
    STOPS,
    Look,
    Terms,
    Watch,
    Watched,
    is_hardly_there,
    report,
    terms_of,
    watch,
)

__all__ = [
    "STOPS",
    "Book",
    "BookRow",
    "Look",
    "RowState",
    "Terms",
    "Trade",
    "Watch",
    "Watched",
    "answered",
    "is_hardly_there",
    "is_over",
    "look",
    "report",
    "terms_of",
    "watch",
]
