"""Pocketful's compact contracts: a zip of CSVs (`/api/v1/contract/Compact?info=download`)."""

import polars as pl

from services.marketdata.adapters.masters import files
from services.marketdata.adapters.masters.layout import EXCHANGES, Layout, Price
from services.marketdata.adapters.masters.table import CASH_SERIES, compact, date_of, text, whole

_KIND = text("instrument_name").str.to_uppercase()
_INDEX = text("segment").str.to_uppercase().is_in(["INDICES", "IDX"]) | _KIND.is_in(["INDEX", "UNDIND"])
_OPTION = text("option_type").is_in(["CE", "PE"])
_SERIES = text("trading_symbol").str.extract(r"-([A-Z0-9]{2})$")
_CASH = text("exchange").is_in(["NSE", "BSE"])
_DERIVATIVE_KIND = _KIND.str.contains(r"^(?:FUT|OPT)").fill_null(value=False)

POCKETFUL = Layout(
    columns=(
        "token",
        "trading_symbol",
        "symbol",
        "expiry",
        "strike",
        "tick_size",
        "lot_size",
        "instrument_name",
        "option_type",
        "exchange",
    ),
    optional=("company_name", "segment"),
    market=("exchange",),
    markets=EXCHANGES,
    index=_CASH & _INDEX,
    option=~_CASH & _OPTION,
    future=~_CASH & _KIND.str.starts_with("FUT"),
    share=_CASH & ~_DERIVATIVE_KIND & ((text("exchange") == "BSE") | _SERIES.is_in(CASH_SERIES)),
    underlying=compact("symbol"),
    symbol=compact("trading_symbol").str.replace(r"-[A-Z0-9]{2}$", ""),
    index_symbol=compact("symbol"),
    name=pl.coalesce(text("company_name"), text("symbol")),
    expiry=date_of("expiry"),
    strike=Price("strike"),
    option_type=text("option_type"),
    lot_size=whole("lot_size"),
    tick_size=Price("tick_size"),
    series=_SERIES,
    token=text("token"),
    broker_symbol=text("trading_symbol"),
)


def read(content: bytes) -> pl.DataFrame:
    return POCKETFUL.rows(files.csv(content).rename({"exchange_token": "token"}, strict=False))
