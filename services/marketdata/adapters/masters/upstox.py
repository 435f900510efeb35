"""Upstox's instruments, as CSV (to 2025) and as JSON (now); assets.upstox.com."""

import polars as pl

from libs.common.contracts.enums import InstrumentKind
from services.marketdata.adapters.masters import files
from services.marketdata.adapters.masters.table import compact, decimals, demand, of_markets, short_expiry, text, whole

_EXCHANGES = {
    "NSE_EQ": "NSE",
    "BSE_EQ": "BSE",
    "NSE_FO": "NFO",
    "BSE_FO": "BFO",
    "NCD_FO": "CDS",
    "BCD_FO": "BCD",
    "MCX_FO": "MCX",
    "NSE_INDEX": "NSE_INDEX",
    "BSE_INDEX": "BSE_INDEX",
}
_SHARES = ("EQ", "BE", "BZ", "SM", "ST", "SZ", "RR", "IV", "A", "B", "X", "XT", "T", "M", "MT", "Z", "ZP", "P")
_EQUITY_ISIN = r"\|(?:INE[A-Z0-9]{4}(?:01|20|23|25)|INF)"
"""Shares (type 01), units of trusts (20, 23, 25) and funds; the CSV calls bonds equities too, whose ISINs differ."""


def read(content: bytes) -> pl.DataFrame:
    return _json(content) if files.is_json(content) else _csv(content)


def _csv(content: bytes) -> pl.DataFrame:
    table = files.csv(content)
    needed = ("instrument_key", "tradingsymbol", "name", "expiry", "strike", "tick_size", "lot_size", "instrument_type")
    demand(table, (*needed, "option_type", "exchange"))
    table = table.filter(of_markets("exchange", _EXCHANGES))
    future, option = pl.col("option_type") == "FF", pl.col("option_type").is_in(["CE", "PE"])
    index = pl.col("exchange").str.ends_with("_INDEX")
    equity = (pl.col("instrument_type") == "EQUITY") & pl.col("instrument_key").str.contains(_EQUITY_ISIN)
    table = table.filter(pl.col("exchange").is_null() | index | future | option | equity)
    day = text("expiry").str.to_date("%Y-%m-%d", strict=False)
    table = table.with_columns(day.alias("day"), decimals(table["strike"]).alias("price"))
    # The name of a stock's derivative is the company's, so its symbol comes from what is written before the expiry.
    end = pl.when(future).then(pl.lit("FUT")).otherwise(pl.col("price") + pl.col("option_type"))
    month = pl.col("day").dt.month()
    letter = month.cast(pl.String).replace({"10": "O", "11": "N", "12": "D"})
    of_month = short_expiry(pl.col("day")) + end
    of_week = pl.col("day").dt.strftime("%y") + letter + pl.col("day").dt.strftime("%d") + end
    symbol = compact("tradingsymbol")
    base = (
        pl.when(symbol.str.ends_with(of_month))
        .then(symbol.str.strip_suffix(of_month))
        .when(symbol.str.ends_with(of_week))
        .then(symbol.str.strip_suffix(of_week))
    )
    return table.select(
        pl.col("exchange").replace(_EXCHANGES),
        _kind(index, future, option).alias("kind"),
        pl.when(future | option).then(base).otherwise(symbol).alias("base"),
        text("name").alias("name"),
        pl.col("day").alias("expiry"),
        pl.col("price").alias("strike"),
        pl.col("option_type"),
        pl.when(index).then(pl.lit(1)).otherwise(whole("lot_size")).alias("lot_size"),
        _ticks(table),
        pl.lit(None, pl.Int64).alias("freeze_quantity"),
        symbol.str.ends_with(of_month).alias("monthly"),
        text("instrument_key").alias("token"),
        text("tradingsymbol").alias("broker_symbol"),
    )


def _ticks(table: pl.DataFrame) -> pl.Series:
    """Rupees, but for currencies, which this dump writes in paise (0.25 for a quarter of a paisa)."""
    currency = table["exchange"].is_in(["NCD_FO", "BCD_FO"])
    rupees, paise = decimals(table["tick_size"]), decimals(table["tick_size"], 100)
    return pl.select(pl.when(currency).then(paise).otherwise(rupees).alias("tick_size")).to_series()


def _json(content: bytes) -> pl.DataFrame:
    table = files.json(content)
    needed = ("segment", "name", "instrument_type", "instrument_key", "lot_size", "tick_size", "trading_symbol")
    demand(table, needed)
    absent = ("expiry", "strike_price", "freeze_quantity", "underlying_symbol", "asset_symbol", "weekly")
    table = table.with_columns(pl.lit(None, pl.String).alias(name) for name in absent if name not in table.columns)
    table = table.filter(pl.col("segment").is_in(list(_EXCHANGES)))
    kind = pl.col("instrument_type")
    index, future, option = pl.col("segment").str.ends_with("_INDEX"), kind == "FUT", kind.is_in(["CE", "PE"])
    table = table.filter(index | future | option | kind.is_in(_SHARES))
    at = pl.from_epoch(whole("expiry"), "ms").dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Kolkata")
    return table.select(
        pl.col("segment").replace(_EXCHANGES).alias("exchange"),
        _kind(index, future, option).alias("kind"),
        pl.when(future | option)
        .then(pl.coalesce(compact("underlying_symbol"), compact("asset_symbol")))
        .otherwise(compact("trading_symbol"))
        .alias("base"),
        text("name").alias("name"),
        at.dt.date().alias("expiry"),
        decimals(table["strike_price"]).alias("strike"),
        kind.alias("option_type"),
        pl.when(index).then(pl.lit(1)).otherwise(whole("lot_size")).alias("lot_size"),
        decimals(table["tick_size"], 100).alias("tick_size"),
        whole("freeze_quantity").alias("freeze_quantity"),
        (pl.col("weekly").str.to_lowercase() == "false").alias("monthly"),
        text("instrument_key").alias("token"),
        text("trading_symbol").alias("broker_symbol"),
    )


def _kind(index: pl.Expr, future: pl.Expr, option: pl.Expr) -> pl.Expr:
    return (
        pl.when(index)
        .then(pl.lit(InstrumentKind.INDEX.value))
        .when(future)
        .then(pl.lit(InstrumentKind.FUTURE.value))
        .when(option)
        .then(pl.lit(InstrumentKind.OPTION.value))
        .otherwise(pl.lit(InstrumentKind.EQUITY.value))
    )
