"""The Noren family: Shoonya and Zebu (`NFO_symbols.txt`, zipped), Flattrade (its own columns' spelling)."""

import polars as pl

from libs.common.contracts.enums import InstrumentKind
from services.marketdata.adapters.masters import files
from services.marketdata.adapters.masters.table import (
    CASH_SERIES,
    compact,
    decimals,
    demand,
    of_markets,
    parsed_date,
    text,
    whole,
)

_EXCHANGES = ("NSE", "BSE", "NFO", "BFO", "CDS", "BCD", "MCX")
_OPTIONAL = ("expiry", "optiontype", "strikeprice", "ticksize", "gngd")
_BSE_SHARES = ("A", "B", "X", "XT", "T", "M", "MT", "Z", "ZP", "P", "NS", "NT", "EQ", "IF")


def read(content: bytes) -> pl.DataFrame:
    table = files.csv(content)
    table = table.select(pl.col(name).alias(name.lower()) for name in table.columns if name)
    table = table.rename({"strike": "strikeprice"}, strict=False)
    demand(table, ("exchange", "token", "lotsize", "symbol", "tradingsymbol", "instrument"))
    table = table.with_columns(pl.lit(None, pl.String).alias(name) for name in _OPTIONAL if name not in table.columns)
    table = table.filter(of_markets("exchange", _EXCHANGES))
    instrument = text("instrument")
    # NSE's file calls an index INDEX or, in some years, UNDIND.
    index = instrument.is_in(["INDEX", "UNDIND"])
    option = text("optiontype").is_in(["CE", "PE"])
    derivative = option | instrument.str.contains(r"^(?:FUT|OPT)")
    shares = pl.when(pl.col("exchange") == "NSE").then(instrument.is_in(CASH_SERIES))
    share = shares.when(pl.col("exchange") == "BSE").then(instrument.is_in(_BSE_SHARES)).otherwise(pl.lit(value=False))
    table = table.filter(pl.col("exchange").is_null() | index | derivative.fill_null(value=False) | share)
    derivative = derivative.fill_null(value=False)
    kind = (
        pl.when(index)
        .then(pl.lit(InstrumentKind.INDEX.value))
        .when(option)
        .then(pl.lit(InstrumentKind.OPTION.value))
        .when(derivative)
        .then(pl.lit(InstrumentKind.FUTURE.value))
        .otherwise(pl.lit(InstrumentKind.EQUITY.value))
    )
    # Index rows swap the two: symbol `Nifty Bank`, trading symbol `NIFTY BANK`; but `Nifty Fin Services`, `FINNIFTY`.
    return table.select(
        pl.when(index).then(pl.col("exchange") + "_INDEX").otherwise(pl.col("exchange")).alias("exchange"),
        kind.alias("kind"),
        pl.when(index).then(compact("tradingsymbol")).otherwise(compact("symbol")).alias("base"),
        text("symbol").alias("name"),
        parsed_date("expiry", "%d-%b-%Y").alias("expiry"),
        decimals(table["strikeprice"]).alias("strike"),
        text("optiontype").alias("option_type"),
        pl.when(index).then(pl.lit(1)).otherwise(whole("lotsize")).alias("lot_size"),
        decimals(table["ticksize"]).alias("tick_size"),
        pl.lit(None, pl.Int64).alias("freeze_quantity"),
        pl.lit(None, pl.Boolean).alias("monthly"),
        text("token").alias("token"),
        text("tradingsymbol").alias("broker_symbol"),
    )
