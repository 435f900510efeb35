"""Tradejini's symbol store, a CSV for each of its groups; an id says everything about its instrument:
`EQT_RELIANCE_EQ_NSE`, `IDX_Nifty 50_NSE`, `FUTIDX_NIFTY_NFO_2026-11-24`, `OPTIDX_NIFTY_NFO_2026-11-24_24000_CE`.
"""

import polars as pl

from services.marketdata.adapters.masters import files
from services.marketdata.adapters.masters.layout import EXCHANGES, Layout, Price
from services.marketdata.adapters.masters.table import CASH_SERIES, compact, date_of, text, whole

_SHAPES = (
    r"^(?P<kind>EQT)_(?P<symbol>.+)_(?P<series>[A-Z0-9]+)_(?P<exchange>[A-Z]+)$",
    r"^(?P<kind>IDX|INDEX)_(?P<symbol>.+)_(?P<exchange>[A-Z]+)$",
    r"^(?P<kind>FUT[A-Z]*)_(?P<symbol>.+)_(?P<exchange>[A-Z]+)_(?P<expiry>\d{4}-\d{2}-\d{2})$",
    r"^(?P<kind>OPT[A-Z]*)_(?P<symbol>.+)_(?P<exchange>[A-Z]+)_(?P<expiry>\d{4}-\d{2}-\d{2})"
    r"_(?P<strike>[\d.]+)_(?P<option_type>CE|PE)$",
)
_PARTS = ("kind", "symbol", "series", "exchange", "expiry", "strike", "option_type")

TRADEJINI = Layout(
    columns=("id", "dispName", "excToken", "lot", "tick", *_PARTS),
    optional=("freezeQty",),
    market=("exchange",),
    markets=EXCHANGES,
    index=pl.col("kind").is_in(["IDX", "INDEX"]),
    future=pl.col("kind").str.starts_with("FUT"),
    option=pl.col("kind").str.starts_with("OPT"),
    share=(pl.col("kind") == "EQT") & ((pl.col("exchange") == "BSE") | pl.col("series").is_in(CASH_SERIES)),
    underlying=compact("symbol"),
    symbol=compact("symbol"),
    name=text("dispName"),
    expiry=date_of("expiry", "%Y-%m-%d"),
    strike=Price("strike"),
    option_type=pl.col("option_type"),
    lot_size=whole("lot"),
    tick_size=Price("tick"),
    freeze_quantity=whole("freezeQty"),
    series=pl.col("series"),
    token=text("excToken"),
    broker_symbol=text("id"),
)


def read(content: bytes) -> pl.DataFrame:
    table = files.csv(content)
    if "id" not in table.columns:
        return TRADEJINI.rows(table)
    return TRADEJINI.rows(table.drop(_PARTS, strict=False).with_columns(_part(name) for name in _PARTS))


def _part(name: str) -> pl.Expr:
    """A named part of the id, of whichever shape it has."""
    of_shapes = [text("id").str.extract_groups(shape).struct.field(name) for shape in _SHAPES if f"<{name}>" in shape]
    return pl.coalesce(of_shapes).alias(name)
