"""Decided orders, for as long as they may still be filled or their id may come again."""

from collections.abc import Collection, Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from libs.common.contracts.enums import OrderPurpose, OrderType, Product, Side
from libs.common.contracts.ids import AccountId, OrderId
from libs.common.contracts.orders import OrderTerms
from libs.common.database import Connection
from libs.common.ids import first_of
from libs.common.reads import Reads, Row
from libs.common.writes import Writes
from services.risk.domain.ledger import Footprint, Reservation
from services.risk.domain.money import plain
from services.risk.store.needs import without_nul

_FIELDS = """
    order_id, account_id, user_id, strategy_id, instrument, product, side, order_type, price, trigger_price, purpose,
    epoch, decided_at, filled, closed, quantity, increasing, unit_margin,
    proposed_quantity, proposed_increasing, proposed_unit_margin, proposed_by
"""

_LOAD = """
    SELECT order_id, account_id, user_id, strategy_id, instrument, product, side, order_type, price::text,
           trigger_price::text, purpose, epoch, decided_at, filled, closed, quantity, increasing, unit_margin::text,
           proposed_quantity, proposed_increasing, proposed_unit_margin::text, proposed_by
    FROM reservations WHERE order_id = ANY($1::uuid[])
"""

_INSERT = f"""
    INSERT INTO reservations ({_FIELDS})
    SELECT * FROM unnest(
        $1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::numeric[],
        $10::numeric[], $11::text[], $12::bigint[], $13::timestamptz[], $14::bigint[], $15::boolean[], $16::bigint[],
        $17::bigint[], $18::numeric[], $19::bigint[], $20::bigint[], $21::numeric[], $22::uuid[])
"""  # noqa: S608 - constants only

_FILL = """
    UPDATE reservations r SET filled = c.filled, closed = c.closed
    FROM unnest($1::uuid[], $2::bigint[], $3::boolean[]) AS c (order_id, filled, closed)
    WHERE r.order_id = c.order_id
"""

_CHANGE = """
    UPDATE reservations r
    SET order_type = c.order_type, price = c.price, trigger_price = c.trigger_price, epoch = c.epoch,
        filled = c.filled, closed = c.closed,
        quantity = c.quantity, increasing = c.increasing, unit_margin = c.unit_margin,
        proposed_quantity = c.p_quantity, proposed_increasing = c.p_increasing, proposed_unit_margin = c.p_unit_margin,
        proposed_by = c.p_by
    FROM unnest($1::uuid[], $2::text[], $3::numeric[], $4::numeric[], $5::bigint[], $6::bigint[], $7::boolean[],
                $8::bigint[], $9::bigint[], $10::numeric[], $11::bigint[], $12::bigint[], $13::numeric[], $14::uuid[])
         AS c (order_id, order_type, price, trigger_price, epoch, filled, closed, quantity, increasing, unit_margin,
               p_quantity, p_increasing, p_unit_margin, p_by)
    WHERE r.order_id = c.order_id
"""

_LAST = """
    SELECT account_id, terms, cleared_at
    FROM unnest($1::uuid[], $2::text[]) AS k (account_id, terms) JOIN recent_orders USING (account_id, terms)
"""

_REMEMBER = """
    INSERT INTO recent_orders (account_id, terms, cleared_at)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::timestamptz[])
    ON CONFLICT (account_id, terms) DO UPDATE SET cleared_at = EXCLUDED.cleared_at
"""

_FORGET = """
    DELETE FROM reservations WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM reservations
        WHERE order_id < $1 AND decided_at < $2 AND (closed OR filled >= quantity) ORDER BY order_id LIMIT $3))
"""
"""Ids begin with their time, so the primary key finds them: no index is kept for this."""
_FORGET_RECENT = """
    DELETE FROM recent_orders WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM recent_orders WHERE cleared_at < $1 ORDER BY cleared_at LIMIT $2))
"""

TermsKey = tuple[AccountId, str]


def terms_key(order: OrderTerms) -> TermsKey:
    """What makes two orders identical: instrument, side, quantity, type, price and trigger."""
    prices = " ".join("" if price is None else plain(price) for price in (order.price, order.trigger_price))
    return order.account_id, f"{order.instrument} {order.side} {order.quantity} {order.order_type} {prices}"


class Reservations:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rows: dict[OrderId, Reservation] = {}
        self._loaded: dict[OrderId, Reservation] = {}
        self._last: dict[TermsKey, datetime] = {}
        self._remembered: dict[TermsKey, datetime] = {}

    def ask(self, reads: Reads, order_ids: Collection[OrderId]) -> None:
        if order_ids:
            reads.add(_LOAD, self._keep, order_ids)

    def _keep(self, rows: Sequence[Row]) -> None:
        self._rows.update({row[0]: _reservation(row) for row in rows})
        self._loaded = dict(self._rows)

    def loaded(self) -> list[Reservation]:
        return list(self._rows.values())

    async def load_recent(self, keys: Collection[TermsKey]) -> None:
        rows = await self._connection.fetch(_LAST, [key[0] for key in keys], [key[1] for key in keys])
        self._last.update({(row[0], row[1]): row[2] for row in rows})

    def last_identical(self, key: TermsKey) -> datetime | None:
        return self._last.get(key)

    def remember(self, key: TermsKey, cleared_at: datetime) -> None:
        self._last[key] = self._remembered[key] = cleared_at

    def get(self, order_id: OrderId) -> Reservation | None:
        return self._rows.get(order_id)

    def save(self, reservation: Reservation) -> None:
        self._rows[reservation.order_id] = reservation

    def flush(self, writes: Writes) -> None:
        dirty = [r for key, r in self._rows.items() if r is not self._loaded.get(key)]
        if not dirty:
            return
        self._insert(writes, [r for r in dirty if r.order_id not in self._loaded])
        stepped = [(self._loaded[r.order_id], r) for r in dirty if r.order_id in self._loaded]
        self._fill(writes, [new for old, new in stepped if _same_terms(old, new)])
        self._change(writes, [new for old, new in stepped if not _same_terms(old, new)])
        self._remember(writes)
        self._loaded = dict(self._rows)

    def _insert(self, writes: Writes, rows: list[Reservation]) -> None:
        if not rows:
            return
        writes.add(
            _INSERT,
            [r.order_id for r in rows],
            [r.account_id for r in rows],
            [r.user_id for r in rows],
            [r.strategy_id for r in rows],
            [without_nul(r.instrument) for r in rows],
            [r.product for r in rows],
            [r.side for r in rows],
            [r.order_type for r in rows],
            [r.price for r in rows],
            [r.trigger_price for r in rows],
            [r.purpose for r in rows],
            [r.epoch for r in rows],
            [r.decided_at for r in rows],
            [r.filled for r in rows],
            [r.closed for r in rows],
            *_footprints(rows),
        )

    def _fill(self, writes: Writes, rows: list[Reservation]) -> None:
        if rows:
            writes.add(_FILL, [r.order_id for r in rows], [r.filled for r in rows], [r.closed for r in rows])

    def _change(self, writes: Writes, rows: list[Reservation]) -> None:
        if not rows:
            return
        writes.add(
            _CHANGE,
            [r.order_id for r in rows],
            [r.order_type for r in rows],
            [r.price for r in rows],
            [r.trigger_price for r in rows],
            [r.epoch for r in rows],
            [r.filled for r in rows],
            [r.closed for r in rows],
            *_footprints(rows),
        )

    def _remember(self, writes: Writes) -> None:
        if self._remembered:
            writes.add(
                _REMEMBER,
                [key[0] for key in self._remembered],
                [key[1] for key in self._remembered],
                list(self._remembered.values()),
            )
            self._remembered = {}

    async def forget(self, decided_before: datetime, limit: int | None = None) -> None:
        """Drop what is over, so many at most: an id so old cannot be asked for again, its request has long expired."""
        await self._connection.execute(_FORGET, first_of(decided_before), decided_before, limit)
        await self._connection.execute(_FORGET_RECENT, decided_before, limit)


def _same_terms(old: Reservation, new: Reservation) -> bool:
    """Only fills and the end of the order are to be written."""
    return old.footprint is new.footprint and old.proposed is new.proposed


def _footprints(rows: list[Reservation]) -> tuple[Sequence[int | Decimal | UUID | None], ...]:
    return (
        [r.footprint.quantity for r in rows],
        [r.footprint.increasing for r in rows],
        [r.footprint.unit_margin for r in rows],
        [r.proposed.quantity if r.proposed else None for r in rows],
        [r.proposed.increasing if r.proposed else None for r in rows],
        [r.proposed.unit_margin if r.proposed else None for r in rows],
        [r.proposed_by for r in rows],
    )


def _reservation(row: Row) -> Reservation:
    order_id, account_id, user_id, strategy_id, instrument, product, side, order_type, *rest = row
    price, trigger_price, purpose, epoch, decided_at, filled, closed, *footprints = rest
    quantity, increasing, unit_margin, proposed_quantity, proposed_increasing, proposed_unit_margin, by = footprints
    proposed = None
    if proposed_quantity is not None:
        proposed = Footprint(proposed_quantity, proposed_increasing, Decimal(proposed_unit_margin))
    return Reservation(
        order_id=order_id,
        account_id=account_id,
        user_id=user_id,
        strategy_id=strategy_id,
        instrument=instrument,
        product=Product(product),
        side=Side(side),
        order_type=OrderType(order_type),
        price=price and Decimal(price),
        trigger_price=trigger_price and Decimal(trigger_price),
        purpose=OrderPurpose(purpose),
        epoch=epoch,
        footprint=Footprint(quantity, increasing, Decimal(unit_margin)),
        decided_at=decided_at,
        proposed=proposed,
        proposed_by=by,
        filled=filled,
        closed=closed,
    )
