"""Dhan's api-scrip-master.csv (images.dhan.co) and INDmoney's file, which has the same columns without `SEM_`."""

import polars as pl

from services.marketdata.adapters.masters import files
from services.marketdata.adapters.masters.layout import Layout, Price
from services.marketdata.adapters.masters.table import CASH_SERIES, compact, date_of, text, whole

_RENAMED = {"EXCH": "EXM_EXCH_ID", "SECURITY_ID": "SMST_SECURITY_ID", "SYMBOL_NAME": "SM_SYMBOL_NAME"}
_BSE_SHARES = ("ES", "ETF", "REIT", "InvITU")
_KIND = text("INSTRUMENT_NAME")
_FLAG = text("EXPIRY_FLAG")
_OF_NSE = (pl.col("EXM_EXCH_ID") == "NSE") & pl.col("SERIES").is_in(CASH_SERIES)
_OF_BSE = (pl.col("EXM_EXCH_ID") == "BSE") & pl.col("EXCH_INSTRUMENT_TYPE").is_in(_BSE_SHARES)

DHAN = Layout(
    columns=(
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
    ),
    optional=("EXPIRY_FLAG", "EXCH_INSTRUMENT_TYPE"),
    market=("EXM_EXCH_ID", "SEGMENT"),
    markets={
        "NSE/E": "NSE",
        "NSE/I": "NSE",
        "NSE/D": "NFO",
        "NSE/C": "CDS",
        "BSE/E": "BSE",
        "BSE/I": "BSE",
        "BSE/D": "BFO",
        "BSE/C": "BCD",
        "MCX/M": "MCX",
    },
    index=_KIND == "INDEX",
    future=_KIND.str.starts_with("FUT"),
    option=_KIND.str.starts_with("OPT"),
    share=(pl.col("SEGMENT") == "E") & (_OF_NSE | _OF_BSE),
    # NIFTY-Nov2026-24000-CE, BAJAJ-AUTO-Nov2026-FUT
    underlying=compact("TRADING_SYMBOL").str.extract(r"^(.+?)-(?:\d{1,2})?[A-Z]{3}\d{4}-"),
    symbol=compact("TRADING_SYMBOL"),
    name=text("CUSTOM_SYMBOL"),
    expiry=date_of("EXPIRY_DATE", "%Y-%m-%d"),
    strike=Price("STRIKE_PRICE"),
    option_type=text("OPTION_TYPE"),
    lot_size=whole("LOT_UNITS"),
    # Indices' ticks are in rupees, all others in paise.
    tick_size=Price("TICK_SIZE", 100, {"NSE_INDEX": 1, "BSE_INDEX": 1}),
    series=text("SERIES"),
    monthly=pl.when(_FLAG.is_in(["M", "W"])).then(_FLAG == "M"),
    token=text("SMST_SECURITY_ID"),
    broker_symbol=text("TRADING_SYMBOL"),
)


def read(content: bytes) -> pl.DataFrame:
    table = files.csv(content).rename(lambda name: name.removeprefix("SEM_"))
    return DHAN.rows(table.rename(_RENAMED, strict=False))
