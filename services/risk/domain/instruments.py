"""What an order is checked against: the contract and its newest price."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from libs.common.contracts.enums import Exchange, InstrumentKind, Series, Side
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed, Quote, is_of_a_day_before
from libs.common.trading_calendar import IST


@dataclass(frozen=True, slots=True)
class Instrument:
    """`freeze_quantity` is floored to whole lots: the exchange's 600 with a lot of 35 means 595."""

    instrument: InstrumentId
    exchange: Exchange
    kind: InstrumentKind
    lot_size: int
    tick_size: Decimal
    freeze_quantity: int | None
    price_band: Decimal | None
    spot: InstrumentId | None
    strike: Decimal | None
    expiry: date | None
    tradable: bool
    series: Series | None = None

    @classmethod
    def listed(cls, contract: InstrumentListed) -> "Instrument":
        freeze = contract.freeze_quantity
        return cls(
            instrument=contract.instrument,
            exchange=contract.exchange,
            kind=contract.kind,
            lot_size=contract.lot_size,
            tick_size=contract.tick_size,
            freeze_quantity=None if freeze is None else freeze // contract.lot_size * contract.lot_size,
            price_band=contract.price_band,
            spot=contract.spot,
            strike=contract.strike,
            expiry=contract.expiry,
            tradable=contract.tradable,
            series=contract.series,
        )

    def has_expired(self, today: date) -> bool:
        """It trades on its last day."""
        return self.expiry is not None and self.expiry < today


@dataclass(frozen=True, slots=True)
class Price:
    """The last traded price, the previous close, the best bid and ask; None where the source has none (it says 0)."""

    last: Decimal | None
    previous_close: Decimal | None
    at: datetime
    bid: Decimal | None = None
    ask: Decimal | None = None

    @classmethod
    def quoted(cls, quote: Quote) -> "Price":
        """What has not traded yet today would trade at its book, however long ago it traded last."""
        last, close = _positive(quote.ltp), _positive(quote.previous_close)
        if last is not None and is_of_a_day_before(quote):
            return cls(_positive(max(quote.ltp, quote.bid, quote.ask)), close or last, quote.at)
        return cls(last, close, quote.at, _positive(quote.bid), _positive(quote.ask))

    def dearest(self, side: Side) -> Decimal | None:
        """The most that an order at the market is likely to trade at: of what trades seldom the last trade may be hours
        old, and the book of now.
        """
        book = self.ask if side is Side.BUY else self.bid
        return max((each for each in (self.last, book) if each is not None), default=None)

    def reference(self, today: date) -> Decimal | None:
        """What a price band is measured from: the close of the day before, which is the last price of one that is from
        then.
        """
        return self.last if trading_day(self.at) < today else self.previous_close or self.last


def _positive(price: float) -> Decimal | None:
    return Decimal(str(price)) if price > 0 else None


def trading_day(at: datetime) -> date:
    """The Indian date, to which expiries, daily limits and today's profit belong."""
    return at.astimezone(IST).date()
