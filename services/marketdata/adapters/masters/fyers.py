"""Fyers' symbol masters (public.fyers.in/sym_details), one CSV without a header for each segment.

Copies in circulation have a header line of somebody's own; columns go by their place.
"""

import polars as pl

from libs.common.contracts.enums import InstrumentKind
from services.marketdata.adapters.masters import files
from services.marketdata.adapters.masters.table import CASH_SERIES, compact, decimals, short_expiry, text, whole

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
_EXCHANGES = {
    ("10", "10"): "NSE",
    ("10", "11"): "NFO",
    ("10", "12"): "CDS",
    ("11", "20"): "MCX",
    ("12", "10"): "BSE",
    ("12", "11"): "BFO",
    ("12", "12"): "BCD",
}
_INDEX = "10"
_BOND_TYPES = ("2", "3", "5", "6", "7", "8")


def read(content: bytes) -> pl.DataFrame:
    table = files.csv(content, _COLUMNS)
    table = table.filter(text("token").str.contains(r"^\d{10,}$") | (pl.int_range(pl.len()) > 0))
    names = {f"{exchange}/{segment}": ours for (exchange, segment), ours in _EXCHANGES.items()}
    market = (text("exchange") + "/" + text("segment")).replace_strict(names, default=None, return_dtype=pl.String)
    table = table.with_columns(market.alias("market")).filter(pl.col("market").is_not_null())
    cash = pl.col("market").is_in(["NSE", "BSE"])
    option = text("option_type").is_in(["CE", "PE"])
    index = cash & (text("type") == _INDEX)
    # NSE:SBIN-EQ; the symbol may hold hyphens itself (NSE:BAJAJ-AUTO-EQ).
    series = text("ticker").str.extract(r"-([A-Z0-9]+)$")
    listed_share = (pl.col("market") == "BSE") & ~text("type").is_in(_BOND_TYPES)
    share = cash & ~index & (((pl.col("market") == "NSE") & series.is_in(CASH_SERIES)) | listed_share)
    table = table.filter(~cash | index | share)
    at = pl.from_epoch(whole("expiry"), "s").dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Kolkata")
    kind = (
        pl.when(index)
        .then(pl.lit(InstrumentKind.INDEX.value))
        .when(cash)
        .then(pl.lit(InstrumentKind.EQUITY.value))
        .when(option)
        .then(pl.lit(InstrumentKind.OPTION.value))
        .otherwise(pl.lit(InstrumentKind.FUTURE.value))
    )
    month = compact("underlying") + short_expiry(at.dt.date())
    return table.select(
        pl.when(index).then(pl.col("market") + "_INDEX").otherwise(pl.col("market")).alias("exchange"),
        kind.alias("kind"),
        compact("underlying").alias("base"),
        text("details").alias("name"),
        pl.when(~cash).then(at.dt.date()).alias("expiry"),
        decimals(table["strike"]).alias("strike"),
        text("option_type").alias("option_type"),
        pl.when(index).then(pl.lit(1)).otherwise(whole("lot")).alias("lot_size"),
        decimals(table["tick"]).alias("tick_size"),
        pl.lit(None, pl.Int64).alias("freeze_quantity"),
        text("ticker").str.replace(r"^[A-Z]+:", "").str.starts_with(month).alias("monthly"),
        text("token").alias("token"),
        text("ticker").alias("broker_symbol"),
    )
