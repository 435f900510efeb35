"""What an expired contract is worth: its intrinsic value at the closing price of what it is written on.

NSE and BSE settle index futures and options in cash at the index's closing value of the last trading day (NSE Clearing,
"Final settlement of equity derivatives"). Derivatives of single stocks they settle by delivery of shares; a paper
account gets the same value in cash, at the stock's closing price. No price is ever made up: one that was last heard of
minutes before the close is not the closing price.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal

from libs.common.contracts.enums import Exchange, InstrumentKind, OptionType
from libs.common.contracts.ids import InstrumentId
from libs.common.settings import MarketHours
from libs.common.trading_calendar import TradingCalendar
from services.marketdata.domain.expiry import expires_at

SETTLED_HERE = (Exchange.NFO, Exchange.BFO)
"""Commodities are settled at spot prices that their exchanges poll, currencies at RBI's reference rate: no feed's."""
LAST_WORD = timedelta(minutes=5)
"""So close to the end of the session the last candle must begin: an index tells its value every second until then."""
CANDLES_ARE_IN = timedelta(minutes=5)
"""After the close the last candles are made and stored, and the last fills are reported."""
GIVES_UP = timedelta(minutes=30)
"""After the close what is missing is told as missing: until then it may be late."""
PAISA = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Expired:
    """Contracts that expired together: of one exchange and day, written on the same. `spot` is None if unknown.

    Those that were `withdrawn` left all dumps before that day.
    """

    exchange: Exchange
    expiry: date
    spot: InstrumentId | None
    spot_exchange: Exchange | None
    spot_kind: InstrumentKind | None
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """When the candle starts whose close is the closing price: the last one in [start, end)."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Closing:
    """A closing price: of the candle that starts at `minute`, from `source`."""

    price: Decimal
    minute: datetime
    source: str


def closing(price: float, minute: datetime, source: str) -> Closing:
    """Exchanges tell closing prices to the paisa."""
    return Closing(Decimal(str(price)).quantize(PAISA, ROUND_HALF_EVEN), minute, source)


def why_never(expired: Expired) -> str | None:
    """Why these contracts get no price here, whatever the day's prices are; None when they may."""
    if expired.exchange not in SETTLED_HERE:
        return f"no feed tells the final settlement price of {expired.exchange.value}"
    if expired.spot is None or expired.spot_exchange is None:
        return "the master does not tell what it is written on"
    return None


def window(expired: Expired, calendar: TradingCalendar) -> Window:
    """From shortly before the end of the underlying's session, its closing auction included, to the contract's end.

    What left the dumps before a day that turned out to be a holiday was moved to the trading day before it, and has
    another name of ours there.

    Simulated markets that never close stand still while nobody runs them: their last price of the day is its last.
    """
    day = expired.expiry
    if expired.withdrawn and calendar.session(expired.exchange, day) is None:
        day = calendar.previous_trading_day(expired.exchange, day)
    end = expires_at(expired.exchange, day, calendar)
    if expired.spot_exchange is None:
        return Window(end - LAST_WORD, end)
    session = calendar.session(expired.spot_exchange, day, expired.spot_kind is InstrumentKind.EQUITY)
    if session is None:
        return Window(end - LAST_WORD, end)
    if calendar.hours is MarketHours.CONTINUOUS:
        return Window(session.open, end)
    return Window(min(session.end, end) - LAST_WORD, end)


def worth(kind: InstrumentKind, strike: Decimal | None, option_type: OptionType | None, spot: Decimal) -> Decimal:
    """One unit of the contract at the closing price. ValueError for an option without a strike or a type."""
    if kind is not InstrumentKind.OPTION:
        return spot
    if strike is None or option_type is None:
        raise ValueError("an option without a strike or a type")
    return max(spot - strike if option_type is OptionType.CE else strike - spot, Decimal(0))
