"""Motilal Oswal's scrip masters (`getscripmastercsv?name=NSE`), a CSV for each exchange; it trades in lots."""

import polars as pl

from services.marketdata.adapters.masters import files
from services.marketdata.adapters.masters.layout import Layout, Price
from services.marketdata.adapters.masters.table import CASH_SERIES, compact, text, whole

_KIND = text("instrumentname").str.to_uppercase()
_OPTION = text("optiontype").is_in(["CE", "PE"])
_EQUITY = _KIND.is_in(["EQUITY", "EQ"])

MOTILAL = Layout(
    columns=(
        "exchangename",
        "scripcode",
        "scripname",
        "marketlot",
        "scripshortname",
        "instrumentname",
        "optiontype",
        "strikeprice",
        "ticksize",
    ),
    optional=("scripfullname", "issuspended"),
    market=("exchangename",),
    markets={
        "NSE": "NSE",
        "BSE": "BSE",
        "NSEFO": "NFO",
        "BSEFO": "BFO",
        "NSECD": "CDS",
        "BSECD": "BCD",
        "MCX": "MCX",
    },
    index=_KIND == "INDEX",
    future=_KIND.str.starts_with("FUT"),
    option=_KIND.str.starts_with("OPT") & _OPTION,
    # A share's series stands where an option's type does.
    share=_EQUITY
    & (text("issuspended").fill_null("N") != "Y")
    & ((text("exchangename") == "BSE") | text("optiontype").is_in(CASH_SERIES)),
    underlying=compact("scripshortname"),
    symbol=compact("scripshortname"),
    name=pl.coalesce(text("scripfullname"), text("scripname")),
    # The seconds of `expirydate` have no certain beginning; the name says the day: NIFTY 27-Nov-2026 CE 24000.
    expiry=text("scripname")
    .str.extract(r"(\d{1,2}-[A-Za-z]{3}-\d{4})")
    .str.to_titlecase()
    .str.to_date("%d-%b-%Y", strict=False),
    strike=Price("strikeprice"),
    option_type=text("optiontype"),
    lot_size=whole("marketlot"),
    tick_size=Price("ticksize"),
    series=text("optiontype"),
    token=text("scripcode"),
    broker_symbol=text("scripname"),
)


def read(content: bytes) -> pl.DataFrame:
    return MOTILAL.rows(files.csv(content).rename(str.lower))
