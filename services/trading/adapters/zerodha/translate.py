"""Our orders in Kite's words, and Kite's answers and books in ours. Pure."""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter, ValidationError

from libs.common.contracts.brokers import EXCHANGES_AT, BrokerModifyRequested, BrokerOrderRequested
from libs.common.contracts.enums import Broker, Exchange, OrderType, Product, Validity
from libs.common.contracts.ids import InstrumentId
from libs.common.trading_calendar import IST
from services.trading.adapters.zerodha.symbols import kite_symbol, without_series
from services.trading.domain.book import STOPS, BookRow, RowState, Terms, Trade
from services.trading.domain.calls import Answer, NotTaken, Refused, Silent, Taken
from services.trading.domain.comparing import Theirs

VARIETY = "regular"
MARKET_PROTECTION = "-1"
"""By the exchange's own band: Kite takes no unprotected market order by API."""
TOO_MANY = 429
REFUSING = frozenset(
    {
        "TokenException",
        "UserException",
        "OrderException",
        "InputException",
        "MarginException",
        "HoldingException",
        "PermissionException",
    }
)
"""Errors that say no. NetworkException, DataException and GeneralException only say that Kite does not know."""

STATES = {
    "OPEN": RowState.OPEN,
    "TRIGGER PENDING": RowState.DORMANT,
    "COMPLETE": RowState.COMPLETE,
    "CANCELLED": RowState.CANCELLED,
    "CANCELLED AMO": RowState.CANCELLED,
    "REJECTED": RowState.REJECTED,
}
"""Every other word is on the way between two of these."""


class BadAnswer(Exception):
    """What came is not what Kite documents; nothing can be concluded from it."""


def order_form(request: BrokerOrderRequested) -> Mapping[str, str]:
    """POST /orders/regular. A ValueError says why the order cannot be put into Kite's words."""
    exchange, symbol = kite_symbol(request.instrument, request.series)
    if exchange not in EXCHANGES_AT[Broker.ZERODHA]:
        raise ValueError(f"orders on {exchange} do not go to zerodha, which counts contracts there: use its app")
    return {
        "exchange": exchange,
        "tradingsymbol": symbol,
        "transaction_type": request.side,
        "quantity": str(request.quantity),
        "product": request.product,
        "order_type": request.order_type,
        "validity": request.validity,
        "tag": request.tag,
        **_prices(request.order_type, request.price, request.trigger_price),
    }


def change_form(request: BrokerModifyRequested) -> Mapping[str, str]:
    """PUT /orders/regular/{order_id}: all terms, so that repeating it changes nothing."""
    return {
        "quantity": str(request.quantity),
        "order_type": request.order_type,
        "validity": Validity(request.validity),
        **_prices(request.order_type, request.price, request.trigger_price),
    }


def _prices(order_type: OrderType, price: Decimal | None, trigger_price: Decimal | None) -> Mapping[str, str]:
    found = {}
    if price is not None and order_type in (OrderType.LIMIT, OrderType.SL):
        found["price"] = f"{price:f}"
    if trigger_price is not None and order_type in STOPS:
        found["trigger_price"] = f"{trigger_price:f}"
    if order_type in (OrderType.MARKET, OrderType.SL_M):
        found["market_protection"] = MARKET_PROTECTION
    return found


MOST_CHARACTERS = 500


def _storable(text: str) -> str:
    """Kept and sent on by us: PostgreSQL takes no zero byte, and a message of a megabyte goes nowhere."""
    return text.replace("\0", "")[:MOST_CHARACTERS]


Text = Annotated[str, AfterValidator(_storable)]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)


class _Placed(_Shape):
    order_id: Text


class _Success(_Shape):
    status: Literal["success"]
    data: _Placed


class _Error(_Shape):
    status: Literal["error"]
    error_type: Text
    message: Text = ""


class _Row(_Shape):
    order_id: Text
    status: Text
    status_message: Text | None = None
    order_type: OrderType
    quantity: int
    price: Decimal = Decimal(0)
    trigger_price: Decimal = Decimal(0)
    filled_quantity: int = 0
    tag: Text | None = None
    order_timestamp: str | None = None
    exchange_update_timestamp: str | None = None


class _Trade(_Shape):
    trade_id: Text
    order_id: Text
    quantity: int
    average_price: Decimal
    fill_timestamp: str
    exchange: str = ""
    tradingsymbol: str = ""
    product: str = ""
    transaction_type: str = ""


class _Rows(_Shape):
    status: Literal["success"]
    data: list[_Row]


class _Trades(_Shape):
    status: Literal["success"]
    data: list[_Trade]


class _Position(_Shape):
    tradingsymbol: str
    exchange: str
    product: str
    quantity: int
    day_buy_quantity: int
    day_sell_quantity: int


class _Net(_Shape):
    net: list[_Position]


class _Positions(_Shape):
    status: Literal["success"]
    data: _Net


_ROWS, _TRADES, _POSITIONS = TypeAdapter(_Rows), TypeAdapter(_Trades), TypeAdapter(_Positions)


def answer(status: int, body: bytes) -> Answer:
    """What Kite's HTTP answer to an order, a change or a cancel says. Anything undocumented is silence."""
    if status == TOO_MANY:
        return NotTaken("zerodha takes no more orders for the moment (429)")
    try:
        if status == 200:
            return Taken(_Success.model_validate_json(body).data.order_id)
        error = _Error.model_validate_json(body)
    except ValidationError:
        return Silent(f"zerodha answered {status} with something that is no answer")
    if 400 <= status < 500 and error.error_type in REFUSING:
        return Refused(f"{error.message or 'refused'} ({error.error_type})")
    return Silent(f"zerodha answered {status}: {error.message} ({error.error_type})")


def rows(status: int, body: bytes, fallback: datetime) -> list[BookRow]:
    """GET /orders: the day's. `fallback` dates a row that Kite did not."""
    try:
        found = _ROWS.validate_json(body).data if status == 200 else None
    except ValidationError as error:
        raise BadAnswer(f"the order book is not as documented: {error.error_count()} faults") from error
    if found is None:
        raise BadAnswer(f"zerodha answered {status} instead of its order book")
    return [_book_row(row, fallback) for row in found]


def trades(status: int, body: bytes) -> list[Trade]:
    """GET /trades: the day's."""
    try:
        found = _TRADES.validate_json(body).data if status == 200 else None
    except ValidationError as error:
        raise BadAnswer(f"the trades are not as documented: {error.error_count()} faults") from error
    if found is None:
        raise BadAnswer(f"zerodha answered {status} instead of its trades")
    return [_trade(row) for row in found]


def positions(status: int, body: bytes) -> list[Theirs]:
    """GET /portfolio/positions, net. Products that we do not trade (CO, BO, MTF) are left out.

    Of CNC what was traded today: from the next day on shares are among the holdings, and here no more.
    """
    try:
        found = _POSITIONS.validate_json(body).data.net if status == 200 else None
    except ValidationError as error:
        raise BadAnswer(f"the positions are not as documented: {error.error_count()} faults") from error
    if found is None:
        raise BadAnswer(f"zerodha answered {status} instead of its positions")
    return [_theirs(row) for row in found if row.product in list(Product)]


def _theirs(row: _Position) -> Theirs:
    """A cash symbol is ours, too; a derivative's does not tell its day of expiry."""
    symbol, product = _symbol(row), Product(row.product)
    instrument = InstrumentId(symbol) if row.exchange in (Exchange.NSE, Exchange.BSE) else None
    today = row.day_buy_quantity - row.day_sell_quantity
    return Theirs(symbol, instrument, product, today if product is Product.CNC else row.quantity)


def _symbol(row: _Position | _Trade) -> str:
    return f"{row.exchange}:{without_series(row.exchange, row.tradingsymbol)}"


class _Update(_Shape):
    type: str


def is_order_update(frame: str) -> bool:
    """Whether a text frame of Kite's WebSocket is about an order; prices and heartbeats are binary ones."""
    try:
        return _Update.model_validate_json(frame).type == "order"
    except ValidationError:
        return False


class _Postback(_Shape):
    order_id: str
    order_timestamp: str
    checksum: str


def is_postback(body: bytes, api_secret: str) -> bool:
    """Whether Kite posted this about an order of the app that has the secret (Kite Connect 3, Postbacks)."""
    try:
        said = _Postback.model_validate_json(body)
    except ValidationError:
        return False
    expected = hashlib.sha256(f"{said.order_id}{said.order_timestamp}{api_secret}".encode()).hexdigest()
    return hmac.compare_digest(expected.encode(), said.checksum.encode())


def _book_row(row: _Row, fallback: datetime) -> BookRow:
    at = row.exchange_update_timestamp or row.order_timestamp
    return BookRow(
        broker_order_id=row.order_id,
        tag=row.tag or "",
        state=STATES.get(row.status, RowState.PASSING),
        terms=Terms(row.quantity, row.order_type, row.price or None, row.trigger_price or None),
        filled_quantity=row.filled_quantity,
        reason=row.status_message or row.status.lower(),
        at=_time(at) if at else fallback,
    )


def _trade(row: _Trade) -> Trade:
    return Trade(
        trade_id=row.trade_id,
        broker_order_id=row.order_id,
        quantity=row.quantity,
        price=row.average_price,
        at=_time(row.fill_timestamp),
        symbol=_symbol(row),
        product=row.product,
        side=row.transaction_type,
    )


def _time(text: str) -> datetime:
    """`2026-11-23 09:15:01`, in India."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=IST)
    except ValueError as error:
        raise BadAnswer(f"{_storable(text)!r} is no time") from error
