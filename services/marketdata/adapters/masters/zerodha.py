"""Zerodha's instruments.csv, all exchanges in one file (kite.trade/docs, `GET /instruments`)."""

import polars as pl

from services.marketdata.adapters.masters import files
from services.marketdata.adapters.masters.layout import EXCHANGES, Layout, Price
from services.marketdata.adapters.masters.table import CASH_SERIES, compact, date_of, short_expiry, text, whole

_KIND = text("instrument_type")
_EXPIRY = date_of("expiry", "%Y-%m-%d")
# NSE's shares carry their series unless it is EQ: `20MICRONS`, `MAXHEIGHTS-BE`, and bonds `667GS2035-GS`.
_SERIES = pl.when(pl.col("exchange") == "NSE").then(text("tradingsymbol").str.extract(r"-([A-Z0-9]{2})$"))
_WITHOUT_SERIES = pl.when(_SERIES.is_in(CASH_SERIES)).then(compact("tradingsymbol").str.replace(r"-[A-Z0-9]{2}$", ""))

ZERODHA = Layout(
    columns=(
        "instrument_token",
        "tradingsymbol",
        "name",
        "expiry",
        "strike",
        "tick_size",
        "lot_size",
        "instrument_type",
        "segment",
        "exchange",
    ),
    market=("exchange",),
    markets=EXCHANGES,
    index=text("segment") == "INDICES",
    future=_KIND == "FUT",
    option=_KIND.is_in(["CE", "PE"]),
    share=(_KIND == "EQ") & (_SERIES.is_null() | _SERIES.is_in(CASH_SERIES)),
    underlying=compact("name"),
    symbol=pl.coalesce(_WITHOUT_SERIES, compact("tradingsymbol")),
    index_symbol=compact("tradingsymbol"),
    name=text("name"),
    expiry=_EXPIRY,
    strike=Price("strike"),
    option_type=_KIND,
    lot_size=whole("lot_size"),
    tick_size=Price("tick_size"),
    series=_SERIES.fill_null("EQ"),
    monthly=text("tradingsymbol").str.starts_with(text("name") + short_expiry(_EXPIRY)),
    token=text("instrument_token"),
    broker_symbol=text("tradingsymbol"),
)


def read(content: bytes) -> pl.DataFrame:
    return ZERODHA.rows(files.csv(content))
