"""Angel One's OpenAPIScripMaster.json, and mStock's, which has the same fields but strikes in rupees."""

from decimal import Decimal

import polars as pl

from libs.common.contracts.enums import InstrumentKind
from services.marketdata.adapters.masters import files
from services.marketdata.adapters.masters.table import CASH_SERIES, compact, decimals, demand, parsed_date, text, whole

_NEEDED = ("token", "symbol", "name", "expiry", "strike", "lotsize", "instrumenttype", "exch_seg", "tick_size")
_EXCHANGES = ("NSE", "BSE", "NFO", "BFO", "CDS", "BCD", "MCX")
_INDEX_TYPES = ("AMXIDX", "INDEX")


def read(content: bytes) -> pl.DataFrame:
    """Strikes in paise; those of currencies ten thousand millionths of a rupee."""
    return _read(content, 100, Decimal(10_000_000))


def read_mstock(content: bytes) -> pl.DataFrame:
    return _read(content, 1, Decimal(1))


def _read(content: bytes, strike_scale: int, currency_scale: Decimal) -> pl.DataFrame:
    table = files.json(content)
    demand(table, _NEEDED)
    table = table.filter(pl.col("exch_seg").is_in(_EXCHANGES))
    kinds = text("instrumenttype")
    index, future, option = kinds.is_in(_INDEX_TYPES), kinds.str.starts_with("FUT"), kinds.str.starts_with("OPT")
    series = text("symbol").str.extract(r"-([A-Z0-9]{1,3})$")
    share = (kinds == "") & ((pl.col("exch_seg") == "BSE") | series.is_in(CASH_SERIES))
    table = table.filter(index | future | option | share)
    kind = (
        pl.when(index)
        .then(pl.lit(InstrumentKind.INDEX.value))
        .when(future)
        .then(pl.lit(InstrumentKind.FUTURE.value))
        .when(option)
        .then(pl.lit(InstrumentKind.OPTION.value))
        .otherwise(pl.lit(InstrumentKind.EQUITY.value))
    )
    currency = pl.col("exch_seg").is_in(["CDS", "BCD"])
    plain = compact("symbol").str.replace(r"-[A-Z0-9]{1,2}$", "")
    strike = pl.when(currency).then(decimals(table["strike"], currency_scale))
    return table.select(
        pl.when(index).then(pl.col("exch_seg") + "_INDEX").otherwise(pl.col("exch_seg")).alias("exchange"),
        kind.alias("kind"),
        pl.when(future | option)
        .then(compact("name"))
        .when(index)
        .then(compact("symbol"))
        .otherwise(plain)
        .alias("base"),
        text("name").alias("name"),
        parsed_date("expiry", "%d%b%Y").alias("expiry"),
        strike.otherwise(decimals(table["strike"], strike_scale)).alias("strike"),
        text("symbol").str.tail(2).alias("option_type"),
        pl.when(index).then(pl.lit(1)).otherwise(whole("lotsize")).alias("lot_size"),
        pl.when(currency)
        .then(decimals(table["tick_size"], currency_scale))
        .otherwise(decimals(table["tick_size"], 100))
        .alias("tick_size"),
        pl.lit(None, pl.Int64).alias("freeze_quantity"),
        pl.lit(None, pl.Boolean).alias("monthly"),
        text("token").alias("token"),
        text("symbol").alias("broker_symbol"),
    )
