"""The orders, from our wish or risk's clearance to the end."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal

from libs.common.contracts.enums import OrderPurpose, OrderStatus, OrderType, Product, Side, Validity
from libs.common.contracts.ids import AccountId, OrderId
from libs.common.contracts.orders import OrderModifyCleared
from libs.common.database import Connection
from libs.common.reads import Reads, Row
from libs.common.writes import Writes
from services.trading.domain import panics
from services.trading.domain.orders import Order

COLUMNS = """
order_id, account_id, user_id, strategy_id, instrument, side, quantity, order_type, product, validity, price::text,
trigger_price::text, purpose, square_off_id, requested_at, tag, status, version, epoch, margin::text, expires_at,
filled_quantity, filled_value::text, broker_order_id, triggered, cancel_requested_at, change, unit_margin::text
"""
SELECT = f"SELECT {COLUMNS} FROM orders WHERE order_id = ANY($1::uuid[])"  # noqa: S608 - constants only
SELECT_OPEN = f"SELECT {COLUMNS} FROM orders WHERE account_id = ANY($1::uuid[]) AND is_open"  # noqa: S608 - constants only
INSERT = """
INSERT INTO orders
SELECT * FROM unnest(
    $1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::integer[], $8::text[], $9::text[],
    $10::text[], $11::numeric[], $12::numeric[], $13::text[], $14::uuid[], $15::timestamptz[], $16::text[],
    $17::text[], $18::boolean[], $19::integer[], $20::integer[], $21::numeric[], $22::timestamptz[], $23::integer[],
    $24::numeric[], $25::text[], $26::boolean[], $27::timestamptz[], $28::text[], $29::numeric[])
"""
UPDATE = """
UPDATE orders o
   SET quantity = n.quantity, order_type = n.order_type, price = n.price, trigger_price = n.trigger_price,
       status = n.status, is_open = n.is_open, version = n.version, epoch = n.epoch, margin = n.margin,
       filled_quantity = n.filled_quantity, filled_value = n.filled_value, broker_order_id = n.broker_order_id,
       triggered = n.triggered, cancel_requested_at = n.cancel_requested_at, change = n.change,
       unit_margin = n.unit_margin
  FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::numeric[], $5::numeric[], $6::text[], $7::boolean[],
              $8::integer[], $9::integer[], $10::numeric[], $11::integer[], $12::numeric[], $13::text[],
              $14::boolean[], $15::timestamptz[], $16::text[], $17::numeric[])
       AS n(order_id, quantity, order_type, price, trigger_price, status, is_open, version, epoch, margin,
            filled_quantity, filled_value, broker_order_id, triggered, cancel_requested_at, change, unit_margin)
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
        reads = Reads(self._connection)
        self.ask(reads, [order_id])
        await reads.send()
        return self._known[order_id]

    def forget(self, order_id: OrderId) -> None:
        """It was looked for in vain, and is there now."""
        self._known.pop(order_id, None)

    async def open(self, account_id: AccountId) -> Sequence[Order]:
        reads = Reads(self._connection)
        self.ask_open(reads, {account_id})
        await reads.send()
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

    def ask(self, reads: Reads, order_ids: Collection[OrderId]) -> None:
        missing = [order_id for order_id in order_ids if order_id not in self._known]
        if missing:
            self._known.update((order_id, None) for order_id in missing)
            reads.add(SELECT, self._keep, missing)

    def ask_open(self, reads: Reads, account_ids: set[AccountId]) -> None:
        missing = account_ids - self._whole
        if missing:
            self._whole |= missing
            reads.add(SELECT_OPEN, self._keep, missing)

    def _keep(self, rows: Sequence[Row]) -> None:
        for row in rows:
            order_id = row[0]
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


def _order(row: Row) -> Order:
    order_id, account_id, user_id, strategy_id, instrument, side, quantity, order_type, product, *rest = row
    validity, price, trigger_price, purpose, square_off_id, requested_at, tag, status, version, *rest = rest
    epoch, margin, expires_at, filled_quantity, filled_value, broker_order_id, *rest = rest
    triggered, cancel_requested_at, change, unit_margin = rest
    return Order(
        order_id=order_id,
        account_id=account_id,
        user_id=user_id,
        strategy_id=strategy_id,
        instrument=instrument,
        side=Side(side),
        quantity=quantity,
        order_type=OrderType(order_type),
        product=Product(product),
        validity=Validity(validity),
        price=price and Decimal(price),
        trigger_price=trigger_price and Decimal(trigger_price),
        purpose=OrderPurpose(purpose),
        square_off_id=square_off_id,
        requested_at=requested_at,
        tag=tag,
        status=OrderStatus(status),
        version=version,
        epoch=epoch,
        margin=Decimal(margin),
        unit_margin=Decimal(unit_margin),
        expires_at=expires_at,
        filled_quantity=filled_quantity,
        filled_value=Decimal(filled_value),
        broker_order_id=broker_order_id,
        triggered=triggered,
        cancel_requested_at=cancel_requested_at,
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
        order.unit_margin,
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
        order.unit_margin,
    )


def _change(order: Order) -> str | None:
    return None if order.change is None else order.change.model_dump_json()
