"""Paytm Money's security_master.csv (developer.paytmmoney.com/data/v1/scrips), all segments in one file."""

import polars as pl

from services.marketdata.adapters.masters import files
from services.marketdata.adapters.masters.layout import Layout, Price
from services.marketdata.adapters.masters.table import CASH_SERIES, compact, date_of, text, whole

_KIND = text("instrument_type")
_OF_NSE = (text("exchange") == "NSE") & text("series").is_in(CASH_SERIES)
# NIFTY24NOV2624000CE, NIFTY26NOV24000CE, NIFTY26N2424000CE, NIFTY26NOVFUT
_WRITTEN = r"^(.+?)(?:\d{2}[A-Z]{3}\d{2}|\d{2}[A-Z]{3}|\d{2}[1-9OND]\d{2})(?:FUT|[\d.]+[CP]E)$"

PAYTM = Layout(
    columns=(
        "security_id",
        "symbol",
        "name",
        "series",
        "tick_size",
        "lot_size",
        "instrument_type",
        "segment",
        "expiry_date",
        "strike_price",
        "exchange",
    ),
    optional=("freeze_quantity",),
    market=("exchange", "segment"),
    markets={
        "NSE/E": "NSE",
        "BSE/E": "BSE",
        "NSE/I": "NSE",
        "BSE/I": "BSE",
        "NSE/D": "NFO",
        "BSE/D": "BFO",
    },
    index=_KIND == "I",
    future=_KIND.is_in(["FUTIDX", "FUTSTK"]),
    option=_KIND.is_in(["OPTIDX", "OPTSTK"]),
    share=_KIND.is_in(["ES", "ETF"]) & (_OF_NSE | (text("exchange") == "BSE")),
    underlying=compact("symbol").str.extract(_WRITTEN),
    symbol=compact("symbol"),
    name=text("name"),
    expiry=date_of("expiry_date"),
    strike=Price("strike_price"),
    option_type=compact("symbol").str.tail(2),
    lot_size=whole("lot_size"),
    tick_size=Price("tick_size"),
    freeze_quantity=whole("freeze_quantity"),
    series=text("series"),
    token=text("security_id"),
    broker_symbol=text("symbol"),
)


def read(content: bytes) -> pl.DataFrame:
    return PAYTM.rows(files.csv(content))
