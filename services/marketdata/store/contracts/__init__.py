"""The contract master in PostgreSQL."""

from services.marketdata.store.contracts.store import ContractStore

__all__ = ["ContractStore"]
