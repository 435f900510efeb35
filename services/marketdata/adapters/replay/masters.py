"""Brokers' instrument dumps, normalised: Zerodha for derivatives, Dhan or else Upstox for NSE stocks and indices."""

import csv
import gzip
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

from libs.common.contracts.enums import Exchange, InstrumentKind, OptionType
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed
from services.marketdata.domain import rules, symbols
from services.marketdata.domain.rules import INDEX_RULES

_CASH_SERIES = frozenset({"EQ", "BE", "BZ", "SM", "ST"})
_INDEX_EXCHANGES = {"NSE": Exchange.NSE_INDEX, "BSE": Exchange.BSE_INDEX}


def load_master(folder: Path, day: date) -> list[InstrumentListed]:
    """Everything listed on `day` by the newest dump of each kind; FileNotFoundError names what is missing."""
    found: dict[InstrumentId, InstrumentListed] = {}
    for listed in _cash(folder):
        found.setdefault(listed.instrument, listed)
    for listed in zerodha(newest(folder, "zerodha/instruments-nfo-bfo-*.csv"), day):
        found.setdefault(listed.instrument, listed)
    return list(found.values())


def newest(folder: Path, pattern: str) -> Path:
    """The dump with the latest date in its name."""
    dumps = sorted(folder.glob(pattern))
    if not dumps:
        raise FileNotFoundError(
            f"no instrument dump {folder / pattern}: set SHARED_DATA or use MARKETDATA_FEED=simulator"
        )
    return dumps[-1]


def _cash(folder: Path) -> Iterator[InstrumentListed]:
    try:
        return dhan(newest(folder, "dhan/api-scrip-master-*.csv"))
    except FileNotFoundError:
        return upstox(newest(folder, "upstox/NSE-*.csv.gz"))


def zerodha(path: Path, day: date) -> Iterator[InstrumentListed]:
    """NFO and BFO contracts that have not expired before `day`."""
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            expiry = date.fromisoformat(row["expiry"])
            if expiry >= day:
                yield _derivative(row, expiry, day)


def _derivative(row: dict[str, str], expiry: date, day: date) -> InstrumentListed:
    exchange, underlying = Exchange(row["exchange"]), row["name"]
    lot = int(row["lot_size"])
    option_type = OptionType(row["instrument_type"]) if row["instrument_type"] != "FUT" else None
    strike = Decimal(row["strike"]).normalize() if option_type else None
    symbol: symbols.Symbol
    if option_type and strike:
        symbol = symbols.Option(underlying, expiry, strike, option_type)
    else:
        symbol = symbols.Future(underlying, expiry)
    index = INDEX_RULES.get(underlying)
    return InstrumentListed(
        instrument=symbols.instrument_id(exchange, symbol),
        exchange=exchange,
        symbol=str(symbol),
        name=underlying,
        kind=InstrumentKind.OPTION if option_type else InstrumentKind.FUTURE,
        underlying=underlying,
        spot=index.spot if index else InstrumentId(f"NSE:{underlying}"),
        expiry=expiry,
        strike=Decimal(format(strike, "f")) if strike else None,
        option_type=option_type,
        lot_size=lot,
        tick_size=Decimal(row["tick_size"]),
        freeze_quantity=rules.freeze_quantity(index, day, lot) if index else None,
        broker_token=row["instrument_token"],
    )


def dhan(path: Path) -> Iterator[InstrumentListed]:
    """NSE stocks, and the indices of both exchanges. Ticks of stocks are in paise."""
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            symbol, market = row["SEM_TRADING_SYMBOL"].strip().upper(), row["SEM_EXM_EXCH_ID"]
            if row["SEM_INSTRUMENT_NAME"] == "INDEX" and market in _INDEX_EXCHANGES:
                exchange = _INDEX_EXCHANGES[market]
                yield _index(exchange, symbol, row["SEM_CUSTOM_SYMBOL"], row["SEM_SMST_SECURITY_ID"])
            elif market == "NSE" and row["SEM_SEGMENT"] == "E" and row["SEM_SERIES"] in _CASH_SERIES:
                tick = Decimal(row["SEM_TICK_SIZE"]) / 100
                yield _stock(symbol, row["SEM_CUSTOM_SYMBOL"], tick, row["SEM_SMST_SECURITY_ID"])


def upstox(path: Path) -> Iterator[InstrumentListed]:
    """NSE stocks and indices."""
    with gzip.open(path, "rt", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            symbol = row["tradingsymbol"].strip().upper()
            if row["exchange"] == "NSE_INDEX":
                yield _index(Exchange.NSE_INDEX, symbol, row["name"], row["exchange_token"])
            elif row["exchange"] == "NSE_EQ" and row["instrument_type"] == "EQUITY":
                yield _stock(symbol, row["name"], Decimal(row["tick_size"]), row["exchange_token"])


def _index(exchange: Exchange, symbol: str, name: str, token: str) -> InstrumentListed:
    plain = symbol.replace(" ", "")
    return InstrumentListed(
        instrument=InstrumentId(f"{exchange}:{plain}"),
        exchange=exchange,
        symbol=plain,
        name=name.strip(),
        kind=InstrumentKind.INDEX,
        lot_size=1,
        tick_size=rules.INDEX_TICK,
        tradable=False,
        broker_token=token,
    )


def _stock(symbol: str, name: str, tick: Decimal, token: str) -> InstrumentListed:
    return InstrumentListed(
        instrument=InstrumentId(f"{Exchange.NSE}:{symbol}"),
        exchange=Exchange.NSE,
        symbol=symbol,
        name=name.strip(),
        kind=InstrumentKind.EQUITY,
        lot_size=1,
        tick_size=tick if tick > 0 else Decimal("0.05"),
        broker_token=token,
    )
