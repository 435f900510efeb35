"""What the process may forget: the newest quotes, the minutes in the making, rows on their way, and its clients."""

from services.marketdata.memory.market import MarketMemory

__all__ = ["MarketMemory"]
