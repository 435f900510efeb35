"""What clients see of a row: the same over REST and over the WebSocket."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeAlias

import orjson

from libs.common.contracts.enums import Product
from libs.common.contracts.orders import SquareOffCompleted
from services.gateway.domain.valuation import PAISA, ZERO, Exposure, Holding, LastPrice

Row: TypeAlias = Mapping[str, Any]
View: TypeAlias = dict[str, Any]
Prices: TypeAlias = Callable[[str], LastPrice | None]

_ORDER = (
    "order_id",
    "account_id",
    "strategy_id",
    "instrument",
    "side",
    "quantity",
    "order_type",
    "product",
    "validity",
    "price",
    "trigger_price",
    "purpose",
    "square_off_id",
    "status",
    "filled_quantity",
    "average_price",
    "broker_order_id",
    "rule",
    "reason",
    "requested_at",
    "updated_at",
    "version",
    "seq",
)
_FILL = (
    "fill_id",
    "order_id",
    "account_id",
    "strategy_id",
    "instrument",
    "side",
    "product",
    "quantity",
    "price",
    "broker_fill_id",
    "filled_at",
    "seq",
)
_FUNDS = ("account_id", "opening_balance", "realised_pnl", "used_margin", "available", "updated_at", "seq")
_AVERAGE = Decimal("0.0001")
_PRICES = frozenset({"price", "trigger_price", "average_price", "ltp"})


def in_rupees(view: View) -> View:
    """Every decimal with two digits; prices with more where their tick, or an average, needs them."""
    for name, value in view.items():
        if isinstance(value, Decimal):
            paise = value.quantize(PAISA) + ZERO
            view[name] = value.normalize() if name in _PRICES and value != paise else paise
    return view


def order(row: Row) -> View:
    view = {name: row.get(name) for name in _ORDER}
    if view["rule"]:
        view["limit"] = row.get("limit_text")
        view["value"] = row.get("value_text")
    return in_rupees(view)


def fill(row: Row) -> View:
    return in_rupees({name: row[name] for name in _FILL})


def holding(row: Row, last: LastPrice | None) -> Holding:
    return Holding(row["quantity"], row["average_price"], row["realised_pnl"], row.get("margin", Decimal(0)), last)


def profit(held: Exposure) -> View:
    return in_rupees(
        {
            "realised_pnl": held.realised_pnl,
            "unrealised_pnl": held.unrealised_pnl,
            "mtm": held.mtm,
            "ltp_at": held.ltp_at,
            "stale": held.stale,
        }
    )


def exposure(account_id: object, held: Exposure, used_margin: Decimal) -> View:
    return in_rupees(
        {
            "account_id": account_id,
            "gross_value": held.gross_value,
            "net_value": held.net_value,
            "used_margin": used_margin,
            **profit(held),
            "open_positions": held.open_positions,
        }
    )


def position(row: Row, last: LastPrice | None) -> View:
    held = holding(row, last)
    valued = {
        "unrealised_pnl": held.unrealised_pnl,
        "mtm": held.realised_pnl + held.unrealised_pnl,
        "value": held.value,
    }
    return in_rupees({**row, **_last(last), **valued})


def _last(last: LastPrice | None) -> View:
    if last is None:
        return {"ltp": None, "ltp_at": None, "ltp_source": None, "stale": True}
    return {"ltp": last.price, "ltp_at": last.at, "ltp_source": last.source, "stale": last.stale}


def shares(row: Row, last: LastPrice | None) -> View | None:
    """What a CNC position holds since an earlier day, valued at the last price; None when that is nothing.

    What is sold today leaves the demat first; what is bought today is a position until tomorrow.
    """
    since_before = row["quantity"] - row["bought_quantity"] + row["sold_quantity"]
    quantity = min(row["quantity"], since_before)
    if row["product"] != Product.CNC or quantity <= 0:
        return None
    average = _average_before_today(row, since_before)
    invested = quantity * average
    value = None if last is None else quantity * last.price
    view = {
        "account_id": row["account_id"],
        "instrument": row["instrument"],
        "quantity": quantity,
        "average_price": average,
        "invested": invested,
        **_last(last),
        "value": value,
        "pnl": None if value is None else value - invested,
    }
    return in_rupees(view)


def _average_before_today(row: Row, quantity: int) -> Decimal:
    """What was paid for so many of earlier days: what is bought today moves the average of the position, not theirs."""
    paid: Decimal = row["average_price"]
    if row["bought_quantity"]:
        cost = row["quantity"] * paid - row["bought_value"] + row["sold_value"] - row["realised_pnl"]
        paid = (cost / quantity).quantize(_AVERAGE)
    return paid


def funds(row: Row) -> View:
    return in_rupees({name: row[name] for name in _FUNDS})


def broker_positions(account_id: object, row: Row | None) -> View:
    """A PositionsCompared, or that there is none."""
    empty: View = {"differences": [], "moving": [], "problem": "", "compared_at": None, "version": 0}
    return {"account_id": account_id, **{name: row[name] if row else nothing for name, nothing in empty.items()}}


def square_off_status(completed: SquareOffCompleted) -> str:
    """COMPLETED says that nothing is left that anybody could close."""
    return "INCOMPLETE" if completed.left else "COMPLETED"


def square_off(row: Row) -> View:
    return {**{name: row[name] for name in row if name != "left_open"}, "left": orjson.loads(row["left_open"])}


def signal(row: Row) -> View:
    return {**orjson.loads(row["body"]), "signal_id": row["signal_id"], "decisions": orjson.loads(row["decisions"])}


def risk_event(row: Row) -> View:
    body = orjson.loads(row["body"])
    return {"event_id": row["event_id"], "type": row["type"], "at": row["at"], "event": body}


def of_channel(channel: str, row: Row, prices: Prices) -> View:
    match channel:
        case "orders":
            return order(row)
        case "fills":
            return fill(row)
        case "positions":
            return position(row, prices(row["instrument"]))
        case "funds":
            return funds(row)
        case "signals":
            return signal(row)
        case _:
            return risk_event(row)
