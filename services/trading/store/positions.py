"""Net positions and the strategies' books of them.

Manual orders book under the nil UUID, since a key column cannot be null.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from decimal import Decimal
from uuid import UUID

from libs.common.contracts.enums import Product
from libs.common.contracts.ids import AccountId, InstrumentId, OrderId, StrategyId
from libs.common.database import Connection
from libs.common.reads import Reads, Row
from libs.common.writes import Writes
from services.trading.domain.orders import Order
from services.trading.domain.positions import Book, BookKey, Holding, Net, NetKey, book_key, net_key

NIL = StrategyId(UUID(int=0))

NET = """
p.account_id, p.instrument, p.product, p.user_id, p.order_id, p.quantity, p.cost::text, p.realised_pnl::text,
p.bought_quantity, p.sold_quantity, p.bought_value::text, p.sold_value::text, p.margin::text, p.version
"""
BOOK = """
b.account_id, b.instrument, b.product, b.strategy_id, b.quantity, b.cost::text, b.realised_pnl::text,
b.bought_quantity, b.sold_quantity, b.bought_value::text, b.sold_value::text
"""
SELECT_NETS = f"""
SELECT {NET}
  FROM (SELECT account_id, instrument, product FROM orders WHERE order_id = ANY($1::uuid[])
        UNION
        SELECT * FROM unnest($2::uuid[], $3::text[], $4::text[])) AS k(account_id, instrument, product)
  JOIN positions p USING (account_id, instrument, product)
"""  # noqa: S608 - constants only
SELECT_BOOKS = f"""
SELECT {BOOK}
  FROM (SELECT account_id, instrument, product, COALESCE(strategy_id, $6::uuid)
          FROM orders WHERE order_id = ANY($1::uuid[])
        UNION
        SELECT * FROM unnest($2::uuid[], $3::text[], $4::text[], $5::uuid[]))
       AS k(account_id, instrument, product, strategy_id)
  JOIN books b USING (account_id, instrument, product, strategy_id)
"""  # noqa: S608 - constants only
LIVE = "account_id = ANY($1::uuid[]) AND (quantity <> 0 OR bought_quantity > 0 OR sold_quantity > 0)"
SELECT_LIVE_NETS = f"SELECT {NET} FROM positions p WHERE {LIVE}"  # noqa: S608 - constants only
SELECT_LIVE_BOOKS = f"SELECT {BOOK} FROM books b WHERE {LIVE}"  # noqa: S608 - constants only
SELECT_HELD = f"""
SELECT {NET}
  FROM positions p
 WHERE p.quantity <> 0 AND p.instrument = ANY($1::text[])
 ORDER BY p.account_id, p.product
"""  # noqa: S608 - constants only
SAVE_NETS = """
INSERT INTO positions
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::uuid[], $6::bigint[], $7::numeric[],
                     $8::numeric[], $9::bigint[], $10::bigint[], $11::numeric[], $12::numeric[], $13::numeric[],
                     $14::integer[])
ON CONFLICT (account_id, instrument, product) DO UPDATE
   SET order_id = excluded.order_id, quantity = excluded.quantity, cost = excluded.cost,
       realised_pnl = excluded.realised_pnl, bought_quantity = excluded.bought_quantity,
       sold_quantity = excluded.sold_quantity, bought_value = excluded.bought_value,
       sold_value = excluded.sold_value, margin = excluded.margin, version = excluded.version
"""
SAVE_BOOKS = """
INSERT INTO books
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::bigint[], $6::numeric[], $7::numeric[],
                     $8::bigint[], $9::bigint[], $10::numeric[], $11::numeric[])
ON CONFLICT (account_id, instrument, product, strategy_id) DO UPDATE
   SET quantity = excluded.quantity, cost = excluded.cost, realised_pnl = excluded.realised_pnl,
       bought_quantity = excluded.bought_quantity, sold_quantity = excluded.sold_quantity,
       bought_value = excluded.bought_value, sold_value = excluded.sold_value
"""


class Positions:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._nets: defaultdict[AccountId, dict[NetKey, Net | None]] = defaultdict(dict)
        self._books: defaultdict[AccountId, dict[BookKey, Book | None]] = defaultdict(dict)
        self._whole: set[AccountId] = set()
        self._held: defaultdict[InstrumentId, list[Net]] = defaultdict(list)
        self._changed_nets: dict[NetKey, Net] = {}
        self._changed_books: dict[BookKey, Book] = {}

    async def of(self, order: Order) -> tuple[Net, Book]:
        """What a fill of this order moves."""
        if book_key(order) not in self._books[order.account_id]:
            reads = Reads(self._connection)
            self._ask(reads, [], [order])
            await reads.send()
            self.found([order])
        net = self._nets[order.account_id][net_key(order)]
        book = self._books[order.account_id][book_key(order)]
        return (
            net or Net(order.account_id, order.user_id, order.instrument, order.product, order.order_id),
            book or Book(order.account_id, order.strategy_id, order.instrument, order.product),
        )

    async def net_of(self, book: Book) -> Net:
        """What the book is a share of, flat ones too: books may offset each other."""
        key = net_key(book)
        nets = self._nets[book.account_id]
        if key not in nets:
            reads = Reads(self._connection)
            reads.add(SELECT_NETS, self._keep_nets, [], *([each] for each in key))
            await reads.send()
        net = nets.get(key)
        if net is None:
            raise LookupError(f"there is a book of {book.instrument} in account {book.account_id}, and no position")
        return net

    async def live_nets(self, account_id: AccountId) -> Sequence[Net]:
        """Open, or traded today."""
        await self._read_live(account_id)
        return [net for net in self._nets[account_id].values() if net is not None]

    async def live_books(self, account_id: AccountId) -> Sequence[Book]:
        await self._read_live(account_id)
        return [book for book in self._books[account_id].values() if book is not None]

    async def _read_live(self, account_id: AccountId) -> None:
        reads = Reads(self._connection)
        self.ask_live(reads, {account_id})
        await reads.send()

    def save_net(self, net: Net) -> None:
        self._nets[net.account_id][net_key(net)] = net
        self._changed_nets[net_key(net)] = net

    def save_book(self, book: Book) -> None:
        self._books[book.account_id][book_key(book)] = book
        self._changed_books[book_key(book)] = book

    def ask(self, reads: Reads, order_ids: Collection[OrderId]) -> None:
        """What fills of these stored orders move; `found` tells afterwards which orders they are."""
        if order_ids:
            self._ask(reads, order_ids, [])

    def found(self, orders: Sequence[Order]) -> None:
        for order in orders:
            self._nets[order.account_id].setdefault(net_key(order), None)
            self._books[order.account_id].setdefault(book_key(order), None)

    def ask_live(self, reads: Reads, account_ids: set[AccountId]) -> None:
        missing = account_ids - self._whole
        if missing:
            self._whole |= missing
            reads.add(SELECT_LIVE_NETS, self._keep_nets, missing)
            reads.add(SELECT_LIVE_BOOKS, self._keep_books, missing)

    def ask_held(self, reads: Reads, instruments: Collection[InstrumentId]) -> None:
        """What accounts hold of these."""
        if instruments:
            reads.add(SELECT_HELD, self._keep_held, instruments)

    def held(self, instrument: InstrumentId) -> Sequence[Net]:
        """As it was when this transaction asked."""
        return self._held[instrument]

    def _keep_held(self, rows: Sequence[Row]) -> None:
        for net in map(_net, rows):
            self._held[net.instrument].append(net)

    def _ask(self, reads: Reads, order_ids: Collection[OrderId], orders: Sequence[Order]) -> None:
        keys = (
            [order.account_id for order in orders],
            [order.instrument for order in orders],
            [order.product for order in orders],
        )
        strategies = [order.strategy_id or NIL for order in orders]
        reads.add(SELECT_NETS, self._keep_nets, order_ids, *keys)
        reads.add(SELECT_BOOKS, self._keep_books, order_ids, *keys, strategies, NIL)

    def _keep_nets(self, rows: Sequence[Row]) -> None:
        for net in map(_net, rows):
            self._nets[net.account_id].setdefault(net_key(net), net)

    def _keep_books(self, rows: Sequence[Row]) -> None:
        for book in map(_book, rows):
            self._books[book.account_id].setdefault(book_key(book), book)

    def flush(self, writes: Writes) -> None:
        writes.add_rows(SAVE_NETS, [_net_row(net) for net in self._changed_nets.values()])
        writes.add_rows(SAVE_BOOKS, [_book_row(book) for book in self._changed_books.values()])


def _net(row: Row) -> Net:
    account_id, instrument, product, user_id, order_id, *holding, margin, version = row
    return Net(
        account_id=account_id,
        user_id=user_id,
        instrument=instrument,
        product=Product(product),
        order_id=order_id,
        holding=_holding(*holding),
        margin=Decimal(margin),
        version=version,
    )


def _book(row: Row) -> Book:
    account_id, instrument, product, strategy_id, *holding = row
    return Book(
        account_id=account_id,
        strategy_id=None if strategy_id == NIL else strategy_id,
        instrument=instrument,
        product=Product(product),
        holding=_holding(*holding),
    )


def _holding(
    quantity: int,
    cost: str,
    realised_pnl: str,
    bought_quantity: int,
    sold_quantity: int,
    bought_value: str,
    sold_value: str,
) -> Holding:
    return Holding(
        quantity=quantity,
        cost=Decimal(cost),
        realised_pnl=Decimal(realised_pnl),
        bought_quantity=bought_quantity,
        sold_quantity=sold_quantity,
        bought_value=Decimal(bought_value),
        sold_value=Decimal(sold_value),
    )


def _net_row(net: Net) -> Row:
    key = (net.account_id, net.instrument, net.product, net.user_id, net.order_id)
    return (*key, *_holding_row(net.holding), net.margin, net.version)


def _book_row(book: Book) -> Row:
    return (book.account_id, book.instrument, book.product, book.strategy_id or NIL, *_holding_row(book.holding))


def _holding_row(holding: Holding) -> Row:
    return (
        holding.quantity,
        holding.cost,
        holding.realised_pnl,
        holding.bought_quantity,
        holding.sold_quantity,
        holding.bought_value,
        holding.sold_value,
    )
