"""Kotak Neo's scrip masters, a CSV for each segment; their addresses need a login (`masterscrip/file-paths`)."""

from typing import Final

import polars as pl

from services.marketdata.adapters.masters import files
from services.marketdata.adapters.masters.layout import Layout, Price
from services.marketdata.adapters.masters.table import CASH_SERIES, compact, indian_date, text, whole

_SINCE_1980_S: Final = 315_513_000
"""Some segments count an expiry's seconds from 1980 Indian time, the others from 1970 as usual."""
_IN_1980S: Final = ("nse_fo", "cde_fo")
_BONDS_OF_BSE = ("F", "G", "GS")

_SEGMENT = text("pExchSeg")
_CASH = _SEGMENT.is_in(["nse_cm", "bse_cm"])
_OPTION = text("pOptionType").is_in(["CE", "PE"])
_INDEX = _CASH & (text("pISIN").fill_null("") == "")
_SECONDS = whole("lExpiryDate") + pl.when(_SEGMENT.is_in(_IN_1980S)).then(_SINCE_1980_S).otherwise(0)

KOTAK = Layout(
    columns=(
        "pSymbol",
        "pGroup",
        "pExchSeg",
        "pSymbolName",
        "pTrdSymbol",
        "pOptionType",
        "pISIN",
        "lLotSize",
        "lExpiryDate",
        "dStrikePrice",
        "dTickSize",
    ),
    optional=("pDesc",),
    market=("pExchSeg",),
    markets={
        "nse_cm": "NSE",
        "bse_cm": "BSE",
        "nse_fo": "NFO",
        "bse_fo": "BFO",
        "cde_fo": "CDS",
        "bcs_fo": "BCD",
        "mcx_fo": "MCX",
    },
    index=_INDEX,
    option=~_CASH & _OPTION,
    future=~_CASH & ~_OPTION.fill_null(value=False),
    share=_CASH
    & ~_INDEX
    & (
        ((_SEGMENT == "nse_cm") & text("pGroup").is_in(CASH_SERIES))
        | ((_SEGMENT == "bse_cm") & ~text("pGroup").is_in(_BONDS_OF_BSE))
    ),
    underlying=compact("pSymbolName"),
    symbol=compact("pSymbolName"),
    name=text("pDesc"),
    expiry=indian_date(_SECONDS, "s"),
    strike=Price("dStrikePrice", 100),
    option_type=text("pOptionType"),
    lot_size=whole("lLotSize"),
    tick_size=Price("dTickSize", 100),
    series=text("pGroup"),
    token=text("pSymbol"),
    broker_symbol=text("pTrdSymbol"),
)


def read(content: bytes) -> pl.DataFrame:
    """Headers stand there with stray blanks and semicolons."""
    return KOTAK.rows(files.csv(content).rename(lambda name: name.strip(" ;")))
