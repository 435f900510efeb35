"""Which format each broker's dump has, where the broker publishes it, and how a dump is loaded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from libs.common.contracts.masters import MasterSource
from services.marketdata.adapters.masters import (
    aliceblue,
    angel,
    dhan,
    files,
    fivepaisa,
    fyers,
    groww,
    iiflcapital,
    kotak,
    motilal,
    noren,
    paytm,
    pocketful,
    tradejini,
    upstox,
    xts,
    zerodha,
)
from services.marketdata.adapters.masters.places import Place, Posted
from services.marketdata.adapters.masters.table import FIELDS, MasterMalformed, finish


@dataclass(frozen=True, slots=True)
class Format:
    """`published` are the addresses that need no login; a broker without any needs an address or file by setting."""

    read: Callable[[bytes], pl.DataFrame]
    published: tuple[Place, ...] = ()


def _xts(address: str) -> Format:
    """Every segment in one answer; it takes no login."""
    return Format(xts.read, (Posted(f"{address}/instruments/master", {"exchangeSegmentList": list(xts.SEGMENTS)}),))


_FYERS = ("NSE_CM", "NSE_FO", "NSE_CD", "BSE_CM", "BSE_FO", "MCX_COM")
_NOREN = ("NSE", "NFO", "CDS", "MCX", "BSE", "BFO")
_DHAN = ("https://images.dhan.co/api-data/api-scrip-master.csv",)
_FLATTRADE = "https://flattrade.s3.ap-south-1.amazonaws.com/scripmaster"
_FLATTRADE_FILES = (
    "NSE_Equity",
    "Nfo_Equity_Derivatives",
    "Nfo_Index_Derivatives",
    "Currency_Derivatives",
    "Commodity",
    "BSE_Equity",
    "Bfo_Index_Derivatives",
    "Bfo_Equity_Derivatives",
)
_ALICEBLUE = "https://v2api.aliceblueonline.com/restpy/static/contract_master/V2"
_ALICEBLUE_FILES = ("NSE", "BSE", "NFO", "BFO", "CDS", "BCD", "MCX", "INDICES")

FORMATS: Mapping[MasterSource, Format] = {
    MasterSource.ZERODHA: Format(zerodha.read, ("https://api.kite.trade/instruments",)),
    MasterSource.UPSTOX: Format(
        upstox.read, ("https://assets.upstox.com/market-quote/instruments/exchange/complete.json.gz",)
    ),
    MasterSource.DHAN: Format(dhan.read, _DHAN),
    MasterSource.DHAN_SANDBOX: Format(dhan.read, _DHAN),
    MasterSource.FYERS: Format(fyers.read, tuple(f"https://public.fyers.in/sym_details/{s}.csv" for s in _FYERS)),
    MasterSource.SHOONYA: Format(
        noren.read, tuple(f"https://api.shoonya.com/{segment}_symbols.txt.zip" for segment in _NOREN)
    ),
    MasterSource.FLATTRADE: Format(noren.read, tuple(f"{_FLATTRADE}/{name}.csv" for name in _FLATTRADE_FILES)),
    MasterSource.ZEBU: Format(noren.read, tuple(f"https://go.mynt.in/{s}_symbols.txt.zip" for s in _NOREN)),
    MasterSource.ANGEL: Format(
        angel.read, ("https://margincalculator.angelbroking.com/OpenAPI_File/files/OpenAPIScripMaster.json",)
    ),
    MasterSource.MSTOCK: Format(angel.read_mstock),
    MasterSource.GROWW: Format(groww.read, ("https://growwapi-assets.groww.in/instruments/instrument.csv",)),
    MasterSource.INDMONEY: Format(dhan.read),
    MasterSource.FIRSTOCK: Format(noren.read_firstock),
    MasterSource.DEFINEDGE: Format(noren.read_definedge, ("https://app.definedgesecurities.com/public/allmaster.zip",)),
    MasterSource.ALICEBLUE: Format(aliceblue.read, tuple(f"{_ALICEBLUE}/{name}.csv" for name in _ALICEBLUE_FILES)),
    MasterSource.FIVEPAISA: Format(
        fivepaisa.read, ("https://openapi.5paisa.com/VendorsAPI/Service1.svc/ScripMaster/segment/all",)
    ),
    MasterSource.IIFL: _xts("https://ttblaze.iifl.com/apimarketdata"),
    MasterSource.FIVEPAISAXTS: _xts("https://xtsmum.5paisa.com/apimarketdata"),
    MasterSource.COMPOSITEDGE: _xts("https://xts.compositedge.com/apimarketdata"),
    MasterSource.IBULLS: _xts("https://xts.ibullssecurities.com/apibinarymarketdata"),
    MasterSource.WISDOM: _xts("https://trade.wisdomcapital.in/apimarketdata"),
    MasterSource.IIFLCAPITAL: Format(iiflcapital.read),
    MasterSource.KOTAK: Format(kotak.read),
    MasterSource.MOTILAL: Format(motilal.read),
    MasterSource.PAYTM: Format(paytm.read, ("https://developer.paytmmoney.com/data/v1/scrips/security_master.csv",)),
    MasterSource.POCKETFUL: Format(pocketful.read),
    MasterSource.TRADEJINI: Format(tradejini.read),
}


@dataclass(frozen=True, slots=True)
class Dump:
    """A broker's master as one table (its columns are `STAGED`), and how many of its rows could not be read."""

    source: MasterSource
    table: pl.DataFrame
    unreadable: int


def load(source: MasterSource, paths: Sequence[Path], day: date) -> Dump:
    """Read the files of one dump. Blocking: a second or so. MasterMalformed says what is wrong with which file.

    `day` chooses the exchange's freeze quantities.
    """
    read = FORMATS[source].read
    parts = [_part(read, path, content) for path in paths for content in files.texts(path)]
    if not parts:
        raise MasterMalformed("there is no file in it")
    table, unreadable = finish(pl.concat(parts), day)
    return Dump(source, table, unreadable)


def _part(read: Callable[[bytes], pl.DataFrame], path: Path, content: bytes) -> pl.DataFrame:
    try:
        rows = read(content)
    except (MasterMalformed, pl.exceptions.PolarsError) as error:
        raise MasterMalformed(f"{path.name}: {str(error).splitlines()[0]}") from error
    return rows.select([pl.col(name).cast(kind) for name, kind in FIELDS.items()])
