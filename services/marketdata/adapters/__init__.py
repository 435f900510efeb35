"""The sources of market data, behind domain.feed.MarketFeed."""
