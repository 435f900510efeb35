"""Upstox's instruments, as CSV (to 2025) and as JSON (now); assets.upstox.com."""

import polars as pl

from services.marketdata.adapters.masters import files
from services.marketdata.adapters.masters.layout import INDICES, Layout, Price
from services.marketdata.adapters.masters.table import (
    compact,
    date_of,
    decimals,
    demand,
    indian_date,
    short_expiry,
    text,
    whole,
)

_MARKETS = {
    "NSE_EQ": "NSE",
    "BSE_EQ": "BSE",
    "NSE_FO": "NFO",
    "BSE_FO": "BFO",
    "NCD_FO": "CDS",
    "BCD_FO": "BCD",
    "MCX_FO": "MCX",
    **INDICES,
}
_SHARES = ("EQ", "BE", "BZ", "SM", "ST", "SZ", "RR", "IV", "A", "B", "X", "XT", "T", "M", "MT", "Z", "ZP", "P")
_EQUITY_ISIN = r"\|(?:INE[A-Z0-9]{4}(?:01|20|23|25)|INF)"
"""Shares (type 01), units of trusts (20, 23, 25) and funds; the CSV calls bonds equities too, whose ISINs differ."""

# The name of a stock's derivative is the company's, so its symbol comes from what is written before the expiry.
_DAY = date_of("expiry", "%Y-%m-%d")
_END = pl.when(text("option_type") == "FF").then(pl.lit("FUT")).otherwise(pl.col("price") + text("option_type"))
_LETTER = _DAY.dt.month().cast(pl.String).replace({"10": "O", "11": "N", "12": "D"})
_OF_MONTH = short_expiry(_DAY) + _END
_OF_WEEK = _DAY.dt.strftime("%y") + _LETTER + _DAY.dt.strftime("%d") + _END
_WRITTEN = compact("tradingsymbol")

CSV = Layout(
    columns=(
        "instrument_key",
        "tradingsymbol",
        "name",
        "expiry",
        "strike",
        "price",
        "tick_size",
        "lot_size",
        "instrument_type",
        "option_type",
        "exchange",
    ),
    market=("exchange",),
    markets=_MARKETS,
    index=text("exchange").str.ends_with("_INDEX"),
    future=text("option_type") == "FF",
    option=text("option_type").is_in(["CE", "PE"]),
    share=(text("instrument_type") == "EQUITY") & text("instrument_key").str.contains(_EQUITY_ISIN),
    underlying=pl.when(_WRITTEN.str.ends_with(_OF_MONTH))
    .then(_WRITTEN.str.strip_suffix(_OF_MONTH))
    .when(_WRITTEN.str.ends_with(_OF_WEEK))
    .then(_WRITTEN.str.strip_suffix(_OF_WEEK)),
    symbol=_WRITTEN,
    name=text("name"),
    expiry=_DAY,
    strike=Price("strike"),
    option_type=text("option_type"),
    lot_size=whole("lot_size"),
    # Rupees, but for currencies, which this dump writes in paise (0.25 for a quarter of a paisa).
    tick_size=Price("tick_size", 1, {"CDS": 100, "BCD": 100}),
    monthly=_WRITTEN.str.ends_with(_OF_MONTH),
    token=text("instrument_key"),
    broker_symbol=text("tradingsymbol"),
)
JSON = Layout(
    columns=("segment", "name", "instrument_type", "instrument_key", "lot_size", "tick_size", "trading_symbol"),
    optional=("expiry", "strike_price", "freeze_quantity", "underlying_symbol", "asset_symbol", "weekly"),
    market=("segment",),
    markets=_MARKETS,
    index=text("segment").str.ends_with("_INDEX"),
    future=text("instrument_type") == "FUT",
    option=text("instrument_type").is_in(["CE", "PE"]),
    share=text("instrument_type").is_in(_SHARES),
    underlying=pl.coalesce(compact("underlying_symbol"), compact("asset_symbol")),
    symbol=compact("trading_symbol"),
    name=text("name"),
    expiry=indian_date(whole("expiry"), "ms"),
    strike=Price("strike_price"),
    option_type=text("instrument_type"),
    lot_size=whole("lot_size"),
    tick_size=Price("tick_size", 100),
    freeze_quantity=whole("freeze_quantity"),
    series=text("instrument_type"),
    monthly=pl.col("weekly").str.to_lowercase() == "false",
    token=text("instrument_key"),
    broker_symbol=text("trading_symbol"),
)


def read(content: bytes) -> pl.DataFrame:
    if files.is_json(content):
        return JSON.rows(files.json(content))
    table = files.csv(content)
    demand(table, [column for column in CSV.columns if column != "price"])
    return CSV.rows(table.with_columns(decimals(table["strike"]).alias("price")))
