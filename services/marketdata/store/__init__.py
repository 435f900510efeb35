"""Marketdata's tables: the contract master in PostgreSQL, ticks and candles in QuestDB. The only SQL."""

from services.marketdata.store.contracts import ContractStore
from services.marketdata.store.series import TimeSeries

__all__ = ["ContractStore", "TimeSeries"]
