"""What each side of a chain is worth: its quote, volatility and Greeks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

import numpy as np

from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import Quote, is_of_a_day_before, is_old
from libs.common.contracts.options import IvStanding
from services.marketdata.domain import greeks
from services.marketdata.domain.chain.listed import Contracts
from services.marketdata.domain.greeks import Options, Standing
from services.marketdata.domain.normal import Floats
from services.marketdata.domain.pricing import YEAR_SECONDS

Content: TypeAlias = dict[str, object]
"""The fields of an OptionQuote, a ChainRow or an OptionChain. The whole chain is validated in one call."""
WIDEST_SPREAD = 0.25
"""A book wider than this fraction of its middle says less of an option's worth than the last trade."""
_STANDINGS = {
    Standing.KNOWN: IvStanding.KNOWN,
    Standing.NO_PRICE: IvStanding.NO_PRICE,
    Standing.EXPIRED: IvStanding.EXPIRED,
    Standing.INTRINSIC: IvStanding.INTRINSIC,
    Standing.ABOVE_BOUND: IvStanding.ABOVE_BOUND,
}
_WITHOUT_GREEKS = (Standing.NO_PRICE, Standing.ABOVE_BOUND)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a chain is worked out with. `expires_at` is the exchange's own time on the day of expiry.

    `market_open`: the options trade; they do ten minutes longer than the spot (`spot_open`).
    """

    now: datetime
    expires_at: datetime
    market_open: bool
    spot_open: bool
    rate: float
    dividends: float

    def is_stale(self, quote: Quote) -> bool:
        return self.market_open and is_old(quote.at, self.now)


def _worth(quote: Quote | None) -> float:
    """What an option is taken to be worth: the middle of a sane book, else the last trade of its day; 0 when nobody
    knows.
    """
    if quote is None:
        return 0.0
    middle = (quote.bid + quote.ask) / 2
    if 0 < quote.bid <= quote.ask and quote.ask - quote.bid <= max(WIDEST_SPREAD * middle, 0.1):
        return middle
    return 0.0 if is_of_a_day_before(quote) else quote.ltp


def valued(
    contracts: Contracts,
    found: Sequence[Quote | None],
    underlying: float | None,
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
        underlying=np.full(count, underlying or 0.0),
        strike=np.tile(np.array(contracts.strikes), 2),
        years=np.full(count, left),
        is_call=np.arange(count) < count // 2,
        rate=terms.rate,
        dividends=terms.dividends,
        on_future=on_future,
    )
    volatility, standing = greeks.implied(np.array([_worth(quote) for quote in found]), options)
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


def side(
    instrument: InstrumentId | None,
    quote: Quote | None,
    earlier_oi: Mapping[InstrumentId, int],
    valued: Content,
    terms: Terms,
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
        "stale": terms.is_stale(quote),
        "bid": quote.bid,
        "ask": quote.ask,
        "bid_quantity": quote.bid_quantity,
        "ask_quantity": quote.ask_quantity,
        "volume": quote.volume,
        "oi": quote.oi,
        "oi_change": None if before is None else quote.oi - before,
        **valued,
    }
