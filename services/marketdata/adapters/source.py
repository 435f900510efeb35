"""Which feed the operator chose."""

from datetime import date

from libs.common.settings import MarketHours, load
from libs.common.trading_calendar import TradingCalendar
from services.marketdata.adapters.replay import ReplayFeed
from services.marketdata.adapters.simulator import SimulatedFeed
from services.marketdata.domain.feed import MarketFeed
from services.marketdata.settings import FeedKind, MarketDataSettings, ReplaySettings


def open_feed(settings: MarketDataSettings, hours: MarketHours, day: date) -> MarketFeed:
    """The feed of one trading day. Blocking: a real master takes a second or two to read."""
    calendar = TradingCalendar(MarketHours.EXCHANGE)
    match settings.feed:
        case FeedKind.SIMULATOR:
            return SimulatedFeed(day=day, calendar=calendar, hours=hours, seed=settings.seed, rate=settings.tick_rate)
        case FeedKind.REPLAY:
            return ReplayFeed(day=day, hours=hours, settings=load(ReplaySettings))
        case FeedKind.LIVE:
            raise ValueError("a live feed is opened with the contract master at hand")
