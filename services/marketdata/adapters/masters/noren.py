"""The Noren family: Shoonya and Zebu (`NFO_symbols.txt`, zipped), Flattrade (its own columns' spelling); Firstock,
which adds largest orders and may lack the plain symbol; Definedge, whose one file has no header and writes paise.
"""

from dataclasses import replace

import polars as pl

from services.marketdata.adapters.masters import files
from services.marketdata.adapters.masters.layout import EXCHANGES, Layout, Price
from services.marketdata.adapters.masters.table import CASH_SERIES, compact, parsed_date, text, whole

_BSE_SHARES = ("A", "B", "X", "XT", "T", "M", "MT", "Z", "ZP", "P", "NS", "NT", "EQ", "IF")
_DEFINEDGE_COLUMNS = [
    "exchange",
    "token",
    "symbol",
    "tradingsymbol",
    "instrument",
    "expiry",
    "ticksize",
    "lotsize",
    "optiontype",
    "strikeprice",
    "precision",
    "multiplier",
    "isin",
    "pricemultiplier",
    "company",
]
_KIND = text("instrument")
_OPTION = text("optiontype").is_in(["CE", "PE"])
_SERIES = text("tradingsymbol").str.extract(r"-([A-Z0-9]{2})$")
# MCX's file tells of how many of these its prices are: a lot of GOLDM is 100 grams, and quoted for 10 (0.1).
_LOT = text("lotsize").cast(pl.Float64, strict=False) * text("gngd").cast(pl.Float64, strict=False).fill_null(1)
# NIFTY24NOV26C24000, NIFTY24NOV26F, and on BFO SENSEX26NOV84000CE, SENSEX26NOVFUT, SENSEX26N1984000CE
_WRITTEN_UNDERLYING = r"^(.+?)(?:\d{2}[A-Z]{3}\d{2}(?:F$|[CP]\d)|\d{2}(?:[A-Z]{3}|[1-9OND]\d{2})(?:FUT$|[\d.]+[CP]E$))"

NOREN = Layout(
    columns=("exchange", "token", "lotsize", "symbol", "tradingsymbol", "instrument"),
    optional=("expiry", "gngd", "optiontype", "strikeprice", "ticksize"),
    market=("exchange",),
    markets=EXCHANGES,
    # NSE's file calls an index INDEX or, in some years, UNDIND.
    index=_KIND.is_in(["INDEX", "UNDIND"]),
    option=_OPTION,
    future=_KIND.str.contains(r"^(?:FUT|OPT)"),
    share=((pl.col("exchange") == "NSE") & _KIND.is_in(CASH_SERIES))
    | ((pl.col("exchange") == "BSE") & _KIND.is_in(_BSE_SHARES)),
    underlying=compact("symbol"),
    symbol=compact("symbol"),
    # Index rows swap the two: symbol `Nifty Bank`, trading symbol `NIFTY BANK`; but `Nifty Fin Services`, `FINNIFTY`.
    index_symbol=compact("tradingsymbol"),
    name=text("symbol"),
    expiry=parsed_date("expiry", "%d-%b-%Y"),
    strike=Price("strikeprice"),
    option_type=text("optiontype"),
    lot_size=_LOT.round(0).cast(pl.Int64, strict=False),
    tick_size=Price("ticksize"),
    series=_KIND,
    token=text("token"),
    broker_symbol=text("tradingsymbol"),
)
FIRSTOCK = replace(
    NOREN,
    columns=("exchange", "token", "lotsize", "tradingsymbol", "ticksize"),
    optional=("companyname", "expiry", "instrument", "optiontype", "strikeprice", "freezeqty"),
    future=_KIND.str.contains(r"^FUT"),
    # Some of its cash files name no kind of instrument; then the trading symbol's series tells.
    share=((pl.col("exchange") == "NSE") & (_SERIES.is_in(CASH_SERIES)))
    | ((pl.col("exchange") == "BSE") & (_KIND.is_null() | _KIND.is_in(_BSE_SHARES))),
    underlying=compact("tradingsymbol").str.extract(_WRITTEN_UNDERLYING),
    symbol=compact("tradingsymbol").str.replace(r"-[A-Z0-9]{2}$", ""),
    name=text("companyname"),
    lot_size=whole("lotsize"),
    freeze_quantity=whole("freezeqty"),
    series=_SERIES,
)
DEFINEDGE = replace(
    NOREN,
    columns=tuple(_DEFINEDGE_COLUMNS),
    optional=(),
    name=pl.coalesce(text("company"), text("symbol")),
    expiry=text("expiry").str.zfill(8).str.to_date("%d%m%Y", strict=False),
    strike=Price("strikeprice", 100),
    lot_size=whole("lotsize"),
    tick_size=Price("ticksize", 100),
)


def read(content: bytes) -> pl.DataFrame:
    return NOREN.rows(_lower(content).rename({"strike": "strikeprice"}, strict=False))


def read_firstock(content: bytes) -> pl.DataFrame:
    return FIRSTOCK.rows(_lower(content).rename({"symbol": "companyname"}, strict=False))


def read_definedge(content: bytes) -> pl.DataFrame:
    return DEFINEDGE.rows(files.csv(content, _DEFINEDGE_COLUMNS))


def _lower(content: bytes) -> pl.DataFrame:
    """Without the nameless column that a comma at the end of each line makes."""
    table = files.csv(content)
    return table.select(pl.col(name).alias(name.lower()) for name in table.columns if name)
