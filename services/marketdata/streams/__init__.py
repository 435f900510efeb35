"""The tasks that carry market data: the feed, the contract master, Redis, QuestDB."""

from services.marketdata.streams.chain import tell_chains
from services.marketdata.streams.custom import note_custom_symbols
from services.marketdata.streams.feed import run_feed
from services.marketdata.streams.masters import keep_masters
from services.marketdata.streams.quotes import save_quotes
from services.marketdata.streams.repair import repair_candles
from services.marketdata.streams.series import write_series
from services.marketdata.streams.watched import forget_watchers, note_watchers, tell_watchers

__all__ = [
    "forget_watchers",
    "keep_masters",
    "note_custom_symbols",
    "note_watchers",
    "repair_candles",
    "run_feed",
    "save_quotes",
    "tell_chains",
    "tell_watchers",
    "write_series",
]
