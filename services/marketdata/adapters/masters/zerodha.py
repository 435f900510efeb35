"""Zerodha's instruments.csv, all exchanges in one file (kite.trade/docs, `GET /instruments`)."""

import polars as pl

from libs.common.contracts.enums import InstrumentKind
from services.marketdata.adapters.masters import files
from services.marketdata.adapters.masters.table import (
    CASH_SERIES,
    compact,
    decimals,
    demand,
    of_markets,
    short_expiry,
    text,
    whole,
)

NEEDED = ("instrument_token", "tradingsymbol", "name", "expiry", "strike", "tick_size", "lot_size", "instrument_type")
_EXCHANGES = ("NSE", "BSE", "NFO", "BFO", "CDS", "BCD", "MCX")


def read(content: bytes) -> pl.DataFrame:
    table = files.csv(content)
    demand(table, (*NEEDED, "segment", "exchange"))
    table = table.filter(of_markets("exchange", _EXCHANGES))
    index, derivative = pl.col("segment") == "INDICES", pl.col("instrument_type").is_in(["FUT", "CE", "PE"])
    # NSE's shares carry their series unless it is EQ: `20MICRONS`, `MAXHEIGHTS-BE`, and bonds `667GS2035-GS`.
    series = pl.when(pl.col("exchange") == "NSE").then(pl.col("tradingsymbol").str.extract(r"-([A-Z0-9]{2})$"))
    share = ~derivative & ~index & (pl.col("instrument_type") == "EQ")
    plain = pl.when(series.is_in(CASH_SERIES)).then(pl.col("tradingsymbol").str.replace(r"-[A-Z0-9]{2}$", ""))
    kind = (
        pl.when(index)
        .then(pl.lit(InstrumentKind.INDEX.value))
        .when(pl.col("instrument_type") == "FUT")
        .then(pl.lit(InstrumentKind.FUTURE.value))
        .when(derivative)
        .then(pl.lit(InstrumentKind.OPTION.value))
        .otherwise(pl.lit(InstrumentKind.EQUITY.value))
    )
    table = table.filter(
        pl.col("exchange").is_null() | index | derivative | (share & (series.is_null() | series.is_in(CASH_SERIES)))
    )
    expiry = text("expiry").str.to_date("%Y-%m-%d", strict=False)
    return table.select(
        pl.when(index).then(pl.col("exchange") + "_INDEX").otherwise(pl.col("exchange")).alias("exchange"),
        kind.alias("kind"),
        pl.when(derivative)
        .then(compact("name"))
        .otherwise(pl.coalesce(plain, "tradingsymbol").str.replace_all(r"\s+", "").str.to_uppercase())
        .alias("base"),
        text("name").alias("name"),
        expiry.alias("expiry"),
        decimals(table["strike"]).alias("strike"),
        pl.col("instrument_type").alias("option_type"),
        pl.when(index).then(pl.lit(1)).otherwise(whole("lot_size")).alias("lot_size"),
        decimals(table["tick_size"]).alias("tick_size"),
        pl.lit(None, pl.Int64).alias("freeze_quantity"),
        pl.col("tradingsymbol").str.starts_with(pl.col("name") + short_expiry(expiry)).alias("monthly"),
        text("instrument_token").alias("token"),
        text("tradingsymbol").alias("broker_symbol"),
    )
