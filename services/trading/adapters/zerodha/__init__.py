"""Zerodha, by Kite Connect v3 (kite.trade/docs/connect/v3)."""
