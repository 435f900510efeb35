"""Walkforward's tables: the book of orders. The only SQL of the service."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from asyncpg import Record

from libs.common.contracts.base import Message
from libs.common.contracts.enums import OrderStatus, OrderType, Side, Validity
from libs.common.contracts.ids import AccountId, InstrumentId, OrderId
from libs.common.contracts.venue import VenueCancelRequested, VenueModifyRequested, VenueOrderRequested
from libs.common.database import Connection
from libs.common.reads import Row
from libs.common.service import Store
from services.walkforward.domain.orders import Order

_COLUMNS = """order_id, account_id, instrument, side, quantity, order_type, validity, price, trigger_price, status,
              priority_at, active_from, expires_at, filled, triggered, seen, executions"""
_AS_READ = _COLUMNS.replace("price, trigger_price", "price::text, trigger_price::text")
_IS_OPEN = "status IN ('ACCEPTED', 'PARTIALLY_FILLED')"

_LOCK = f"SELECT {_AS_READ} FROM orders WHERE order_id = ANY($1::uuid[]) ORDER BY order_id FOR UPDATE"  # noqa: S608
_EARLY = "SELECT order_id, account_id FROM early_cancels WHERE order_id = ANY($1::uuid[])"
_OPEN = f"SELECT {_AS_READ} FROM orders WHERE {_IS_OPEN}"  # noqa: S608
_READ = f"SELECT {_AS_READ} FROM orders WHERE order_id = ANY($1::uuid[])"  # noqa: S608
_RESTING = f"SELECT DISTINCT instrument FROM orders WHERE {_IS_OPEN} ORDER BY instrument"  # noqa: S608
_RECENT = f"""
    SELECT order_id, instrument, executions FROM orders WHERE {_IS_OPEN} AND changed_at >= now() - $1::interval
"""  # noqa: S608
_OPEN_AMONG = f"SELECT order_id FROM orders WHERE order_id = ANY($1::uuid[]) AND {_IS_OPEN}"  # noqa: S608
_DUE = f"""
    SELECT {_AS_READ} FROM orders WHERE {_IS_OPEN} AND expires_at <= $1
    ORDER BY order_id LIMIT $2 FOR UPDATE SKIP LOCKED
"""  # noqa: S608
_FORGET = f"""
    DELETE FROM orders WHERE order_id IN (
        SELECT order_id FROM orders WHERE changed_at < now() - $1::interval AND NOT ({_IS_OPEN}) LIMIT $2)
"""  # noqa: S608

_FORGET_EARLY = "DELETE FROM early_cancels WHERE came_at < $1"
_KEEP_EARLY = """
    INSERT INTO early_cancels SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) ON CONFLICT DO NOTHING
"""
_INSERT = f"""
    INSERT INTO orders ({_COLUMNS}, changed_at)
    SELECT *, statement_timestamp()
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::int[], $6::text[], $7::text[], $8::numeric[],
                $9::numeric[], $10::text[], $11::timestamptz[], $12::timestamptz[], $13::timestamptz[], $14::int[],
                $15::bool[], $16::timestamptz[], $17::int[])
"""  # noqa: S608
_UPDATE = """
    UPDATE orders SET quantity = u.quantity, order_type = u.order_type, price = u.price,
        trigger_price = u.trigger_price, status = u.status, priority_at = u.priority_at, filled = u.filled,
        triggered = u.triggered, seen = u.seen, executions = u.executions, changed_at = statement_timestamp()
    FROM unnest($1::uuid[], $2::int[], $3::text[], $4::numeric[], $5::numeric[], $6::text[], $7::timestamptz[],
                $8::int[], $9::bool[], $10::timestamptz[], $11::int[])
        AS u(order_id, quantity, order_type, price, trigger_price, status, priority_at, filled, triggered, seen,
             executions)
    WHERE orders.order_id = u.order_id
"""


class WalkforwardStore(Store):
    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._orders: dict[OrderId, Order] = {}
        self._stored: set[OrderId] = set()
        self._saved: dict[OrderId, Order] = {}
        self._early: set[tuple[OrderId, AccountId]] = set()
        self._new_early: list[tuple[OrderId, AccountId, datetime]] = []

    def ask_on_entering(self, messages: Sequence[Message]) -> None:
        """The orders that are named, locked, and which of them were cancelled before they came."""
        requests = (VenueOrderRequested, VenueModifyRequested, VenueCancelRequested)
        named = list({message.order_id for message in messages if isinstance(message, requests)})
        self.reads.add(_LOCK, self._keep_locked, named)
        self.reads.add(_EARLY, self._early.update, named)

    async def lock(self, order_ids: Iterable[OrderId]) -> list[Order]:
        """The orders as they are once whoever held them is done, and nobody else's until this transaction ends."""
        return self._keep(await self.connection.fetch(_LOCK, list(order_ids)))

    async def lock_due(self, now: datetime, limit: int) -> list[Order]:
        """Open orders whose time is over, less those that somebody is deciding on."""
        return self._keep(await self.connection.fetch(_DUE, now, limit))

    async def instruments_of_open_orders(self) -> tuple[InstrumentId, ...]:
        return tuple(row[0] for row in await self.connection.fetch(_RESTING))

    async def open_orders(self) -> list[Order]:
        """Every open order, not locked: to know of, not to decide on."""
        return [_order(*row) for row in await self.connection.fetch(_OPEN)]

    async def recently_changed(self, within: timedelta) -> list[tuple[OrderId, InstrumentId, int]]:
        """The open orders that were taken or changed in that time, with their number of executions by now."""
        rows = await self.connection.fetch(_RECENT, within)
        return [(row[0], row[1], row[2]) for row in rows]

    async def read(self, order_ids: Iterable[OrderId]) -> list[Order]:
        """The orders, not locked: to know of, not to decide on."""
        return [_order(*row) for row in await self.connection.fetch(_READ, list(order_ids))]

    async def open_among(self, order_ids: Collection[OrderId]) -> set[OrderId]:
        return {row[0] for row in await self.connection.fetch(_OPEN_AMONG, list(order_ids))}

    async def forget_finished(self, unchanged_for: timedelta, limit: int) -> None:
        await self.connection.execute(_FORGET, unchanged_for, limit)

    async def forget_early_cancels(self, before: datetime) -> None:
        await self.connection.execute(_FORGET_EARLY, before)

    def order(self, order_id: OrderId) -> Order | None:
        return self._orders.get(order_id)

    def save(self, order: Order) -> None:
        self._orders[order.order_id] = self._saved[order.order_id] = order

    def was_cancelled_early(self, order_id: OrderId, account_id: AccountId) -> bool:
        return (order_id, account_id) in self._early

    def cancel_early(self, order_id: OrderId, account_id: AccountId, now: datetime) -> None:
        """Should this order come, it is cancelled already."""
        self._early.add((order_id, account_id))
        self._new_early.append((order_id, account_id, now))

    async def flush(self) -> None:
        saved = self._saved.values()
        new = [order for order in saved if order.order_id not in self._stored]
        changed = [order for order in saved if order.order_id in self._stored]
        self.writes.add_rows(_INSERT, _inserted(new))
        self.writes.add_rows(_UPDATE, _updated(changed))
        self.writes.add_rows(_KEEP_EARLY, self._new_early)
        self._stored.update(self._saved)
        self._saved.clear()
        self._new_early.clear()

    def _keep_locked(self, rows: Sequence[Row]) -> None:
        self._keep(rows)

    def _keep(self, rows: Iterable[Row | Record]) -> list[Order]:
        orders = [_order(*row) for row in rows]
        for order in orders:
            self._orders[order.order_id] = order
            self._stored.add(order.order_id)
        return orders


def _order(
    order_id: OrderId,
    account_id: AccountId,
    instrument: InstrumentId,
    side: str,
    quantity: int,
    order_type: str,
    validity: str,
    price: str | None,
    trigger_price: str | None,
    status: str,
    *rest: Any,
) -> Order:
    return Order(
        order_id,
        account_id,
        instrument,
        Side(side),
        quantity,
        OrderType(order_type),
        Validity(validity),
        None if price is None else Decimal(price),
        None if trigger_price is None else Decimal(trigger_price),
        OrderStatus(status),
        *rest,
    )


def _inserted(orders: Sequence[Order]) -> list[tuple[object, ...]]:
    return [
        (
            o.order_id,
            o.account_id,
            o.instrument,
            o.side,
            o.quantity,
            o.order_type,
            o.validity,
            o.price,
            o.trigger_price,
            o.status,
            o.priority_at,
            o.active_from,
            o.expires_at,
            o.filled,
            o.triggered,
            o.seen,
            o.executions,
        )
        for o in orders
    ]


def _updated(orders: Sequence[Order]) -> list[tuple[object, ...]]:
    return [
        (
            o.order_id,
            o.quantity,
            o.order_type,
            o.price,
            o.trigger_price,
            o.status,
            o.priority_at,
            o.filled,
            o.triggered,
            o.seen,
            o.executions,
        )
        for o in orders
    ]
