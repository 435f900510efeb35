"""Fyers' symbol masters (public.fyers.in/sym_details), one CSV without a header for each segment.

Copies in circulation have a header line of somebody's own; columns go by their place.
"""

import polars as pl

from services.marketdata.adapters.masters import files
from services.marketdata.adapters.masters.layout import Layout, Price
from services.marketdata.adapters.masters.table import CASH_SERIES, compact, indian_date, short_expiry, text, whole

_COLUMNS = [
    "token",
    "details",
    "type",
    "lot",
    "tick",
    "isin",
    "sessions",
    "updated",
    "expiry",
    "ticker",
    "exchange",
    "segment",
    "scrip",
    "underlying",
    "underlying_scrip",
    "strike",
    "option_type",
]
_BOND_TYPES = ("2", "3", "5", "6", "7", "8")
_CASH = text("segment") == "10"
_OPTION = text("option_type").is_in(["CE", "PE"])
# NSE:SBIN-EQ; the symbol may hold hyphens itself (NSE:BAJAJ-AUTO-EQ).
_SERIES = text("ticker").str.extract(r"-([A-Z0-9]+)$")
_OF_NSE = (text("exchange") == "10") & _SERIES.is_in(CASH_SERIES)
_OF_BSE = (text("exchange") == "12") & ~text("type").is_in(_BOND_TYPES)
_EXPIRY = indian_date(whole("expiry"), "s")

FYERS = Layout(
    columns=tuple(_COLUMNS),
    market=("exchange", "segment"),
    markets={
        "10/10": "NSE",
        "10/11": "NFO",
        "10/12": "CDS",
        "11/20": "MCX",
        "12/10": "BSE",
        "12/11": "BFO",
        "12/12": "BCD",
    },
    index=_CASH & (text("type") == "10"),
    option=~_CASH & _OPTION,
    future=~_CASH & ~_OPTION,
    share=_CASH & (_OF_NSE | _OF_BSE),
    underlying=compact("underlying"),
    symbol=compact("underlying"),
    name=text("details"),
    expiry=_EXPIRY,
    strike=Price("strike"),
    option_type=text("option_type"),
    lot_size=whole("lot"),
    tick_size=Price("tick"),
    series=_SERIES,
    monthly=text("ticker").str.replace(r"^[A-Z]+:", "").str.starts_with(compact("underlying") + short_expiry(_EXPIRY)),
    token=text("token"),
    broker_symbol=text("ticker"),
)


def read(content: bytes) -> pl.DataFrame:
    table = files.csv(content, _COLUMNS)
    return FYERS.rows(table.filter(text("token").str.contains(r"^\d{10,}$") | (pl.int_range(pl.len()) > 0)))
