"""What a square-off does now.

Every fill belongs to one book, and the books of an account sum up to its net position; so closing book by book
leaves both flat. A square-off holds no list of what it still has to do: each look compares what is open with the
exits on their way, so that no quantity is ever closed twice, whatever crossed on the road.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from libs.common.contracts.enums import DenialRule, OrderPurpose, OrderStatus, OrderType, Product, Side
from libs.common.contracts.ids import InstrumentId, OrderId, StrategyId
from libs.common.contracts.orders import OrderRequested
from services.trading.domain.orders import Order
from services.trading.domain.panics import Denial
from services.trading.domain.positions import Book, BookKey, book_key
from services.trading.domain.settling import is_for_a_person
from services.trading.domain.square_offs import EXIT_EXPIRES, RESTING, SquareOff, is_stranded

CANCEL_WAIT = timedelta(seconds=3)
"""An exit waits so long for the cancels of its book, lest they cross; then it goes, come what may."""
LARGEST_ORDER = 10**9
"""Risk lets no larger one through. One of more than twice as much would not fit into the table of orders."""
NEEDLESS = Denial(
    DenialRule.NOT_REDUCING, "something else has closed what this exit was to close", "an open position", "none"
)


@dataclass(frozen=True, slots=True)
class Exit:
    """One order that a square-off needs now."""

    strategy_id: StrategyId | None
    instrument: InstrumentId
    product: Product
    side: Side
    quantity: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now. `books` are those that are open in scope, `pending` the orders that may still trade there.

    `waits` says that there is nothing to do but to wait: for markets, or, of the books `in_doubt`, for a person who
    tells what became of their exits; `stands`, that until somebody trades with an exit, or it is time for another.
    """

    cancels: tuple[Order, ...]
    exits: tuple[Exit, ...]
    books: tuple[Book, ...]
    pending: tuple[Order, ...]
    waits: bool
    stands: bool
    in_doubt: frozenset[BookKey]

    @property
    def is_flat(self) -> bool:
        """The square-off is over."""
        return not self.pending and not self.books

    @property
    def instruments(self) -> set[InstrumentId]:
        """Of what is not over."""
        return {book.instrument for book in self.books} | {order.instrument for order in self.pending}


def plan(
    square_off: SquareOff,
    orders: Iterable[Order],
    books: Iterable[Book],
    largest: Mapping[InstrumentId, int],
    now: datetime,
    closed: Collection[InstrumentId] = (),
    renewing: Collection[InstrumentId] = (),
) -> Plan:
    """`orders` are the account's open ones, `largest` the order sizes that a freeze limit taught us. Exits of what is
    `closed` wait until its market opens: each would be one more refused order in the book. Of `renewing` they are asked
    for anew when they rest for long.
    """
    covered = [order for order in orders if square_off.covers(order)]
    pending = [order for order in covered if not is_for_a_person(order, now)]
    others = [order for order in pending if not order.is_exit]
    held = (book for book in books if book.holding.quantity and square_off.covers(book))
    open_books = sorted((book for book in held if book.instrument not in square_off.expired), key=_rank)
    exits_open = [order for order in covered if order.is_exit]
    in_doubt = frozenset(book_key(order) for order in exits_open if order not in pending)
    stranded = [o for o in exits_open if o.instrument in renewing and is_stranded(square_off, o, now)]
    closing = [order for order in exits_open if order.instrument not in square_off.expired]
    beyond = _beyond(closing, {book_key(book): book.holding.quantity for book in open_books})
    wrong = {order.order_id: order for order in (*others, *stranded, *beyond)}
    cancels = tuple(
        order
        for _, order in sorted(wrong.items())
        if order.cancel_requested_at is None and not square_off.is_pausing(order.instrument, now)
    )
    blocked = {book_key(order) for order in others if _may_cross(order, now)}
    on_their_way = _on_their_way(exits_open)
    exits = tuple(
        piece
        for book in open_books
        if book.instrument not in closed
        if book_key(book) not in blocked and not square_off.is_pausing(book.instrument, now)
        for piece in _exits(book, on_their_way.get(book_key(book), 0), largest.get(book.instrument))
    )
    must_wait = all(book.instrument in closed or book_key(book) in in_doubt for book in open_books)
    waits = bool(open_books) and must_wait and not pending and not exits
    stands = bool(open_books) and not cancels and not exits and all(o.is_exit and o.status in RESTING for o in pending)
    return Plan(cancels, exits, tuple(open_books), tuple(pending), waits, stands, in_doubt)


def _rank(book: Book) -> tuple[bool, str, str, str]:
    """What was sold is bought back before what covers it is sold: a broker refuses to sell that first. Else an order of
    their own, whatever the order they are stored in: a replay asks for the same exits again.
    """
    return book.holding.quantity > 0, book.instrument, book.product, str(book.strategy_id)


def _may_cross(order: Order, now: datetime) -> bool:
    asked = order.cancel_requested_at
    return asked is None or abs(now - asked) < CANCEL_WAIT  # by the clock of then, which may have been ahead


def _on_their_way(exits: Iterable[Order]) -> dict[BookKey, int]:
    """Signed quantities that exits may still fill, of this square-off or another."""
    sums: dict[BookKey, int] = {}
    for order in exits:
        key = book_key(order)
        sums[key] = sums.get(key, 0) + order.side.sign * order.leaves
    return sums


def _beyond(exits: Iterable[Order], held: Mapping[BookKey, int]) -> Iterator[Order]:
    """Exits at a venue that would close more than is held, since something else has closed it, or an exit that was
    taken for refused is there after all. The oldest go on.
    """
    left = dict(held)
    for order in sorted(exits, key=lambda order: order.order_id):
        key = book_key(order)
        closes = order.side.sign * order.leaves
        now_held = left.get(key, 0)
        if closes * now_held < 0 and abs(closes) <= abs(now_held):
            left[key] = now_held + closes
        elif order.status is not OrderStatus.REQUESTED:
            yield order


def is_needless(cleared: Order, orders: Iterable[Order], books: Iterable[Book]) -> bool:
    """Whether an exit that risk let through would close more than is held, less what those at a venue close already:
    while risk decided about it something else closed the book, or a part of it.
    """
    at_venue = (o for o in orders if o.is_exit and o.order_id != cleared.order_id)
    sent = _on_their_way(o for o in at_venue if o.status is not OrderStatus.REQUESTED).get(book_key(cleared), 0)
    held = next((book.holding.quantity for book in books if book_key(book) == book_key(cleared)), 0)
    left, closes = held + sent, cleared.side.sign * cleared.leaves
    return left * closes >= 0 or abs(closes) > abs(left)


def _exits(book: Book, on_their_way: int, largest: int | None) -> Iterator[Exit]:
    """What is held less what closes already; never more than is held, since exits on the wrong side may yet fail."""
    held = book.holding.quantity
    left = held + on_their_way
    if left * held <= 0:
        return
    side = Side.SELL if held > 0 else Side.BUY
    quantity = min(abs(left), abs(held))
    while quantity:
        piece = min(quantity, largest or LARGEST_ORDER)
        yield Exit(book.strategy_id, book.instrument, book.product, side, piece)
        quantity -= piece


def request_exit(square_off: SquareOff, wanted: Exit, order_id: OrderId, epoch: int, now: datetime) -> OrderRequested:
    return OrderRequested(
        order_id=order_id,
        account_id=square_off.account_id,
        user_id=square_off.user_id,
        strategy_id=wanted.strategy_id,
        instrument=wanted.instrument,
        side=wanted.side,
        quantity=wanted.quantity,
        order_type=OrderType.MARKET,
        product=wanted.product,
        purpose=OrderPurpose.SQUARE_OFF,
        square_off_id=square_off.square_off_id,
        requested_at=now,
        expires_at=now + EXIT_EXPIRES,
        epoch=epoch,
    )
