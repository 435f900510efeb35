"""Alice Blue's contract_master/V2 (v2api.aliceblueonline.com), a CSV for each exchange, and INDICES.csv, which has only
symbol, exch and token.
"""

import polars as pl

from services.marketdata.adapters.masters import files
from services.marketdata.adapters.masters.layout import EXCHANGES, Layout, Price
from services.marketdata.adapters.masters.table import CASH_SERIES, compact, date_of, text, whole

_KIND = text("instrument type").str.to_uppercase()
_OPTION = text("option type").is_in(["CE", "PE"])
_CASH = text("exch").is_in(["NSE", "BSE"])
_BONDS_OF_BSE = ("F", "G", "GS")
_SERIES = pl.coalesce(text("group name"), text("trading symbol").str.extract(r"-([A-Z0-9]{2})$"))
_DERIVATIVE = ~_CASH & (_OPTION | _KIND.str.starts_with("FUT"))

ALICEBLUE = Layout(
    columns=("exch", "symbol", "token"),
    optional=(
        "instrument type",
        "option type",
        "strike price",
        "instrument name",
        "formatted ins name",
        "trading symbol",
        "expiry date",
        "lot size",
        "tick size",
        "group name",
    ),
    market=("exch",),
    markets=EXCHANGES,
    index=_CASH & text("lot size").is_null(),
    option=_DERIVATIVE & _OPTION,
    future=_DERIVATIVE,
    share=_CASH
    & (((text("exch") == "NSE") & _SERIES.is_in(CASH_SERIES)) | (text("exch") == "BSE"))
    & ~_SERIES.is_in(_BONDS_OF_BSE).fill_null(value=False),
    underlying=compact("symbol"),
    symbol=compact("symbol"),
    name=pl.coalesce(text("instrument name"), text("formatted ins name"), text("symbol")),
    expiry=date_of("expiry date"),
    strike=Price("strike price"),
    option_type=text("option type"),
    lot_size=whole("lot size"),
    tick_size=Price("tick size"),
    series=_SERIES,
    token=text("token"),
    broker_symbol=pl.coalesce(text("trading symbol"), text("symbol")),
)


def read(content: bytes) -> pl.DataFrame:
    return ALICEBLUE.rows(files.csv(content).rename(str.lower))
