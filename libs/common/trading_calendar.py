"""When the Indian exchanges trade: sessions by exchange and day, in UTC, decided by the Indian date.

Days come from what an operator names (`market_days`), else from `special_sessions`, else from `holidays` (those of the
Bombay Stock Exchange, which every Indian exchange's follow closely); hours from the project's market-rules.json.

Exchanges publish a year's holidays in the December before. After the last day that table and operator know of
(`known_until`) sessions are provisional: weekdays trade but for the national holidays, which need no announcement. A
platform that stops because a table is old would be worse than one that accepts an order on Holi. It warns every day.
MCX's evening sessions on holidays of the stock exchanges are not in our sources: closed, unless an operator names them.
"""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from libs.common.contracts.enums import Exchange
from libs.common.holidays import FIRST_KNOWN, HOLIDAYS, LAST_KNOWN
from libs.common.market_days import MarketDays, MarketDaysSettings
from libs.common.settings import MarketHours, load
from libs.common.special_sessions import CLOSING_AUCTION_FROM, SPECIAL_SESSIONS, Hours, SpecialSession
from libs.common.telemetry import log

IST = ZoneInfo("Asia/Kolkata")
NEW_YORK = ZoneInfo("America/New_York")
SATURDAY = 5
LONGEST_CLOSURE = 30
CURRENCIES = (Exchange.CDS, Exchange.BCD)
CURRENCY_LAST_TRADE = time(12, 30)
"""Currency derivatives trade until half past noon on their last day, whatever the session."""
NATIONAL_HOLIDAYS = frozenset({(1, 26), (5, 1), (8, 15), (10, 2), (12, 25)})
"""Month and day of Republic Day, Maharashtra Day, Independence Day, Gandhi Jayanti and Christmas: every exchange is
closed, whatever the year. All other holidays follow the moon, or an election."""
NOTICE = timedelta(days=30)
"""So long before the end of what is known the warnings begin."""

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
    """Sessions under the given hours. `derivative_listed` says that a cash stock has futures and options, `last_day`
    that the contract expires on that day.
    """

    def __init__(self, hours: MarketHours = MarketHours.EXCHANGE, named: MarketDays | None = None) -> None:
        """`named` are an operator's days, by default those of MARKET_DAYS; SettingsError says what is wrong there."""
        self.hours = hours
        self._named = load(MarketDaysSettings).market_days if named is None else named
        self._warned_on = date.min
        self._sessions: dict[tuple[Exchange, date, bool, bool], MarketSession | None] = {}

    def session(
        self, exchange: Exchange, day: date, derivative_listed: bool = False, last_day: bool = False
    ) -> MarketSession | None:
        """The session of the Indian date `day`, None when the exchange is closed on it."""
        asked = (exchange, day, derivative_listed, last_day)
        if asked not in self._sessions:
            if self.hours is MarketHours.CONTINUOUS:
                self._sessions[asked] = MarketSession(_at(day, time()), _at(day + timedelta(days=1), time()))
            else:
                found = self._session(exchange, day, derivative_listed)
                if found is not None and last_day and exchange in CURRENCIES:
                    found = replace(found, close=min(found.close, _at(day, CURRENCY_LAST_TRADE)))
                self._sessions[asked] = found
        return self._sessions[asked]

    def last_end(self, exchange: Exchange, day: date) -> datetime | None:
        """When the last of its instruments ends: stocks with a closing auction, which no file or table of prices names,
        end after the others.
        """
        sessions = (self.session(exchange, day, listed) for listed in (False, True))
        return max((session.end for session in sessions if session is not None), default=None)

    def is_open(self, exchange: Exchange, at: datetime, derivative_listed: bool = False) -> bool:
        day = self.trading_day(at)
        self._warn(day)
        session = self.session(exchange, day, derivative_listed)
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
        if self.hours is MarketHours.CONTINUOUS:
            return date.max
        return max(LAST_KNOWN, self._named.known_until or date.min)

    def is_provisional(self, day: date) -> bool:
        """Whether the day's session is a guess."""
        return day > self.known_until

    def status(self, now: datetime) -> dict[str, object]:
        """For status pages: to which day holidays are known (None: markets never close), whether today is a guess."""
        return {
            "holidays_known_until": None if self.hours is MarketHours.CONTINUOUS else self.known_until,
            "sessions_provisional": self.is_provisional(self.trading_day(now)),
        }

    def _warn(self, day: date) -> None:
        """Once a day; days that were warned of already, and those before them (a replay's), are passed over."""
        if day <= self._warned_on:
            return
        self._warned_on = day
        if day > self.known_until - NOTICE:
            provisional = self.is_provisional(day)
            log.warning("holidays_unknown", known_until=str(self.known_until), day=str(day), provisional=provisional)

    def _session(self, exchange: Exchange, day: date, derivative_listed: bool) -> MarketSession | None:
        special = self._named.session(exchange, day)
        if special is None and self._named.is_holiday(exchange, day):
            return None
        special = special or _SPECIAL.get(day)
        if special is not None and exchange in special.exchanges:
            return _special_session(special, exchange, derivative_listed)
        return _ordinary_session(exchange, day, derivative_listed) if _trades(day) else None


def _trades(day: date) -> bool:
    if day.weekday() >= SATURDAY:
        return False
    if FIRST_KNOWN <= day <= LAST_KNOWN:
        return day not in HOLIDAYS
    return (day.month, day.day) not in NATIONAL_HOLIDAYS


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
