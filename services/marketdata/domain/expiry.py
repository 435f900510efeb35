"""When a contract ceases to trade on the day of its expiry: the time from which options count their life."""

from datetime import date, datetime

from libs.common.contracts.enums import Exchange
from libs.common.trading_calendar import TradingCalendar


def expires_at(exchange: Exchange, expiry: date, calendar: TradingCalendar) -> datetime:
    """The end of the exchange's session on the contract's expiry, as the master gives that day.

    Equity and index derivatives trade until 15:40 since 2026-08-03 (15:30 before), currencies until 12:30, commodities
    into the night, and simulated markets that never close until midnight. A day of which the calendar knows no session
    (the master is right, the calendar is not) ends as the trading day before it did.
    """
    session = calendar.session(exchange, expiry, last_day=True)
    if session is None:
        before = calendar.previous_trading_day(exchange, expiry)
        return expires_at(exchange, before, calendar) + (expiry - before)
    return session.close
