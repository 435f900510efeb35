"""Kite's quotes over HTTP (kite.trade/docs/connect/v3/market-quotes): at most 500 instruments, once a second."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from libs.common.contracts.market import DepthLevel
from libs.common.trading_calendar import IST
from services.marketdata.adapters.live.dialect import Packet, TickerError, day_range

OK = 200
FIRST_YEAR = 1970


class Ohlc(BaseModel):
    open: float = 0.0
    high: float = 0.0
    low: float = 0.0
    close: float = 0.0
    """Of the day before."""


class Book(BaseModel):
    buy: list[DepthLevel] = []
    sell: list[DepthLevel] = []


class KiteQuote(BaseModel):
    instrument_token: int
    last_price: float
    timestamp: datetime | None = None
    """The exchange's, Indian time without saying so."""
    last_quantity: int = 0
    volume: int = 0
    oi: FiniteFloat = 0
    lower_circuit_limit: float = 0.0
    upper_circuit_limit: float = 0.0
    """Zero where there is none, as for an index."""
    ohlc: Ohlc = Field(default_factory=Ohlc)
    depth: Book = Field(default_factory=Book)


class Answered(BaseModel):
    status: Literal["success"]
    data: dict[str, KiteQuote]


def read_quotes(status: int, body: bytes) -> Mapping[str, Packet]:
    """Instruments that Kite does not know are left out by it. Raises TickerError when there are no quotes at all."""
    if status != OK:
        raise TickerError(f"Kite refuses quotes with {status}: {body[:200]!r}")
    try:
        answered = Answered.model_validate_json(body)
    except ValidationError as error:
        raise TickerError(f"these are no quotes of Kite: {body[:200]!r}") from error
    return {name: _packet(quote) for name, quote in answered.data.items()}


def _time(said: datetime | None) -> datetime | None:
    """The year one, before any exchange, is no time: it cannot even be moved to UTC."""
    return said.replace(tzinfo=IST).astimezone(UTC) if said and said.year >= FIRST_YEAR else None


def _packet(quote: KiteQuote) -> Packet:
    told, is_index = quote.ohlc, not quote.upper_circuit_limit
    traded = is_index or quote.volume > 0
    return Packet(
        quote.instrument_token,
        quote.last_price,
        quote.last_quantity,
        quote.volume,
        int(quote.oi),
        tuple(level for level in quote.depth.buy if level.quantity),
        tuple(level for level in quote.depth.sell if level.quantity),
        quote.ohlc.close,
        _time(quote.timestamp),
        (quote.lower_circuit_limit, quote.upper_circuit_limit) if quote.upper_circuit_limit else None,
        day_range(quote.last_price, told.open, told.high, told.low) if traded else None,
    )
