"""Kite Connect's ticker."""

from services.marketdata.adapters.zerodha.dialect import KiteDialect

__all__ = ["KiteDialect"]
