"""Groww's instrument.csv (growwapi-assets.groww.in)."""

import polars as pl

from libs.common.contracts.enums import InstrumentKind
from services.marketdata.adapters.masters import files
from services.marketdata.adapters.masters.table import CASH_SERIES, compact, decimals, demand, text, whole

_NEEDED = ("exchange", "exchange_token", "trading_symbol", "name", "instrument_type", "segment", "expiry_date")
_SEGMENTS = {"NSE/FNO": "NFO", "BSE/FNO": "BFO", "MCX/COMMODITY": "MCX", "NSE/CURRENCY": "CDS", "BSE/CURRENCY": "BCD"}
_KINDS = {
    "IDX": InstrumentKind.INDEX.value,
    "FUT": InstrumentKind.FUTURE.value,
    "CE": InstrumentKind.OPTION.value,
    "PE": InstrumentKind.OPTION.value,
    "EQ": InstrumentKind.EQUITY.value,
}


def read(content: bytes) -> pl.DataFrame:
    table = files.csv(content)
    demand(table, (*_NEEDED, "series", "underlying_symbol", "strike_price", "lot_size", "tick_size"))
    if "freeze_quantity" not in table.columns:
        table = table.with_columns(pl.lit(None, pl.String).alias("freeze_quantity"))
    kind = text("instrument_type").replace_strict(_KINDS, default=None, return_dtype=pl.String)
    index, cash = kind == InstrumentKind.INDEX.value, kind == InstrumentKind.EQUITY.value
    market = (
        pl.when(index)
        .then(pl.col("exchange") + "_INDEX")
        .when(cash)
        .then(pl.col("exchange"))
        .otherwise((pl.col("exchange") + "/" + pl.col("segment")).replace_strict(_SEGMENTS, default=None))
    )
    table = table.with_columns(market.alias("market"), kind.alias("kind"))
    bond = cash & (pl.col("exchange") == "NSE") & ~text("series").is_in(CASH_SERIES)
    table = table.filter(pl.col("market").is_not_null() & ~bond.fill_null(value=True))
    derivative = ~pl.col("kind").is_in([InstrumentKind.INDEX.value, InstrumentKind.EQUITY.value])
    return table.select(
        pl.col("market").alias("exchange"),
        pl.col("kind"),
        pl.when(derivative).then(compact("underlying_symbol")).otherwise(compact("trading_symbol")).alias("base"),
        text("name").alias("name"),
        text("expiry_date").str.to_date("%Y-%m-%d", strict=False).alias("expiry"),
        decimals(table["strike_price"]).alias("strike"),
        text("instrument_type").alias("option_type"),
        pl.when(derivative).then(whole("lot_size")).otherwise(pl.lit(1)).alias("lot_size"),
        decimals(table["tick_size"]).alias("tick_size"),
        whole("freeze_quantity").alias("freeze_quantity"),
        pl.lit(None, pl.Boolean).alias("monthly"),
        text("exchange_token").alias("token"),
        text("trading_symbol").alias("broker_symbol"),
    )
