"""The replay's universe: Zerodha's dump for derivatives, Dhan's or else Upstox's for shares and indices."""

from datetime import date
from pathlib import Path

import polars as pl

from libs.common.contracts.enums import Exchange, InstrumentKind
from libs.common.contracts.market import InstrumentListed
from libs.common.contracts.masters import MasterSource
from services.marketdata.adapters import masters

_DERIVATIVES = ("zerodha/instruments-nfo-bfo-*.csv", MasterSource.ZERODHA)
_CASH = (("dhan/api-scrip-master-*.csv", MasterSource.DHAN), ("upstox/NSE-*.csv.gz", MasterSource.UPSTOX))


def load_master(folder: Path, day: date) -> list[InstrumentListed]:
    """Everything listed on `day` by the newest dump of each kind; FileNotFoundError names what is missing."""
    pattern, source = _DERIVATIVES
    derivatives = masters.load(source, [newest(folder, pattern)], day).table.filter(pl.col("expiry") >= day)
    return [*masters.contracts(_cash(folder, day)), *masters.contracts(derivatives)]


def newest(folder: Path, pattern: str) -> Path:
    """The dump with the latest date in its name."""
    dumps = sorted(folder.glob(pattern))
    if not dumps:
        raise FileNotFoundError(
            f"no instrument dump {folder / pattern}: set SHARED_DATA or use MARKETDATA_FEED=simulator"
        )
    return dumps[-1]


def _cash(folder: Path, day: date) -> pl.DataFrame:
    (pattern, source), (fallback, other) = _CASH
    try:
        dump = masters.load(source, [newest(folder, pattern)], day)
    except FileNotFoundError:
        dump = masters.load(other, [newest(folder, fallback)], day)
    shares, indices = InstrumentKind.EQUITY.value, InstrumentKind.INDEX.value
    nse = (pl.col("kind") == shares) & (pl.col("exchange") == Exchange.NSE.value)
    return dump.table.filter(nse | (pl.col("kind") == indices))
