"""Live prices from brokers' WebSockets."""

from services.marketdata.adapters.live.feed import LiveFeed

__all__ = ["LiveFeed"]
