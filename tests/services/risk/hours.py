"""A day with hours, where the tests of risk else happen in a market that never closes."""

from datetime import UTC, datetime, time

from libs.common.market_days import MarketDays
from libs.common.settings import MarketHours
from libs.common.special_sessions import Hours, SpecialSession
from libs.common.trading_calendar import IST, TradingCalendar
from services.risk.memory import RiskMemory
from tests.services.risk.scene import TODAY


def exchange_hours(hours: Hours = ()) -> TradingCalendar:
    """Ordinary hours on the day of the scene, or those that an exchange announced for it."""
    return TradingCalendar(MarketHours.EXCHANGE, MarketDays(sessions=(SpecialSession(TODAY, "a day", hours=hours),)))


def with_hours(memory: RiskMemory, hours: Hours = ()) -> RiskMemory:
    memory.calendar = exchange_hours(hours)
    return memory


def at(hour: int, minute: int = 0, second: int = 0) -> datetime:
    """Indian time, on the day of the scene."""
    return datetime.combine(TODAY, time(hour, minute, second), IST).astimezone(UTC)
