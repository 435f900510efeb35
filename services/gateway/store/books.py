"""The order book and the fills, written by the batch."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

import orjson

from libs.common.contracts.enums import OrderStatus
from libs.common.contracts.orders import FillReported, OrderFact, OrderTerms
from libs.common.contracts.portfolio import PositionSettled
from services.gateway.store.changes import Changes, Channel, Push
from services.gateway.store.rows import Database, Row, columns
from services.gateway.store.statement import Statement

_TYPES = {
    "order_id": "uuid",
    "account_id": "uuid",
    "user_id": "uuid",
    "strategy_id": "uuid",
    "instrument": "text",
    "side": "text",
    "quantity": "bigint",
    "order_type": "text",
    "product": "text",
    "validity": "text",
    "price": "numeric",
    "trigger_price": "numeric",
    "purpose": "text",
    "square_off_id": "uuid",
    "requested_at": "timestamptz",
    "status": "text",
    "filled_quantity": "bigint",
    "average_price": "numeric",
    "broker_order_id": "text",
    "rule": "text",
    "reason": "text",
    "limit_text": "text",
    "value_text": "text",
    "version": "int",
    "seq": "bigint",
    "updated_at": "timestamptz",
    "history": "text",
}
COLUMNS = tuple(_TYPES)
SHOWN = ", ".join(name for name in COLUMNS if name != "history")
_ARRAYS = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(_TYPES.values(), 1))
_NUMBERED = ", ".join("c.orders - n.seq" if name == "seq" else f"n.{name}" for name in COLUMNS)
_PUT = f"""
    INSERT INTO orders AS o ({", ".join(COLUMNS)})
    SELECT {_NUMBERED} FROM unnest({_ARRAYS}) AS n ({", ".join(COLUMNS)}) JOIN counters c USING (user_id)
    ON CONFLICT (order_id) DO UPDATE SET
        {", ".join(f"{name} = excluded.{name}" for name in COLUMNS if name not in ("order_id", "history"))},
        history = o.history || excluded.history
    WHERE o.version < excluded.version
"""  # noqa: S608 - names of our own table

_HISTORY = 32_768
"""Characters, some hundred events. All of it is written anew with each: of an order that a program changes all day that
would be megabytes a change, and everybody's events wait behind it. The same are kept in whatever batches they come.
"""
_NEWEST = f"right(o.history || n.history, {_HISTORY})"
_BEGINNING = """',{"at":'"""
"""Of an event after another: in a text within one its quotation marks would be escaped."""
_CHANGE_TEXT = """
    UPDATE orders AS o SET
        status = n.status, filled_quantity = n.filled_quantity, average_price = n.average_price,
        broker_order_id = coalesce(n.broker_order_id, o.broker_order_id), reason = coalesce(n.reason, o.reason),
        quantity = coalesce(n.quantity, o.quantity), order_type = coalesce(n.order_type, o.order_type),
        price = CASE WHEN n.order_type IS NULL THEN o.price ELSE n.price END,
        trigger_price = CASE WHEN n.order_type IS NULL THEN o.trigger_price ELSE n.trigger_price END,
        version = n.version, seq = c.orders - n.seq, updated_at = n.updated_at, history = {remembered}
    FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::numeric[], $5::text[], $6::text[], $7::bigint[], $8::text[],
                $9::numeric[], $10::numeric[], $11::int[], $12::bigint[], $13::timestamptz[], $14::text[], $15::uuid[])
        AS n (order_id, status, filled_quantity, average_price, broker_order_id, reason, quantity, order_type,
              price, trigger_price, version, seq, updated_at, history, user_id)
        JOIN counters c ON c.user_id = n.user_id
    WHERE o.order_id = n.order_id AND o.version < n.version
    RETURNING {kept}
"""
_CHANGED = (
    "order_id",
    "status",
    "filled_quantity",
    "average_price",
    "broker_order_id",
    "reason",
    "quantity",
    "order_type",
    "price",
    "trigger_price",
    "version",
    "seq",
    "updated_at",
    "history",
    "user_id",
)
_KEPT = (
    "order_id",
    "strategy_id",
    "side",
    "quantity",
    "order_type",
    "product",
    "validity",
    "price",
    "trigger_price",
    "purpose",
    "square_off_id",
    "requested_at",
    "broker_order_id",
    "reason",
)
"""What the table knows of an order that was changed, and its events do not say."""

CHANGED_ORDERS = ", ".join(_KEPT)
_REMEMBERED = f"""
    CASE WHEN length(o.history) + length(n.history) < {_HISTORY} THEN o.history || n.history
         ELSE substr({_NEWEST}, strpos({_NEWEST}, {_BEGINNING}) + 1) END
"""
_CHANGE = _CHANGE_TEXT.format(kept=", ".join(f"o.{name}" for name in _KEPT), remembered=_REMEMBERED)
NO_CHANGED_ORDER = ", ".join(f"NULL::{_TYPES[name]} AS {name}" for name in _KEPT)
_FILL_TYPES = {
    "fill_id": "uuid",
    "order_id": "uuid",
    "account_id": "uuid",
    "user_id": "uuid",
    "strategy_id": "uuid",
    "instrument": "text",
    "side": "text",
    "product": "text",
    "quantity": "bigint",
    "price": "numeric",
    "broker_fill_id": "text",
    "filled_at": "timestamptz",
    "seq": "bigint",
}
CHANGED = "changed"
FILL_COLUMNS = tuple(_FILL_TYPES)
_FILL = f"""
    INSERT INTO fills ({", ".join(FILL_COLUMNS)})
    SELECT {", ".join("c.fills - n.seq" if name == "seq" else f"n.{name}" for name in FILL_COLUMNS)}
    FROM unnest({", ".join(f"${n}::{kind}[]" for n, kind in enumerate(_FILL_TYPES.values(), 1))})
        AS n ({", ".join(FILL_COLUMNS)}) JOIN counters c USING (user_id)
    ON CONFLICT (fill_id) DO NOTHING
"""  # noqa: S608 - names of our own table


def row_of_terms(terms: OrderTerms, status: OrderStatus, version: int, at: datetime) -> Row:
    """The book's row of an order that begins. Plain strings: asyncpg encodes them faster than enums."""
    return {
        "order_id": terms.order_id,
        "account_id": terms.account_id,
        "user_id": terms.user_id,
        "strategy_id": terms.strategy_id,
        "instrument": terms.instrument,
        "side": terms.side.value,
        "quantity": terms.quantity,
        "order_type": terms.order_type.value,
        "product": terms.product.value,
        "validity": terms.validity.value,
        "price": terms.price,
        "trigger_price": terms.trigger_price,
        "purpose": terms.purpose.value,
        "square_off_id": terms.square_off_id,
        "requested_at": terms.requested_at,
        "status": status.value,
        "filled_quantity": 0,
        "average_price": None,
        "broker_order_id": None,
        "rule": None,
        "reason": None,
        "limit_text": None,
        "value_text": None,
        "version": version,
        "seq": 0,
        "updated_at": at,
        "history": "",
    }


class OrderBook:
    """Orders that begin in the batch are written whole; of the others only what an event changed."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._begun: dict[UUID, Row] = {}
        self._changed: dict[UUID, Row] = {}
        self._pushes: dict[UUID, Push] = {}
        self._fills: list[Row] = []

    def begin(self, event: str, row: Row) -> None:
        """An order is on its way, or was denied on the spot."""
        _remember(row, event, row["updated_at"])
        self._begun[row["order_id"]] = row
        self._push(event, row)

    def evolve(
        self,
        fact: OrderFact,
        at: datetime,
        *,
        reason: str | None = None,
        broker_order_id: str | None = None,
        terms: tuple[int, str, Decimal | None, Decimal | None] | None = None,
    ) -> None:
        """A later event of an order; `terms` are its new quantity, type, price and trigger price."""
        row = self._begun.get(fact.order_id) or self._changed.get(fact.order_id)
        if row is None:
            row = self._changed[fact.order_id] = _unknown_row(fact)
        if row["version"] >= fact.version:
            return
        row["status"] = fact.status.value
        row["filled_quantity"] = fact.filled_quantity
        row["average_price"] = fact.average_price
        row["version"] = fact.version
        row["updated_at"] = at
        if broker_order_id:
            row["broker_order_id"] = broker_order_id
        if reason:
            row["reason"] = reason
        if terms:
            row["quantity"], row["order_type"], row["price"], row["trigger_price"] = terms
        event = type(fact).__name__
        _remember(row, event, at, reason)
        self._push(event, row)

    def fill(self, fill: FillReported) -> None:
        row = {
            "fill_id": fill.fill_id,
            "order_id": fill.order_id,
            "account_id": fill.account_id,
            "user_id": fill.user_id,
            "strategy_id": fill.strategy_id,
            "instrument": fill.instrument,
            "side": fill.side.value,
            "product": fill.product.value,
            "quantity": fill.quantity,
            "price": fill.price,
            "broker_fill_id": fill.broker_fill_id,
            "filled_at": fill.filled_at,
            "seq": 0,
        }
        self._fills.append(row)
        self._changes.add(fill.user_id, Channel.FILLS, "FillReported", row)

    def settlement(self, settled: PositionSettled) -> None:
        """It stands among the fills, since it moved a position and money; no order of ours made it."""
        what = "closed at the broker on" if settled.was_closed_at_broker else "settlement of"
        row = {
            "fill_id": settled.fill_id,
            "order_id": None,
            "account_id": settled.account_id,
            "user_id": settled.user_id,
            "strategy_id": settled.strategy_id,
            "instrument": settled.instrument,
            "side": settled.side.value,
            "product": settled.product.value,
            "quantity": settled.quantity,
            "price": settled.price,
            "broker_fill_id": f"{what} {settled.expiry}",
            "filled_at": settled.settled_at,
            "seq": 0,
        }
        self._fills.append(row)
        self._changes.add(settled.user_id, Channel.FILLS, "PositionSettled", row)

    def write(self, statement: Statement) -> None:
        if self._begun:
            statement.add_rows("begun", _PUT, list(self._begun.values()), COLUMNS)
        if self._changed:
            statement.add_rows(CHANGED, _CHANGE, list(self._changed.values()), _CHANGED)
        if self._fills:
            statement.add_rows("filled", _FILL, self._fills, FILL_COLUMNS)

    @property
    def has_changed(self) -> bool:
        return bool(self._changed)

    def written(self, rows: list[Row]) -> None:
        """Complete the orders that were changed by what the table knows of them."""
        self._changes.orders.update(self._begun)
        for kept in rows:
            row = self._changed[kept["order_id"]]
            row.update((name, kept[name]) for name in _KEPT)
            self._changes.orders[row["order_id"]] = row

    def _push(self, event: str, row: Row) -> None:
        """A client sees each changed order once a batch, as the batch left it."""
        order_id = row["order_id"]
        push = self._pushes.get(order_id)
        if push is None:
            self._pushes[order_id] = self._changes.add(row["user_id"], Channel.ORDERS, event, row)
        else:
            push.event = event


async def await_answer(database: Database, row: Row) -> None:
    """Show an order as requested whose outcome is taking long, unless its outcome came meanwhile."""
    await database.execute(
        f"INSERT INTO orders ({', '.join(COLUMNS)}) SELECT * FROM unnest({_ARRAYS}) ON CONFLICT DO NOTHING",  # noqa: S608
        *columns([row], COLUMNS),
    )


def _unknown_row(fact: OrderFact) -> Row:
    """Of an order that began before this batch only what its events say is known; the table has the rest."""
    return {
        "order_id": fact.order_id,
        "account_id": fact.account_id,
        "user_id": fact.user_id,
        "instrument": fact.instrument,
        "broker_order_id": None,
        "rule": None,
        "reason": None,
        "limit_text": None,
        "value_text": None,
        "quantity": None,
        "order_type": None,
        "price": None,
        "trigger_price": None,
        "version": 0,
        "seq": 0,
        "history": "",
    }


def _remember(row: Row, event: str, at: datetime, reason: str | None = None) -> None:
    entry = {"at": at, "event": event, "status": row["status"], "filled_quantity": row["filled_quantity"]}
    if reason:
        entry["reason"] = reason
    row["history"] += orjson.dumps(entry).decode() + ","
