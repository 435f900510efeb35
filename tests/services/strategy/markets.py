"""The contracts that can be traded, made up or the real ones of a day, and a market of them."""

import csv
import os
from datetime import date, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path

import pytest

from libs.common.contracts.enums import Exchange, OptionType
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed
from services.strategy.domain.chain import Chain
from services.strategy.domain.legs import Market
from tests.services.strategy.scene import NOW, SPOT, listed_future, listed_option, quoted, the_market

MASTER = Path(os.environ.get("SHARED_DATA", "../shared/data")) / "masters/zerodha/instruments-nfo-bfo-2026-08.csv"
TODAY = date(2026, 8, 17)


@cache
def the_chain() -> Chain:
    chain = Chain()
    for contract in the_market():
        chain.learn(contract)
    return chain


def a_market(spot: float = 24_012.0, age_s: int = 0, chain: Chain | None = None) -> Market:
    at = NOW - timedelta(seconds=age_s)
    [quote] = quoted(spot, at).quotes
    return Market(chain or the_chain(), {SPOT: quote}, NOW, TODAY, timedelta(seconds=15))


def real_chain() -> Chain:
    if not MASTER.exists():
        pytest.skip(f"no instrument master at {MASTER}; set SHARED_DATA")
    chain = Chain()
    with MASTER.open() as file:
        for row in csv.DictReader(file):
            chain.learn(_of_master(row))
    return chain


def _of_master(row: dict[str, str]) -> InstrumentListed:
    expiry = date.fromisoformat(row["expiry"])
    exchange = Exchange(row["exchange"])
    if row["instrument_type"] == "FUT":
        future = listed_future(row["name"], expiry, exchange)
        return future.model_copy(update={"lot_size": int(row["lot_size"])})
    changes = {
        "instrument": InstrumentId(f"{exchange}:{row['tradingsymbol']}"),
        "exchange": exchange,
        "underlying": row["name"],
        "lot_size": int(row["lot_size"]),
    }
    return listed_option(expiry, Decimal(row["strike"]), OptionType(row["instrument_type"]), **changes)
