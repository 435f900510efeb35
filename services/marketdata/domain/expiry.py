"""When a contract ceases to trade on the day of its expiry: the time from which options count their life."""

from datetime import UTC, date, datetime, time

from libs.common.contracts.enums import Exchange
from libs.common.settings import MarketHours
from libs.common.trading_calendar import IST, TradingCalendar

CURRENCY_LAST_TRADE = time(12, 30)
"""Currency derivatives trade until half past noon on their last day, whatever the session."""
_CURRENCY = (Exchange.CDS, Exchange.BCD)


def expires_at(exchange: Exchange, expiry: date, calendar: TradingCalendar) -> datetime:
    """The end of the exchange's session on the contract's expiry, as the master gives that day.

    Equity and index derivatives trade until 15:40 since 2026-08-03 (15:30 before), commodities into the night, and
    simulated markets that never close until midnight. A day of which the calendar knows no session (the master is
    right, the calendar is not) ends as the trading day before it did.
    """
    session = calendar.session(exchange, expiry)
    if session is None:
        before = calendar.previous_trading_day(exchange, expiry)
        return expires_at(exchange, before, calendar) + (expiry - before)
    if exchange in _CURRENCY and calendar.hours is MarketHours.EXCHANGE:
        return min(session.close, datetime.combine(expiry, CURRENCY_LAST_TRADE, IST).astimezone(UTC))
    return session.close
