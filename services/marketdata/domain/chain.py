"""An option chain from the contract master and the newest quotes: prices, Greeks, put-call ratio, max pain."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TypeAlias

import numpy as np

from libs.common.contracts.enums import Exchange, InstrumentKind, OptionType
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed, Quote
from libs.common.contracts.options import IvStanding, PricingModel
from services.marketdata.domain import greeks
from services.marketdata.domain.greeks import Options, Standing
from services.marketdata.domain.normal import Floats
from services.marketdata.domain.pricing import YEAR_SECONDS

Quotes: TypeAlias = Mapping[InstrumentId, Quote]
Content: TypeAlias = dict[str, object]
"""The fields of an OptionQuote, a ChainRow or an OptionChain. The whole chain is validated in one call."""

OPTIONS_ON = {
    Exchange.NSE: Exchange.NFO,
    Exchange.NSE_INDEX: Exchange.NFO,
    Exchange.BSE: Exchange.BFO,
    Exchange.BSE_INDEX: Exchange.BFO,
}
"""Where the options on a spot exchange's instruments trade; the others list their own."""
_STANDINGS = {
    Standing.KNOWN: IvStanding.KNOWN,
    Standing.NO_PRICE: IvStanding.NO_PRICE,
    Standing.EXPIRED: IvStanding.EXPIRED,
    Standing.INTRINSIC: IvStanding.INTRINSIC,
    Standing.ABOVE_BOUND: IvStanding.ABOVE_BOUND,
}
_WITHOUT_GREEKS = (Standing.NO_PRICE, Standing.ABOVE_BOUND)
WIDEST_SPREAD = 0.25
"""A book wider than this fraction of its middle says less of an option's worth than the last trade."""


@dataclass(frozen=True, slots=True)
class ChainKey:
    exchange: Exchange
    underlying: str
    expiry: date

    def __str__(self) -> str:
        return f"{self.exchange}:{self.underlying}:{self.expiry}"


def key_of(text: str) -> ChainKey:
    """`NFO:NIFTY:2026-11-24`. ValueError when it is none."""
    exchange, underlying, expiry = text.split(":")
    return ChainKey(Exchange(exchange), underlying, date.fromisoformat(expiry))


@dataclass(frozen=True, slots=True)
class Contracts:
    """The contracts of one chain: its strikes in order, with the call and the put of each where they are listed."""

    key: ChainKey
    strikes: tuple[float, ...]
    calls: tuple[InstrumentId | None, ...]
    puts: tuple[InstrumentId | None, ...]
    spot: InstrumentId | None
    future: InstrumentId | None
    lot_size: int

    @property
    def options(self) -> list[InstrumentId]:
        return [each for each in (*self.calls, *self.puts) if each]

    def around(self, price: float | None, each_side: int | None) -> "Contracts":
        """Only `each_side` strikes below and above the one at the money."""
        if each_side is None or not self.strikes:
            return self
        at_the_money = nearest(self.strikes, price) if price else len(self.strikes) // 2
        cut = slice(max(at_the_money - each_side, 0), at_the_money + each_side + 1)
        return Contracts(
            self.key, self.strikes[cut], self.calls[cut], self.puts[cut], self.spot, self.future, self.lot_size
        )


@dataclass(frozen=True, slots=True)
class Terms:
    """What a chain is worked out with. `expires_at` is the exchange's own time on the day of expiry."""

    now: datetime
    expires_at: datetime
    market_open: bool
    rate: float
    dividends: float


class ChainIndex:
    """The chains that a contract master lists."""

    def __init__(self, listed: Iterable[InstrumentListed]) -> None:
        self._options: dict[tuple[Exchange, str], dict[date, list[InstrumentListed]]] = {}
        self._futures: dict[tuple[Exchange, str], dict[date, InstrumentId]] = {}
        for contract in listed:
            if contract.underlying is None or contract.expiry is None or not contract.tradable:
                continue
            name = contract.exchange, contract.underlying
            if contract.kind is InstrumentKind.OPTION:
                self._options.setdefault(name, {}).setdefault(contract.expiry, []).append(contract)
            elif contract.kind is InstrumentKind.FUTURE:
                self._futures.setdefault(name, {})[contract.expiry] = contract.instrument

    def find(self, symbol: str, exchange: Exchange | None) -> tuple[Exchange, str] | None:
        """The options exchange and underlying that `NIFTY`, `NSE_INDEX:NIFTY` or `NFO:NIFTY` means."""
        prefix, colon, name = symbol.strip().upper().rpartition(":")
        if colon:
            exchange = Exchange(prefix) if prefix in Exchange.__members__ else None
        wanted = [OPTIONS_ON.get(exchange, exchange)] if exchange else [each for each, _ in self._options]
        if colon and exchange is None:
            return None
        return next(((each, name) for each in wanted if (each, name) in self._options), None)

    def expiries(self, exchange: Exchange, underlying: str) -> list[date]:
        return sorted(self._options.get((exchange, underlying), ()))

    def contracts(self, key: ChainKey) -> Contracts | None:
        name = key.exchange, key.underlying
        options = self._options.get(name, {}).get(key.expiry)
        if not options:
            return None
        sides: dict[OptionType, dict[float, InstrumentId]] = {OptionType.CE: {}, OptionType.PE: {}}
        for option in options:
            if option.strike is not None and option.option_type is not None:
                sides[option.option_type][float(option.strike)] = option.instrument
        calls, puts = sides[OptionType.CE], sides[OptionType.PE]
        strikes = sorted({*calls, *puts})
        return Contracts(
            key,
            tuple(strikes),
            tuple(calls.get(strike) for strike in strikes),
            tuple(puts.get(strike) for strike in strikes),
            options[0].spot,
            self._futures.get(name, {}).get(key.expiry),
            options[0].lot_size,
        )


def nearest(strikes: Sequence[float], price: float) -> int:
    """The place of the strike at the money; of two equally near the lower."""
    return min(range(len(strikes)), key=lambda n: abs(strikes[n] - price))


def worked_out(contracts: Contracts, quotes: Quotes, earlier_oi: Mapping[InstrumentId, int], terms: Terms) -> Content:
    """The fields of an OptionChain."""
    spot = quotes.get(contracts.spot) if contracts.spot else None
    future = quotes.get(contracts.future) if contracts.future else None
    priced_on = future or spot
    sides = [*contracts.calls, *contracts.puts]
    found = [quotes.get(each) if each else None for each in sides]
    newest = max((quote.at for quote in (*found, spot, future) if quote), default=None)
    level = (spot or priced_on).ltp if priced_on else None
    valued = _valued(contracts, found, priced_on, future is not None, newest, terms)
    count = len(contracts.strikes)
    rows = [
        {
            "strike": strike,
            "call": _side(contracts.calls[n], found[n], earlier_oi, valued[n]),
            "put": _side(contracts.puts[n], found[count + n], earlier_oi, valued[count + n]),
        }
        for n, strike in enumerate(contracts.strikes)
    ]
    left = (terms.expires_at - terms.now).total_seconds()
    return {
        "chain": str(contracts.key),
        "exchange": contracts.key.exchange,
        "underlying": contracts.key.underlying,
        "expiry": contracts.key.expiry,
        "expires_at": terms.expires_at,
        "minutes_to_expiry": max(int(left // 60), 0),
        "at": terms.now,
        "quoted_at": newest,
        "market_open": terms.market_open,
        "lot_size": contracts.lot_size,
        "model": _model(priced_on, future),
        "priced_on": priced_on.instrument if priced_on else None,
        "underlying_price": priced_on.ltp if priced_on else None,
        "spot": contracts.spot,
        "spot_price": spot.ltp if spot else None,
        "rate": terms.rate,
        "dividend_yield": terms.dividends,
        "atm_strike": contracts.strikes[nearest(contracts.strikes, level)] if level and contracts.strikes else None,
        **_totals(contracts.strikes, found[:count], found[count:]),
        "rows": rows,
    }


def _model(priced_on: Quote | None, future: Quote | None) -> PricingModel | None:
    if future is not None:
        return PricingModel.BLACK_76
    return PricingModel.BLACK_SCHOLES_MERTON if priced_on else None


def worth(quote: Quote | None) -> float:
    """What an option is taken to be worth: the middle of a sane book, else the last trade; 0 when nobody knows."""
    if quote is None:
        return 0.0
    middle = (quote.bid + quote.ask) / 2
    if 0 < quote.bid <= quote.ask and quote.ask - quote.bid <= max(WIDEST_SPREAD * middle, 0.1):
        return middle
    return quote.ltp


def _valued(
    contracts: Contracts,
    found: Sequence[Quote | None],
    priced_on: Quote | None,
    on_future: bool,
    newest: datetime | None,
    terms: Terms,
) -> list[Content]:
    """Volatility and Greeks of every side, calls first.

    The time to expiry runs from the newest price: Friday's prices have not lost the week-end yet.
    """
    count = len(found)
    left = (terms.expires_at - (newest or terms.now)).total_seconds() / YEAR_SECONDS
    options = Options(
        underlying=np.full(count, priced_on.ltp if priced_on else 0.0),
        strike=np.tile(np.array(contracts.strikes), 2),
        years=np.full(count, left),
        is_call=np.arange(count) < count // 2,
        rate=terms.rate,
        dividends=terms.dividends,
        on_future=on_future,
    )
    volatility, standing = greeks.implied(np.array([worth(quote) for quote in found]), options)
    result = greeks.greeks(volatility, options, standing)
    columns = (
        standing.tolist(),
        _rounded(100 * volatility, 3),
        _rounded(result.delta, 5),
        _rounded(result.gamma, 8),
        _rounded(result.theta / 365, 4),
        _rounded(result.vega / 100, 4),
        _rounded(result.rho / 100, 4),
    )
    return [_greeks(*row) for row in zip(*columns, strict=True)]


def _rounded(column: Floats, digits: int) -> list[float]:
    result: list[float] = np.round(column, digits).tolist()
    return result


def _greeks(standing: int, iv: float, delta: float, gamma: float, theta: float, vega: float, rho: float) -> Content:
    said = Standing(standing)
    if said in _WITHOUT_GREEKS:
        return {"standing": _STANDINGS[said]}
    return {
        "standing": _STANDINGS[said],
        "iv": iv if said is Standing.KNOWN else None,
        "delta": delta,
        "gamma": gamma,
        "theta": theta,
        "vega": vega,
        "rho": rho,
    }


def _side(
    instrument: InstrumentId | None, quote: Quote | None, earlier_oi: Mapping[InstrumentId, int], valued: Content
) -> Content | None:
    if instrument is None:
        return None
    if quote is None:
        return {"instrument": instrument}
    before = earlier_oi.get(instrument)
    return {
        "instrument": instrument,
        "at": quote.at,
        "source": quote.source,
        "ltp": quote.ltp,
        "bid": quote.bid,
        "ask": quote.ask,
        "bid_quantity": quote.bid_quantity,
        "ask_quantity": quote.ask_quantity,
        "volume": quote.volume,
        "oi": quote.oi,
        "oi_change": None if before is None else quote.oi - before,
        **valued,
    }


def _totals(strikes: Sequence[float], calls: Sequence[Quote | None], puts: Sequence[Quote | None]) -> Content:
    call_oi, put_oi = ([quote.oi if quote else 0 for quote in side] for side in (calls, puts))
    call_volume, put_volume = (sum(quote.volume for quote in side if quote) for side in (calls, puts))
    return {
        "call_oi": sum(call_oi),
        "put_oi": sum(put_oi),
        "pcr": round(sum(put_oi) / sum(call_oi), 4) if sum(call_oi) else None,
        "pcr_volume": round(put_volume / call_volume, 4) if call_volume else None,
        "max_pain": max_pain(strikes, call_oi, put_oi),
    }


def max_pain(strikes: Sequence[float], call_oi: Sequence[int], put_oi: Sequence[int]) -> float | None:
    """The strike at which all open options together are worth least if the underlying ends there."""
    if not any(call_oi) and not any(put_oi):
        return None
    strike = np.array(strikes, dtype=np.float64)
    calls, puts = np.array(call_oi, dtype=np.float64), np.array(put_oi, dtype=np.float64)
    # Paid to calls struck below: Σ oi (K - k); running sums make it one pass.
    to_calls = strike * np.cumsum(calls) - np.cumsum(calls * strike)
    to_puts = np.cumsum((puts * strike)[::-1])[::-1] - strike * np.cumsum(puts[::-1])[::-1]
    return float(strike[int(np.argmin(to_calls + to_puts))])


def changed(rows: Sequence[Content], before: Mapping[object, Content]) -> list[Content]:
    """The rows that look different; the time of a quote that says the same again is no difference."""
    return [row for row in rows if row["strike"] not in before or not _alike(row, before[row["strike"]])]


def _alike(row: Content, earlier: Content) -> bool:
    return all(_timeless(row[side]) == _timeless(earlier[side]) for side in ("call", "put"))


def _timeless(side: object) -> object:
    return {**side, "at": None} if isinstance(side, dict) else side
