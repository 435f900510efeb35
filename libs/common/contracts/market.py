"""Instruments and prices. Where speed matters prices are floats; what enters an order book becomes Decimal there."""

from datetime import date, datetime, timedelta
from decimal import Decimal

from libs.common.contracts.base import Event, Request, Value
from libs.common.contracts.enums import Exchange, FeedSource, InstrumentKind, OptionType, PriceNeed, Series, TickFault
from libs.common.contracts.ids import InstrumentId

BELIEVED_FOR = timedelta(seconds=60)
"""Longer than all but quiet contracts leave between two ticks."""


OF_EXCHANGES = frozenset({FeedSource.LIVE, FeedSource.POLLED})
_NEVER_TRADED = tuple(f"{exchange}:" for exchange in (Exchange.NSE_INDEX, Exchange.BSE_INDEX, Exchange.CUSTOM))


def is_untraded(instrument: str, source: str, volume: int) -> bool:
    """Whether the last price in a tick is of a day before: brokers repeat it, with new books and times, until the first
    trade of the day. What is never traded, as an index, has a price of today without, and so has what we make up.
    """
    return volume == 0 and source in OF_EXCHANGES and not instrument.startswith(_NEVER_TRADED)


def is_old(at: datetime, now: datetime) -> bool:
    """Whether a price of `at` no longer stands for a market that trades: nothing newer came for a minute, since nobody
    trades it or its feed does not carry it any more. That a quote is repeated makes it no newer. While a market is
    closed the last price of its session stands, however old.
    """
    return now - at > BELIEVED_FOR


class InstrumentListed(Event):
    """A contract of the master, new or changed. `underlying` is the symbol (`NIFTY`), `spot` its instrument.

    `tradable` is False for indices and delisted or expired contracts. `freeze_quantity` is the largest single order.
    `price_band` is the fraction around the reference price that the exchange takes (0.10 = 10 %), None without one.
    `series` is of NSE's shares, None where no dump tells it.
    """

    instrument: InstrumentId
    exchange: Exchange
    symbol: str
    name: str
    kind: InstrumentKind
    underlying: str | None = None
    spot: InstrumentId | None = None
    expiry: date | None = None
    strike: Decimal | None = None
    option_type: OptionType | None = None
    lot_size: int
    tick_size: Decimal
    freeze_quantity: int | None = None
    price_band: Decimal | None = None
    series: Series | None = None
    tradable: bool = True
    delisted: bool = False
    """It is gone: expired, withdrawn or, for a custom symbol, deleted. It stays known for its history."""


class DepthLevel(Value):
    price: float
    quantity: int
    orders: int = 0


class Tick(Event):
    """One update of one instrument. `volume` is the day's total; `at` is the exchange's time, `received_at` ours."""

    instrument: InstrumentId
    at: datetime
    received_at: datetime
    source: FeedSource
    ltp: float
    ltq: int = 0
    volume: int = 0
    oi: int = 0
    bid: float = 0.0
    ask: float = 0.0
    bid_quantity: int = 0
    ask_quantity: int = 0
    bids: tuple[DepthLevel, ...] = ()
    asks: tuple[DepthLevel, ...] = ()


class PricesRequested(Request):
    """What one service needs live prices of, all of it, said again every few seconds; after 20 s it is forgotten.

    An `underlying` stands for its spot, its next futures and the options near the money.
    """

    needed_by: str
    need: PriceNeed
    instruments: tuple[InstrumentId, ...] = ()
    underlyings: tuple[str, ...] = ()


class WatchRenewed(Event):
    """What clients of one gateway look at, told of within milliseconds until `until`. It adds to what was said before,
    and is said again before it ends; a chain is named `NFO:NIFTY:2026-11-24`.

    `asked` and `asked_chains` are to have prices, as a request asked for them or a screen shows them now and then: a
    live feed carries them, but nobody is told of them within milliseconds.
    """

    watcher: str
    until: datetime
    quotes: tuple[InstrumentId, ...] = ()
    depths: tuple[InstrumentId, ...] = ()
    chains: tuple[str, ...] = ()
    asked: tuple[InstrumentId, ...] = ()
    asked_chains: tuple[str, ...] = ()


class TickQuarantined(Event):
    """A bad tick, kept apart: nobody trades, draws or stores its price."""

    instrument: InstrumentId
    fault: TickFault
    tick: Tick


class Quote(Value):
    """The newest state of one instrument, with the day's open, high, low and previous close.

    `at` is the exchange's time of its price; of a custom symbol that of the oldest leg, so it may move without `at`.
    """

    instrument: InstrumentId
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


class QuotesConflated(Event):
    """The newest quote of every instrument of `shard` that changed since the last one (every 100 ms).

    Every instrument is repeated at least once in 5 s, so a reader that starts now knows the market within 5 s. What is
    repeated may be hours old: the `at` of each quote says of when it is.
    """

    shard: str
    at: datetime
    quotes: tuple[Quote, ...]


class Depth(Value):
    """The order book of one instrument as the feed gives it: 5 or 20 levels, the best first."""

    instrument: InstrumentId
    at: datetime
    source: FeedSource
    bids: tuple[DepthLevel, ...]
    asks: tuple[DepthLevel, ...]


class WatchedConflated(Event):
    """The newest quotes, and the depths where asked for, of what clients look at right now, every 10 ms.

    Nothing is repeated here: who needs to know the market by this topic alone also reads QuotesConflated.
    """

    shard: str
    at: datetime
    quotes: tuple[Quote, ...]
    depths: tuple[Depth, ...] = ()


class CandleClosed(Event):
    """A finished 1-minute candle; `start` is its first instant (09:15:00 for the one called 09:16 at its end).

    It holds the ticks of its minute that were received less than 2 s after its end, and is said a moment later. It may
    be said again, the same or corrected by a tick that Kafka brought late: of each (instrument, start) the newest
    counts.
    """

    instrument: InstrumentId
    start: datetime
    interval_s: int
    source: FeedSource
    open: float
    high: float
    low: float
    close: float
    volume: int
    oi: int


def is_of_a_day_before(told: Tick | Quote) -> bool:
    """Its last price, however new its time and its book are."""
    return is_untraded(told.instrument, told.source, told.volume)
