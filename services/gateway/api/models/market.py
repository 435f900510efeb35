"""Quotes and contracts."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from libs.common.contracts.enums import Exchange, FeedSource, InstrumentKind, OptionType
from libs.common.contracts.market import DepthLevel
from libs.common.contracts.options import OptionChain
from services.gateway.api.models.common import Answer, Body


class QuoteView(Answer):
    """`source` says where the price comes from, `stale` that it may not be the market's any more: nothing newer came
    for a minute while its market trades, or prices are not heard at all.

    With `market_open` false the quote is the last one of the session, `age_s` old.
    """

    instrument: str
    at: datetime
    source: FeedSource
    ltp: float
    bid: float
    ask: float
    bid_quantity: int
    ask_quantity: int
    open: float
    high: float
    low: float
    previous_close: float
    volume: int
    oi: int
    age_s: float
    stale: bool
    market_open: bool


class QuoteAsked(QuoteView):
    """`asked_since` is when the feed was asked for it: one much older than that is of the time before."""

    asked_since: datetime


class DepthView(Answer):
    """`levels` is how many the feed gives, which may be fewer than were asked for."""

    instrument: str
    at: datetime
    source: FeedSource
    ltp: float
    bids: list[DepthLevel]
    asks: list[DepthLevel]
    levels: int
    age_s: float
    stale: bool
    market_open: bool


class Expiries(Answer):
    exchange: Exchange
    underlying: str
    expiries: list[date]


class QuotesWanted(Body):
    MOST_BYTES: ClassVar[int] = 131_072

    symbols: list[Annotated[str, StringConstraints(max_length=80)]] = Field(
        min_length=1, max_length=1000, examples=[["NSE:SBIN", "NSE_INDEX:NIFTY"]]
    )


class QuotesFound(Answer):
    """`missing` has no quote: `unknown` is not listed, and the feed is asked for the rest since `asked_since`."""

    data: list[QuoteView]
    missing: list[str]
    unknown: list[str]
    asked_since: datetime | None


class ChainView(OptionChain):
    """`asked_since` is when the feed was asked for this chain: prices take a moment from then."""

    asked_since: datetime


class InstrumentView(Answer):
    instrument: str
    exchange: Exchange
    symbol: str
    name: str
    kind: InstrumentKind
    underlying: str | None
    expiry: date | None
    strike: Decimal | None
    option_type: OptionType | None
    lot_size: int
    tick_size: Decimal
    freeze_quantity: int | None
    price_band: Decimal | None
    tradable: bool
    delisted: bool
