"""IIFL Capital's contract files (api.iiflcapital.com/v1/contractfiles), a CSV for each segment."""

import polars as pl

from services.marketdata.adapters.masters import files
from services.marketdata.adapters.masters.layout import Layout, Price
from services.marketdata.adapters.masters.table import CASH_SERIES, compact, date_of, text, whole

_KIND = text("Instrument Type").str.to_uppercase()
_SEGMENT = text("Exchange").str.to_uppercase()
_OPTION = text("Option Type").is_in(["CE", "PE"])
_CASH = _SEGMENT.is_in(["NSEEQ", "BSEEQ"])
_INDEX = _CASH & _KIND.is_in(["INDEX", "INDICES", "IDX"])
_SERIES = text("Trading Symbol").str.extract(r"-([A-Z0-9]{2})$")

IIFLCAPITAL = Layout(
    columns=(
        "Exchange",
        "Trading Symbol",
        "Instrument ID",
        "Instrument Type",
        "Option Type",
        "Strike Price",
        "Underlying Instrument Symbol",
        "Expiry",
        "Lot Size",
        "Tick Size",
    ),
    optional=("Underlying Instrument Name",),
    market=("Exchange",),
    markets={
        "NSEEQ": "NSE",
        "BSEEQ": "BSE",
        "NSEFO": "NFO",
        "BSEFO": "BFO",
        "NSECURR": "CDS",
        "BSECURR": "BCD",
        "MCXCOMM": "MCX",
    },
    index=_INDEX,
    option=~_CASH & _OPTION,
    future=~_CASH & _KIND.str.starts_with("FUT"),
    # NSE's shares are those with a share's series, written behind the symbol or as the kind of instrument.
    share=_CASH & ((_SEGMENT == "BSEEQ") | _SERIES.is_in(CASH_SERIES) | _KIND.is_in(CASH_SERIES)),
    underlying=compact("Underlying Instrument Symbol"),
    symbol=compact("Trading Symbol").str.replace(r"-[A-Z0-9]{2}$", ""),
    index_symbol=compact("Trading Symbol"),
    name=pl.coalesce(text("Underlying Instrument Name"), text("Trading Symbol")),
    expiry=date_of("Expiry"),
    strike=Price("Strike Price"),
    option_type=text("Option Type"),
    lot_size=whole("Lot Size"),
    tick_size=Price("Tick Size"),
    series=pl.coalesce(_SERIES, _KIND),
    token=text("Instrument ID"),
    broker_symbol=text("Trading Symbol"),
)


def read(content: bytes) -> pl.DataFrame:
    return IIFLCAPITAL.rows(files.csv(content))
