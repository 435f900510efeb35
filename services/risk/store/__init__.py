"""Risk's tables: the only SQL of the service. A store lives for one transaction and works by the batch."""

from services.risk.store.store import RiskStore

__all__ = ["RiskStore"]
