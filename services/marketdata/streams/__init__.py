"""The tasks that carry market data: the feed, Redis, QuestDB."""

from services.marketdata.streams.feed import run_feed
from services.marketdata.streams.quotes import save_quotes
from services.marketdata.streams.series import write_series

__all__ = ["run_feed", "save_quotes", "write_series"]
