"""Positions and funds: the newest of each, written by the batch."""

from datetime import datetime
from typing import Any

from libs.common.contracts.portfolio import FundsChanged, PositionChanged
from libs.common.service import Connection
from services.gateway.store.changes import Changes, Channel
from services.gateway.store.rows import Row, columns

_POSITION_TYPES = {
    "account_id": "uuid",
    "instrument": "text",
    "product": "text",
    "user_id": "uuid",
    "quantity": "bigint",
    "average_price": "numeric",
    "realised_pnl": "numeric",
    "bought_quantity": "bigint",
    "sold_quantity": "bigint",
    "bought_value": "numeric",
    "sold_value": "numeric",
    "margin": "numeric",
    "version": "int",
    "seq": "bigint",
    "updated_at": "timestamptz",
}
_BOOK_TYPES = {
    "account_id": "uuid",
    "strategy_id": "uuid",
    "instrument": "text",
    "product": "text",
    "user_id": "uuid",
    "quantity": "bigint",
    "average_price": "numeric",
    "realised_pnl": "numeric",
    "version": "int",
    "updated_at": "timestamptz",
}
_FUNDS_TYPES = {
    "account_id": "uuid",
    "user_id": "uuid",
    "opening_balance": "numeric",
    "realised_pnl": "numeric",
    "used_margin": "numeric",
    "available": "numeric",
    "version": "int",
    "seq": "bigint",
    "updated_at": "timestamptz",
}


def _upsert(table: str, types: dict[str, str], keys: tuple[str, ...]) -> str:
    arrays = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(types.values(), 1))
    fresh = ", ".join(f"{name} = excluded.{name}" for name in types if name not in keys)
    return f"""
        INSERT INTO {table} AS t ({", ".join(types)}) SELECT * FROM unnest({arrays})
        ON CONFLICT ({", ".join(keys)}) DO UPDATE SET {fresh} WHERE t.version < excluded.version
    """  # noqa: S608 - names of our own tables


_PUT_POSITIONS = _upsert("positions", _POSITION_TYPES, ("account_id", "instrument", "product"))
_PUT_BOOKS = _upsert("strategy_positions", _BOOK_TYPES, ("account_id", "strategy_id", "instrument", "product"))
_PUT_FUNDS = _upsert("funds", _FUNDS_TYPES, ("account_id",))


class Portfolio:
    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._positions: dict[tuple[Any, ...], Row] = {}
        self._books: dict[tuple[Any, ...], Row] = {}
        self._funds: dict[Any, Row] = {}

    def position(self, changed: PositionChanged, at: datetime) -> None:
        product = changed.product.value
        key = (changed.account_id, changed.instrument, product)
        row = self._positions.get(key)
        if row is None:
            row = self._positions[key] = {
                "account_id": changed.account_id,
                "instrument": changed.instrument,
                "product": product,
                "user_id": changed.user_id,
            }
            self._changes.add(changed.user_id, Channel.POSITIONS, "PositionChanged", row)
        row.update(changed.net.__dict__)
        row["margin"] = changed.margin
        row["version"] = changed.version
        row["updated_at"] = at
        if changed.strategy_id is not None:
            self._book(changed, product, at)

    def funds(self, changed: FundsChanged, at: datetime) -> None:
        row = self._funds.get(changed.account_id)
        if row is None:
            row = self._funds[changed.account_id] = {}
            self._changes.add(changed.user_id, Channel.FUNDS, "FundsChanged", row)
        row.update(changed.__dict__)
        row["updated_at"] = at

    async def flush(self, connection: Connection) -> None:
        if self._positions:
            await connection.execute(_PUT_POSITIONS, *columns(list(self._positions.values()), tuple(_POSITION_TYPES)))
        if self._books:
            await connection.execute(_PUT_BOOKS, *columns(list(self._books.values()), tuple(_BOOK_TYPES)))
        if self._funds:
            await connection.execute(_PUT_FUNDS, *columns(list(self._funds.values()), tuple(_FUNDS_TYPES)))

    def _book(self, changed: PositionChanged, product: str, at: datetime) -> None:
        self._books[changed.account_id, changed.strategy_id, changed.instrument, product] = {
            "account_id": changed.account_id,
            "strategy_id": changed.strategy_id,
            "instrument": changed.instrument,
            "product": product,
            "user_id": changed.user_id,
            "quantity": changed.book.quantity,
            "average_price": changed.book.average_price,
            "realised_pnl": changed.book.realised_pnl,
            "version": changed.version,
            "updated_at": at,
        }
