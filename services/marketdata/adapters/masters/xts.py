"""Symphony's XTS: IIFL, 5paisa XTS, Compositedge, IBulls and Wisdom Capital, by `POST /instruments/master`.

The answer is JSON whose `result` is lines of values between bars, without a header; a kept file may hold the lines
alone. A future's line lacks the two places for strike and option type.
"""

import polars as pl

from services.marketdata.adapters.masters import files
from services.marketdata.adapters.masters.layout import Layout, Price
from services.marketdata.adapters.masters.table import CASH_SERIES, MasterMalformed, compact, date_of, text, whole

SEGMENTS = ("NSECM", "NSEFO", "NSECD", "BSECM", "BSEFO", "BSECD", "MCXFO")

_FUTURE, _OPTION, _EQUITY, _INDEX = "1", "2", "8", "16"
_PLACES = {
    "market": 0,
    "token": 1,
    "kind": 2,
    "name": 3,
    "description": 4,
    "series": 5,
    "freeze": 10,
    "tick": 11,
    "lot": 12,
    "expiry": 16,
    "strike": 17,
    "option_type": 18,
}
_KIND = pl.col("kind")

XTS = Layout(
    columns=tuple(_PLACES),
    market=("market",),
    markets={
        "NSECM": "NSE",
        "NSEFO": "NFO",
        "NSECD": "CDS",
        "BSECM": "BSE",
        "BSEFO": "BFO",
        "BSECD": "BCD",
        "MCXFO": "MCX",
    },
    index=_KIND == _INDEX,
    future=_KIND == _FUTURE,
    option=_KIND == _OPTION,
    share=(_KIND == _EQUITY) & ((text("market") == "BSECM") | text("series").is_in(CASH_SERIES)),
    underlying=compact("name"),
    symbol=compact("name"),
    name=text("description"),
    expiry=date_of("expiry", "%Y-%m-%d"),
    strike=Price("strike"),
    option_type=text("option_type").replace({"3": "CE", "4": "PE"}),
    lot_size=whole("lot"),
    tick_size=Price("tick"),
    # The exchange's figure is the smallest order that it freezes: 1801 where 1800 may be sent.
    freeze_quantity=whole("freeze") - 1,
    series=text("series"),
    token=text("token"),
    broker_symbol=text("description"),
)


def read(content: bytes) -> pl.DataFrame:
    lines = pl.Series("line", _lines(content), pl.String)
    parts = pl.DataFrame({"line": lines}).select(pl.col("line").str.split("|").alias("parts"))
    if not (parts["parts"].list.len() > _PLACES["lot"]).any():
        raise MasterMalformed("no line of it has values between bars")
    places = [pl.col("parts").list.get(place, null_on_oob=True).alias(name) for name, place in _PLACES.items()]
    table = parts.select(places)
    # In a future's line other things stand in these places.
    of_options = [pl.when(_KIND == _OPTION).then(pl.col(name)).alias(name) for name in ("strike", "option_type")]
    return XTS.rows(table.with_columns(of_options))


def _lines(content: bytes) -> list[str]:
    said = files.document(content).get("result") if files.is_json(content) else content.decode(errors="replace")
    return [line for each in (said if isinstance(said, list) else [said]) for line in str(each).splitlines() if line]
