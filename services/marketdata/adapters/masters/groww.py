"""Groww's instrument.csv (growwapi-assets.groww.in)."""

import polars as pl

from services.marketdata.adapters.masters import files
from services.marketdata.adapters.masters.layout import Layout, Price
from services.marketdata.adapters.masters.table import CASH_SERIES, compact, date_of, text, whole

_KIND = text("instrument_type")

GROWW = Layout(
    columns=(
        "exchange",
        "exchange_token",
        "trading_symbol",
        "name",
        "instrument_type",
        "segment",
        "expiry_date",
        "series",
        "underlying_symbol",
        "strike_price",
        "lot_size",
        "tick_size",
    ),
    optional=("freeze_quantity",),
    market=("exchange", "segment"),
    markets={
        "NSE/CASH": "NSE",
        "BSE/CASH": "BSE",
        "NSE/FNO": "NFO",
        "BSE/FNO": "BFO",
        "MCX/COMMODITY": "MCX",
        "NSE/CURRENCY": "CDS",
        "BSE/CURRENCY": "BCD",
    },
    index=_KIND == "IDX",
    future=_KIND == "FUT",
    option=_KIND.is_in(["CE", "PE"]),
    share=(_KIND == "EQ") & ((pl.col("exchange") == "BSE") | text("series").is_in(CASH_SERIES)),
    underlying=compact("underlying_symbol"),
    symbol=compact("trading_symbol"),
    name=text("name"),
    expiry=date_of("expiry_date", "%Y-%m-%d"),
    strike=Price("strike_price"),
    option_type=_KIND,
    lot_size=pl.when(_KIND == "EQ").then(pl.lit(1)).otherwise(whole("lot_size")),
    tick_size=Price("tick_size"),
    freeze_quantity=whole("freeze_quantity"),
    series=text("series"),
    token=text("exchange_token"),
    broker_symbol=text("trading_symbol"),
)


def read(content: bytes) -> pl.DataFrame:
    return GROWW.rows(files.csv(content))
