"""Angel One's OpenAPIScripMaster.json, and mStock's, which has the same fields but strikes in rupees."""

from dataclasses import replace
from decimal import Decimal
from typing import Final

import polars as pl

from services.marketdata.adapters.masters import files
from services.marketdata.adapters.masters.layout import EXCHANGES, Layout, Price
from services.marketdata.adapters.masters.table import CASH_SERIES, compact, parsed_date, text, whole

_SERIES = text("symbol").str.extract(r"-([A-Z0-9]{1,3})$")
_CURRENCY: Final = {"CDS": Decimal(10_000_000), "BCD": Decimal(10_000_000)}
"""Strikes and ticks of currencies are ten thousand millionths of a rupee, all others paise."""

ANGEL = Layout(
    columns=("token", "symbol", "name", "expiry", "strike", "lotsize", "instrumenttype", "exch_seg", "tick_size"),
    market=("exch_seg",),
    markets=EXCHANGES,
    index=text("instrumenttype").is_in(["AMXIDX", "INDEX"]),
    future=text("instrumenttype").str.starts_with("FUT"),
    option=text("instrumenttype").str.starts_with("OPT"),
    share=(text("instrumenttype") == "") & ((pl.col("exch_seg") == "BSE") | _SERIES.is_in(CASH_SERIES)),
    underlying=compact("name"),
    symbol=compact("symbol").str.replace(r"-[A-Z0-9]{1,2}$", ""),
    index_symbol=compact("symbol"),
    name=text("name"),
    expiry=parsed_date("expiry", "%d%b%Y"),
    strike=Price("strike", 100, _CURRENCY),
    option_type=text("symbol").str.tail(2),
    lot_size=whole("lotsize"),
    tick_size=Price("tick_size", 100, _CURRENCY),
    series=_SERIES,
    token=text("token"),
    broker_symbol=text("symbol"),
)
MSTOCK = replace(ANGEL, strike=Price("strike"), tick_size=Price("tick_size", 100, {"CDS": 1, "BCD": 1}))


def read(content: bytes) -> pl.DataFrame:
    return ANGEL.rows(files.json(content))


def read_mstock(content: bytes) -> pl.DataFrame:
    return MSTOCK.rows(files.json(content))
