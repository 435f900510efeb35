"""The orders, from our wish or risk's clearance to the end."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import asyncpg

from libs.common.contracts.enums import OrderPurpose, OrderStatus, OrderType, Product, Side, Validity
from libs.common.contracts.ids import AccountId, OrderId
from libs.common.contracts.orders import OrderModifyCleared
from libs.common.service import Connection
from libs.common.writes import Writes
from services.trading.domain import panics
from services.trading.domain.orders import Order
from services.trading.store.rows import Row

SELECT = "SELECT * FROM orders WHERE order_id = ANY($1::uuid[])"
SELECT_OPEN = "SELECT * FROM orders WHERE account_id = ANY($1::uuid[]) AND is_open"
INSERT = """
INSERT INTO orders
SELECT * FROM unnest(
    $1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::integer[], $8::text[], $9::text[],
    $10::text[], $11::numeric[], $12::numeric[], $13::text[], $14::uuid[], $15::timestamptz[], $16::text[],
    $17::text[], $18::boolean[], $19::integer[], $20::integer[], $21::numeric[], $22::timestamptz[], $23::integer[],
    $24::numeric[], $25::text[], $26::boolean[], $27::timestamptz[], $28::text[])
"""
UPDATE = """
UPDATE orders o
   SET quantity = n.quantity, order_type = n.order_type, price = n.price, trigger_price = n.trigger_price,
       status = n.status, is_open = n.is_open, version = n.version, epoch = n.epoch, margin = n.margin,
       filled_quantity = n.filled_quantity, filled_value = n.filled_value, broker_order_id = n.broker_order_id,
       triggered = n.triggered, cancel_requested_at = n.cancel_requested_at, change = n.change
  FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::numeric[], $5::numeric[], $6::text[], $7::boolean[],
              $8::integer[], $9::integer[], $10::numeric[], $11::integer[], $12::numeric[], $13::text[],
              $14::boolean[], $15::timestamptz[], $16::text[])
       AS n(order_id, quantity, order_type, price, trigger_price, status, is_open, version, epoch, margin,
            filled_quantity, filled_value, broker_order_id, triggered, cancel_requested_at, change)
 WHERE o.order_id = n.order_id
"""


class Orders:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[OrderId, Order | None] = {}
        self._of_account: defaultdict[AccountId, dict[OrderId, Order]] = defaultdict(dict)
        self._whole: set[AccountId] = set()
        self._stored: set[OrderId] = set()
        self._changed: dict[OrderId, Order] = {}

    async def get(self, order_id: OrderId) -> Order | None:
        await self.load({order_id})
        return self._known[order_id]

    async def open(self, account_id: AccountId) -> Sequence[Order]:
        await self.load_open({account_id})
        return [order for order in self._of_account[account_id].values() if order.is_open]

    def loaded(self, order_ids: Iterable[OrderId]) -> list[Order]:
        found = (self._known.get(order_id) for order_id in order_ids)
        return [order for order in found if order is not None]

    def accounts_touched(self, scope: str) -> set[AccountId]:
        """Whose orders of a panic scope changed in this transaction."""
        return {
            order.account_id
            for order in self._changed.values()
            if scope in panics.scopes_of(order.user_id, order.account_id, order.strategy_id)
        }

    def save(self, order: Order) -> None:
        self._known[order.order_id] = order
        self._of_account[order.account_id][order.order_id] = order
        self._changed[order.order_id] = order

    async def load(self, order_ids: set[OrderId]) -> None:
        missing = [order_id for order_id in order_ids if order_id not in self._known]
        if not missing:
            return
        for row in await self._connection.fetch(SELECT, missing):
            self._keep(row)
        for order_id in missing:
            self._known.setdefault(order_id, None)

    async def load_open(self, account_ids: set[AccountId]) -> None:
        missing = account_ids - self._whole
        if missing:
            self._whole |= missing
            for row in await self._connection.fetch(SELECT_OPEN, missing):
                self._keep(row)

    def _keep(self, row: asyncpg.Record) -> None:
        order_id = row["order_id"]
        self._stored.add(order_id)
        if self._known.get(order_id) is None:
            order = _order(row)
            self._known[order_id] = order
            self._of_account[order.account_id][order_id] = order

    def flush(self, writes: Writes) -> None:
        new = [_new_row(order) for order_id, order in self._changed.items() if order_id not in self._stored]
        old = [_row(order) for order_id, order in self._changed.items() if order_id in self._stored]
        writes.add_rows(INSERT, new)
        writes.add_rows(UPDATE, old)


def _order(row: asyncpg.Record) -> Order:
    change = row["change"]
    return Order(
        order_id=row["order_id"],
        account_id=row["account_id"],
        user_id=row["user_id"],
        strategy_id=row["strategy_id"],
        instrument=row["instrument"],
        side=Side(row["side"]),
        quantity=row["quantity"],
        order_type=OrderType(row["order_type"]),
        product=Product(row["product"]),
        validity=Validity(row["validity"]),
        price=row["price"],
        trigger_price=row["trigger_price"],
        purpose=OrderPurpose(row["purpose"]),
        square_off_id=row["square_off_id"],
        requested_at=row["requested_at"],
        tag=row["tag"],
        status=OrderStatus(row["status"]),
        version=row["version"],
        epoch=row["epoch"],
        margin=row["margin"],
        expires_at=row["expires_at"],
        filled_quantity=row["filled_quantity"],
        filled_value=row["filled_value"],
        broker_order_id=row["broker_order_id"],
        triggered=row["triggered"],
        cancel_requested_at=row["cancel_requested_at"],
        change=None if change is None else OrderModifyCleared.model_validate_json(change),
    )


def _new_row(order: Order) -> Row:
    return (
        order.order_id,
        order.account_id,
        order.user_id,
        order.strategy_id,
        order.instrument,
        order.side,
        order.quantity,
        order.order_type,
        order.product,
        order.validity,
        order.price,
        order.trigger_price,
        order.purpose,
        order.square_off_id,
        order.requested_at,
        order.tag,
        order.status,
        order.is_open,
        order.version,
        order.epoch,
        order.margin,
        order.expires_at,
        order.filled_quantity,
        order.filled_value,
        order.broker_order_id,
        order.triggered,
        order.cancel_requested_at,
        _change(order),
    )


def _row(order: Order) -> Row:
    return (
        order.order_id,
        order.quantity,
        order.order_type,
        order.price,
        order.trigger_price,
        order.status,
        order.is_open,
        order.version,
        order.epoch,
        order.margin,
        order.filled_quantity,
        order.filled_value,
        order.broker_order_id,
        order.triggered,
        order.cancel_requested_at,
        _change(order),
    )


def _change(order: Order) -> str | None:
    return None if order.change is None else order.change.model_dump_json()
