"""5paisa's ScripMaster, all segments in one CSV (`VendorsAPI/Service1.svc/ScripMaster/segment/all`)."""

import polars as pl

from services.marketdata.adapters.masters import files
from services.marketdata.adapters.masters.layout import Layout, Price
from services.marketdata.adapters.masters.table import CASH_SERIES, compact, date_of, text, whole

_LEAST_INDEX_CODE = 999_900_000
_CASH = text("ExchType") == "C"
_INDEX = _CASH & (whole("ScripCode") >= _LEAST_INDEX_CODE)
_OPTION = text("ScripType").is_in(["CE", "PE"])
_BSE_BONDS = ("F", "G", "GS", "TB")

FIVEPAISA = Layout(
    columns=(
        "Exch",
        "ExchType",
        "ScripCode",
        "Name",
        "Expiry",
        "ScripType",
        "StrikeRate",
        "FullName",
        "TickSize",
        "LotSize",
        "QtyLimit",
        "SymbolRoot",
        "Series",
    ),
    market=("Exch", "ExchType"),
    markets={
        "N/C": "NSE",
        "B/C": "BSE",
        "N/D": "NFO",
        "B/D": "BFO",
        "N/U": "CDS",
        "B/U": "BCD",
        "M/D": "MCX",
    },
    index=_INDEX,
    option=~_CASH & _OPTION,
    future=~_CASH & ~_OPTION.fill_null(value=False),
    share=_CASH
    & (
        ((text("Exch") == "N") & text("Series").is_in(CASH_SERIES))
        | ((text("Exch") == "B") & ~text("Series").is_in(_BSE_BONDS))
    ),
    underlying=compact("SymbolRoot"),
    symbol=compact("Name"),
    name=text("FullName"),
    expiry=date_of("Expiry", "%Y-%m-%d"),
    strike=Price("StrikeRate"),
    option_type=text("ScripType"),
    lot_size=whole("LotSize"),
    tick_size=Price("TickSize"),
    freeze_quantity=whole("QtyLimit"),
    series=text("Series"),
    token=text("ScripCode"),
    broker_symbol=text("Name"),
)


def read(content: bytes) -> pl.DataFrame:
    return FIVEPAISA.rows(files.csv(content).rename({"Scripcode": "ScripCode"}, strict=False))
