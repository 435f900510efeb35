"""A real instrument dump with recorded prices, stamped to now, looping; labelled REPLAYED, its options DERIVED."""

from services.marketdata.adapters.replay.feed import ReplayFeed

__all__ = ["ReplayFeed"]
