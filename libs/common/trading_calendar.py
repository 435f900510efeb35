"""When the Indian exchanges trade: sessions by exchange and day, in UTC, decided by the Indian date.

Days come from exchange_calendars' XBOM (which every Indian exchange's holidays follow closely) and from
`special_sessions` for what it lacks; hours from the project's market-rules.json. The library is imported when the
first day is asked for: it costs a third of a second, and continuous hours never need it.

Known limits. After the library's last day (`known_until`, the end of the year it was released for) weekdays trade and
holidays are unknown: a platform that stops because a table is old would be worse than one that accepts an order on
a holiday. MCX's evening sessions on holidays of the stock exchanges are not in our sources and count as closed.
"""

import warnings
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from libs.common.contracts.enums import Exchange
from libs.common.settings import MarketHours
from libs.common.special_sessions import CLOSING_AUCTION_FROM, SPECIAL_SESSIONS, Hours, SpecialSession

IST = ZoneInfo("Asia/Kolkata")
NEW_YORK = ZoneInfo("America/New_York")
SATURDAY = 5
LONGEST_CLOSURE = 30

_SPECIAL = {special.day: special for special in SPECIAL_SESSIONS}


@dataclass(frozen=True, slots=True)
class MarketSession:
    """One trading day of one exchange. Continuous trading is from `open` to `close`, less the `breaks`.

    `closing_auction` follows `close` where the exchange holds one; it takes limit and market orders only.
    """

    open: datetime
    close: datetime
    breaks: tuple[tuple[datetime, datetime], ...] = ()
    closing_auction: tuple[datetime, datetime] | None = None

    @property
    def end(self) -> datetime:
        """When DAY orders expire: after the closing auction where there is one."""
        return self.closing_auction[1] if self.closing_auction else self.close

    def is_open(self, at: datetime) -> bool:
        """Continuous trading goes on at `at`. A session holds its first instant and not its last."""
        return self.open <= at < self.close and not any(start <= at < end for start, end in self.breaks)

    def in_closing_auction(self, at: datetime) -> bool:
        return self.closing_auction is not None and self.closing_auction[0] <= at < self.closing_auction[1]


class TradingCalendar:
    """Sessions under the given hours. `derivative_listed` says that a cash stock has futures and options."""

    def __init__(self, hours: MarketHours = MarketHours.EXCHANGE) -> None:
        self.hours = hours
        self._sessions: dict[tuple[Exchange, date, bool], MarketSession | None] = {}

    def session(self, exchange: Exchange, day: date, derivative_listed: bool = False) -> MarketSession | None:
        """The session of the Indian date `day`, None when the exchange is closed on it."""
        asked = (exchange, day, derivative_listed)
        if asked not in self._sessions:
            if self.hours is MarketHours.CONTINUOUS:
                self._sessions[asked] = MarketSession(_at(day, time()), _at(day + timedelta(days=1), time()))
            else:
                self._sessions[asked] = _session(exchange, day, derivative_listed)
        return self._sessions[asked]

    def is_open(self, exchange: Exchange, at: datetime, derivative_listed: bool = False) -> bool:
        session = self.session(exchange, self.trading_day(at), derivative_listed)
        return session is not None and session.is_open(at)

    def trading_day(self, at: datetime) -> date:
        """The Indian date of an instant: the day that its orders, limits and profits belong to."""
        return at.astimezone(IST).date()

    def next_open(self, exchange: Exchange, at: datetime) -> datetime:
        """`at` itself while the exchange trades, else when it next begins to."""
        today = self.trading_day(at)
        for days in range(LONGEST_CLOSURE):
            session = self.session(exchange, today + timedelta(days=days))
            if session is None or at >= session.close:
                continue
            if session.is_open(at):
                return at
            return next((end for start, end in session.breaks if start <= at < end), session.open)
        raise LookupError(f"{exchange} has no session within {LONGEST_CLOSURE} days of {today}")

    def previous_trading_day(self, exchange: Exchange, day: date) -> date:
        """The last day before `day` on which the exchange traded."""
        for days in range(1, LONGEST_CLOSURE):
            earlier = day - timedelta(days=days)
            if self.session(exchange, earlier) is not None:
                return earlier
        raise LookupError(f"{exchange} has no session within {LONGEST_CLOSURE} days before {day}")

    @property
    def known_until(self) -> date:
        """The last day whose holidays are known."""
        return date.max if self.hours is MarketHours.CONTINUOUS else _library_days()[2]


def _session(exchange: Exchange, day: date, derivative_listed: bool) -> MarketSession | None:
    special = _SPECIAL.get(day)
    if special is not None and exchange in special.exchanges:
        return _special_session(special, exchange, derivative_listed)
    return _ordinary_session(exchange, day, derivative_listed) if _trades(day) else None


def _trades(day: date) -> bool:
    sessions, first, last = _library_days()
    return day in sessions if first <= day <= last else day.weekday() < SATURDAY


def _special_session(special: SpecialSession, exchange: Exchange, derivative_listed: bool) -> MarketSession:
    if not special.hours:
        return _ordinary_session(exchange, special.day, derivative_listed)
    return _session_of(special.day, special.hours)


def _session_of(day: date, hours: Hours) -> MarketSession:
    spans = [(_at(day, start), _at(day, end)) for start, end in hours]
    breaks = tuple((before[1], after[0]) for before, after in pairwise(spans))
    return MarketSession(spans[0][0], spans[-1][1], breaks)


def _ordinary_session(exchange: Exchange, day: date, derivative_listed: bool) -> MarketSession:
    """Hours of market-rules.json `sessions`, before and after the change of 2026-08-03."""
    opens, closes = time(9, 15), time(15, 30)
    auction: tuple[datetime, datetime] | None = None
    match exchange:
        case Exchange.CDS | Exchange.BCD:
            opens, closes = time(9), time(17)
        case Exchange.MCX:
            opens, closes = time(9), _mcx_close(day)
        case Exchange.NFO | Exchange.BFO if day >= CLOSING_AUCTION_FROM:
            closes = time(15, 40)
        case Exchange.NSE | Exchange.BSE if day >= CLOSING_AUCTION_FROM and derivative_listed:
            closes = time(15, 15)
            auction = _at(day, closes), _at(day, time(15, 35))
        case _:
            pass
    return MarketSession(_at(day, opens), _at(day, closes), closing_auction=auction)


def _mcx_close(day: date) -> time:
    """MCX closes with the American markets: 25 minutes later while New York is on winter time."""
    summer_time = datetime.combine(day, time(12), NEW_YORK).dst()
    return time(23, 30) if summer_time else time(23, 55)


def _at(day: date, at: time) -> datetime:
    return datetime.combine(day, at, IST).astimezone(UTC)


@lru_cache(maxsize=1)
def _library_days() -> tuple[frozenset[date], date, date]:
    """The library's trading days with the first and last day that it knows."""
    with warnings.catch_warnings():
        # What the library does with pandas is deprecated by the newest pandas; not our business.
        warnings.simplefilter("ignore", DeprecationWarning)
        from exchange_calendars import get_calendar

        days: list[date] = [session.date() for session in get_calendar("XBOM").sessions]
    return frozenset(days), days[0], date(days[-1].year, 12, 31)
