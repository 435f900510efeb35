"""Net positions and the strategies' books of them.

Manual orders book under the nil UUID, since a key column cannot be null.
"""

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

import asyncpg

from libs.common.contracts.enums import Product
from libs.common.contracts.ids import AccountId, StrategyId
from libs.common.service import Connection
from libs.common.writes import Writes
from services.trading.domain.orders import Order
from services.trading.domain.positions import Book, BookKey, Holding, Net, NetKey, book_key, net_key
from services.trading.store.rows import Row

NIL = StrategyId(UUID(int=0))

SELECT_NETS = """
SELECT p.*
  FROM unnest($1::uuid[], $2::text[], $3::text[]) AS k(account_id, instrument, product)
  JOIN positions p USING (account_id, instrument, product)
"""
SELECT_BOOKS = """
SELECT b.*
  FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[]) AS k(account_id, instrument, product, strategy_id)
  JOIN books b USING (account_id, instrument, product, strategy_id)
"""
SELECT_LIVE_NETS = """
SELECT *
  FROM positions
 WHERE account_id = ANY($1::uuid[]) AND (quantity <> 0 OR bought_quantity > 0 OR sold_quantity > 0)
"""
SELECT_LIVE_BOOKS = """
SELECT *
  FROM books
 WHERE account_id = ANY($1::uuid[]) AND (quantity <> 0 OR bought_quantity > 0 OR sold_quantity > 0)
"""
SAVE_NETS = """
INSERT INTO positions
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::uuid[], $6::integer[], $7::numeric[],
                     $8::numeric[], $9::integer[], $10::integer[], $11::numeric[], $12::numeric[], $13::numeric[],
                     $14::integer[])
ON CONFLICT (account_id, instrument, product) DO UPDATE
   SET order_id = excluded.order_id, quantity = excluded.quantity, cost = excluded.cost,
       realised_pnl = excluded.realised_pnl, bought_quantity = excluded.bought_quantity,
       sold_quantity = excluded.sold_quantity, bought_value = excluded.bought_value,
       sold_value = excluded.sold_value, margin = excluded.margin, version = excluded.version
"""
SAVE_BOOKS = """
INSERT INTO books
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::integer[], $6::numeric[], $7::numeric[],
                     $8::integer[], $9::integer[], $10::numeric[], $11::numeric[])
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
        self._changed_nets: dict[NetKey, Net] = {}
        self._changed_books: dict[BookKey, Book] = {}

    async def of(self, order: Order) -> tuple[Net, Book]:
        """What a fill of this order moves."""
        await self.load([order])
        net = self._nets[order.account_id][net_key(order)]
        book = self._books[order.account_id][book_key(order)]
        return (
            net or Net(order.account_id, order.user_id, order.instrument, order.product, order.order_id),
            book or Book(order.account_id, order.strategy_id, order.instrument, order.product),
        )

    async def live_nets(self, account_id: AccountId) -> Sequence[Net]:
        """Open, or traded today."""
        await self.load_live({account_id})
        return [net for net in self._nets[account_id].values() if net is not None]

    async def live_books(self, account_id: AccountId) -> Sequence[Book]:
        await self.load_live({account_id})
        return [book for book in self._books[account_id].values() if book is not None]

    def save_net(self, net: Net) -> None:
        self._nets[net.account_id][net_key(net)] = net
        self._changed_nets[net_key(net)] = net

    def save_book(self, book: Book) -> None:
        self._books[book.account_id][book_key(book)] = book
        self._changed_books[book_key(book)] = book

    async def load(self, orders: Sequence[Order]) -> None:
        missing = [order for order in orders if book_key(order) not in self._books[order.account_id]]
        if not missing:
            return
        nets, books = {net_key(order) for order in missing}, {book_key(order) for order in missing}
        for row in await self._connection.fetch(SELECT_NETS, *zip(*nets, strict=True)):
            self._keep_net(row)
        keys = [(*key[:3], key[3] or NIL) for key in books]
        for row in await self._connection.fetch(SELECT_BOOKS, *zip(*keys, strict=True)):
            self._keep_book(row)
        for net in nets:
            self._nets[net[0]].setdefault(net, None)
        for book in books:
            self._books[book[0]].setdefault(book, None)

    async def load_live(self, account_ids: set[AccountId]) -> None:
        missing = account_ids - self._whole
        if not missing:
            return
        self._whole |= missing
        for row in await self._connection.fetch(SELECT_LIVE_NETS, missing):
            self._keep_net(row)
        for row in await self._connection.fetch(SELECT_LIVE_BOOKS, missing):
            self._keep_book(row)

    def _keep_net(self, row: asyncpg.Record) -> None:
        net = _net(row)
        self._nets[net.account_id].setdefault(net_key(net), net)

    def _keep_book(self, row: asyncpg.Record) -> None:
        book = _book(row)
        self._books[book.account_id].setdefault(book_key(book), book)

    def flush(self, writes: Writes) -> None:
        writes.add_rows(SAVE_NETS, [_net_row(net) for net in self._changed_nets.values()])
        writes.add_rows(SAVE_BOOKS, [_book_row(book) for book in self._changed_books.values()])


def _net(row: asyncpg.Record) -> Net:
    return Net(
        account_id=row["account_id"],
        user_id=row["user_id"],
        instrument=row["instrument"],
        product=Product(row["product"]),
        order_id=row["order_id"],
        holding=_holding(row),
        margin=row["margin"],
        version=row["version"],
    )


def _book(row: asyncpg.Record) -> Book:
    strategy_id = row["strategy_id"]
    return Book(
        account_id=row["account_id"],
        strategy_id=None if strategy_id == NIL else strategy_id,
        instrument=row["instrument"],
        product=Product(row["product"]),
        holding=_holding(row),
    )


def _holding(row: asyncpg.Record) -> Holding:
    return Holding(
        quantity=row["quantity"],
        cost=row["cost"],
        realised_pnl=row["realised_pnl"],
        bought_quantity=row["bought_quantity"],
        sold_quantity=row["sold_quantity"],
        bought_value=row["bought_value"],
        sold_value=row["sold_value"],
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
