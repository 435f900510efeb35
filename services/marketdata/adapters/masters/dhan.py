"""Dhan's api-scrip-master.csv (images.dhan.co) and INDmoney's file, which has the same columns without `SEM_`."""

import polars as pl

from libs.common.contracts.enums import Exchange, InstrumentKind
from services.marketdata.adapters.masters import files
from services.marketdata.adapters.masters.table import CASH_SERIES, compact, decimals, demand, text, whole

_NEEDED = (
    "EXM_EXCH_ID",
    "SEGMENT",
    "SMST_SECURITY_ID",
    "INSTRUMENT_NAME",
    "TRADING_SYMBOL",
    "LOT_UNITS",
    "CUSTOM_SYMBOL",
    "EXPIRY_DATE",
    "STRIKE_PRICE",
    "OPTION_TYPE",
    "TICK_SIZE",
    "SERIES",
)
_RENAMED = {"EXCH": "EXM_EXCH_ID", "SECURITY_ID": "SMST_SECURITY_ID", "SYMBOL_NAME": "SM_SYMBOL_NAME"}
_BSE_SHARES = ("ES", "ETF", "REIT", "InvITU")


def read(content: bytes) -> pl.DataFrame:
    table = files.csv(content)
    table = table.rename(lambda name: name.removeprefix("SEM_")).rename(_RENAMED, strict=False)
    demand(table, _NEEDED)
    if "EXPIRY_FLAG" not in table.columns:
        table = table.with_columns(pl.lit(None, pl.String).alias("EXPIRY_FLAG"))
    if "EXCH_INSTRUMENT_TYPE" not in table.columns:
        table = table.with_columns(pl.lit(None, pl.String).alias("EXCH_INSTRUMENT_TYPE"))
    market, segment, name = pl.col("EXM_EXCH_ID"), pl.col("SEGMENT"), pl.col("INSTRUMENT_NAME")
    index = name == "INDEX"
    future, option = name.str.starts_with("FUT"), name.str.starts_with("OPT")
    derivative = future | option
    shares = pl.when(market == "NSE").then(pl.col("SERIES").is_in(CASH_SERIES)).when(market == "BSE")
    share = (segment == "E") & shares.then(pl.col("EXCH_INSTRUMENT_TYPE").is_in(_BSE_SHARES)).otherwise(
        pl.lit(value=False)
    )
    exchange = (
        pl.when(index & market.is_in(["NSE", "BSE"]))
        .then(market + "_INDEX")
        .when(share)
        .then(market)
        .when(derivative & (market == "MCX"))
        .then(pl.lit(Exchange.MCX.value))
        .when(derivative & (segment == "D"))
        .then(market.replace_strict({"NSE": "NFO", "BSE": "BFO"}, default=None))
        .when(derivative & (segment == "C"))
        .then(market.replace_strict({"NSE": "CDS", "BSE": "BCD"}, default=None))
    )
    table = table.with_columns(exchange.alias("exchange")).filter(pl.col("exchange").is_not_null())
    # NIFTY-Nov2026-24000-CE, BAJAJ-AUTO-Nov2026-FUT
    underlying = compact("TRADING_SYMBOL").str.extract(r"^(.+?)-[A-Z]{3}\d{4}-")
    kind = (
        pl.when(index)
        .then(pl.lit(InstrumentKind.INDEX.value))
        .when(future)
        .then(pl.lit(InstrumentKind.FUTURE.value))
        .when(option)
        .then(pl.lit(InstrumentKind.OPTION.value))
        .otherwise(pl.lit(InstrumentKind.EQUITY.value))
    )
    flag = text("EXPIRY_FLAG")
    return table.select(
        pl.col("exchange"),
        kind.alias("kind"),
        pl.when(derivative).then(underlying).otherwise(compact("TRADING_SYMBOL")).alias("base"),
        text("CUSTOM_SYMBOL").alias("name"),
        text("EXPIRY_DATE").str.head(10).str.to_date("%Y-%m-%d", strict=False).alias("expiry"),
        decimals(table["STRIKE_PRICE"]).alias("strike"),
        text("OPTION_TYPE").alias("option_type"),
        whole("LOT_UNITS").alias("lot_size"),
        # Indices' ticks are in rupees, all others in paise.
        pl.when(index)
        .then(decimals(table["TICK_SIZE"]))
        .otherwise(decimals(table["TICK_SIZE"], 100))
        .alias("tick_size"),
        pl.lit(None, pl.Int64).alias("freeze_quantity"),
        pl.when(flag.is_in(["M", "W"])).then(flag == "M").alias("monthly"),
        text("SMST_SECURITY_ID").alias("token"),
        text("TRADING_SYMBOL").alias("broker_symbol"),
    )
