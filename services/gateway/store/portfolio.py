"""Positions and funds: the newest of each, written by the batch."""

from datetime import datetime
from typing import Any

from libs.common.contracts.portfolio import FundsChanged, PositionChanged
from services.gateway.store.changes import Changes, Channel
from services.gateway.store.rows import Row
from services.gateway.store.statement import Statement

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
POSITION_COLUMNS = tuple(_POSITION_TYPES)
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


def _upsert(table: str, types: dict[str, str], keys: tuple[str, ...], counter: str | None) -> str:
    names = ", ".join(types)
    arrays = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(types.values(), 1))
    values = ", ".join(f"c.{counter} - n.seq" if name == "seq" else f"n.{name}" for name in types)
    join = "JOIN counters c USING (user_id)" if counter else ""
    fresh = ", ".join(f"{name} = excluded.{name}" for name in types if name not in keys)
    return f"""
        INSERT INTO {table} AS t ({names}) SELECT {values} FROM unnest({arrays}) AS n ({names}) {join}
        ON CONFLICT ({", ".join(keys)}) DO UPDATE SET {fresh} WHERE t.version < excluded.version
    """  # noqa: S608 - names of our own tables


_PUT_POSITIONS = _upsert("positions", _POSITION_TYPES, ("account_id", "instrument", "product"), "positions")
_PUT_BOOKS = _upsert("strategy_positions", _BOOK_TYPES, ("account_id", "strategy_id", "instrument", "product"), None)
_PUT_FUNDS = _upsert("funds", _FUNDS_TYPES, ("account_id",), "funds")


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

    def write(self, statement: Statement) -> None:
        if self._positions:
            statement.add_rows("positions_held", _PUT_POSITIONS, list(self._positions.values()), POSITION_COLUMNS)
        if self._books:
            statement.add_rows("books_held", _PUT_BOOKS, list(self._books.values()), tuple(_BOOK_TYPES))
        if self._funds:
            statement.add_rows("funds_held", _PUT_FUNDS, list(self._funds.values()), tuple(_FUNDS_TYPES))

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
