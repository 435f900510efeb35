"""Brokers' instrument dumps, normalised to one table: one module per family of formats."""

from services.marketdata.adapters.masters.formats import FORMATS, Dump, load
from services.marketdata.adapters.masters.listing import contracts
from services.marketdata.adapters.masters.table import MasterMalformed

__all__ = ["FORMATS", "Dump", "MasterMalformed", "contracts", "load"]
