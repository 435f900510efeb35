"""The tasks that carry market data: the feed, the contract master, Redis, QuestDB; and standing by."""

from services.marketdata.streams.chain import tell_chains
from services.marketdata.streams.custom import note_custom_symbols
from services.marketdata.streams.feed import run_feed
from services.marketdata.streams.masters import keep_masters
from services.marketdata.streams.quotes import find_lost_quotes, save_quotes
from services.marketdata.streams.repair import refill_views, repair_candles
from services.marketdata.streams.series import write_series
from services.marketdata.streams.settlement import settle_expired
from services.marketdata.streams.standby import follow_master, follow_needs, follow_quotes, keep_books, stand_by
from services.marketdata.streams.watched import forget_watchers, note_watchers, tell_watchers

__all__ = [
    "find_lost_quotes",
    "follow_master",
    "follow_needs",
    "follow_quotes",
    "forget_watchers",
    "keep_books",
    "keep_masters",
    "note_custom_symbols",
    "note_watchers",
    "refill_views",
    "repair_candles",
    "run_feed",
    "save_quotes",
    "settle_expired",
    "stand_by",
    "tell_chains",
    "tell_watchers",
    "write_series",
]
