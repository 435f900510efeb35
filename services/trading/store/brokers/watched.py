"""Our orders at brokers behind HTTP: what was last told of each."""

from collections.abc import Collection, Sequence

import asyncpg

from libs.common.contracts.enums import Broker, OrderType
from libs.common.contracts.ids import AccountId, OrderId
from libs.common.database import Connection
from services.trading.domain.book import Terms, Watch, Watched

COLUMNS = (
    "order_id, call_id, account_id, user_id, correlation_id, broker, instrument, tag, day, state, answer_due, "
    "broker_order_id, quantity, order_type, price, trigger_price, triggered, filled_quantity, trade_ids, "
    "absent_reads, absent_since"
)
SELECT = "SELECT * FROM broker_orders WHERE order_id = $1 FOR UPDATE"
LOCK = "SELECT 1 FROM broker_orders WHERE order_id = ANY($1::uuid[]) ORDER BY order_id FOR UPDATE"
SELECT_WATCHED = "SELECT * FROM broker_orders WHERE account_id = $1 AND state <> 'ENDED' ORDER BY order_id FOR UPDATE"
SELECT_IN_BOOK = """
SELECT * FROM broker_orders
 WHERE account_id = $1 AND (state <> 'ENDED' OR tag = ANY($2::text[]))
 ORDER BY order_id FOR UPDATE
"""
SAVE = f"""
INSERT INTO broker_orders ({COLUMNS})
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)
ON CONFLICT (order_id) DO UPDATE
   SET state = excluded.state, answer_due = excluded.answer_due, broker_order_id = excluded.broker_order_id,
       quantity = excluded.quantity, order_type = excluded.order_type, price = excluded.price,
       trigger_price = excluded.trigger_price, triggered = excluded.triggered,
       filled_quantity = excluded.filled_quantity, trade_ids = excluded.trade_ids,
       absent_reads = excluded.absent_reads, absent_since = excluded.absent_since
"""  # noqa: S608 - constants only


class WatchedOrders:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._changed: dict[OrderId, Watched] = {}

    async def get(self, order_id: OrderId) -> Watched | None:
        """Locked."""
        row = await self._connection.fetchrow(SELECT, order_id)
        return None if row is None else _watched(row)

    async def lock(self, order_ids: Collection[OrderId]) -> None:
        """Before their accounts, as the effects do."""
        await self._connection.execute(LOCK, list(order_ids))

    async def of_account(self, account_id: AccountId) -> Sequence[Watched]:
        """Locked: those that are not over."""
        return [_watched(row) for row in await self._connection.fetch(SELECT_WATCHED, account_id)]

    async def in_book(self, account_id: AccountId, tags: Collection[str]) -> Sequence[Watched]:
        """Locked: those that are not over, and those that carry one of the tags."""
        return [_watched(row) for row in await self._connection.fetch(SELECT_IN_BOOK, account_id, list(tags))]

    def save(self, order: Watched) -> None:
        self._changed[order.order_id] = order

    async def flush(self) -> None:
        if self._changed:
            await self._connection.executemany(SAVE, [_row(order) for order in self._changed.values()])


def _watched(row: asyncpg.Record) -> Watched:
    return Watched(
        order_id=row["order_id"],
        call_id=row["call_id"],
        account_id=row["account_id"],
        user_id=row["user_id"],
        correlation_id=row["correlation_id"],
        broker=Broker(row["broker"]),
        instrument=row["instrument"],
        tag=row["tag"],
        day=row["day"],
        state=Watch(row["state"]),
        answer_due=row["answer_due"],
        terms=Terms(row["quantity"], OrderType(row["order_type"]), row["price"], row["trigger_price"]),
        broker_order_id=row["broker_order_id"],
        triggered=row["triggered"],
        filled_quantity=row["filled_quantity"],
        trade_ids=tuple(row["trade_ids"]),
        absent_reads=row["absent_reads"],
        absent_since=row["absent_since"],
    )


def _row(order: Watched) -> Sequence[object]:
    terms = order.terms
    return (
        order.order_id,
        order.call_id,
        order.account_id,
        order.user_id,
        order.correlation_id,
        order.broker,
        order.instrument,
        order.tag,
        order.day,
        order.state,
        order.answer_due,
        order.broker_order_id,
        terms.quantity,
        terms.order_type,
        terms.price,
        terms.trigger_price,
        order.triggered,
        order.filled_quantity,
        list(order.trade_ids),
        order.absent_reads,
        order.absent_since,
    )
