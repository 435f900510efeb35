"""A whole chain at one moment."""

from collections.abc import Mapping
from typing import TypeAlias

from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import Quote, is_of_a_day_before
from libs.common.contracts.options import PricingModel
from services.marketdata.domain.chain.listed import Contracts, nearest
from services.marketdata.domain.chain.totals import totals
from services.marketdata.domain.chain.values import Content, Terms, side, valued

Quotes: TypeAlias = Mapping[InstrumentId, Quote]


def worked_out(contracts: Contracts, quotes: Quotes, earlier_oi: Mapping[InstrumentId, int], terms: Terms) -> Content:
    """The fields of an OptionChain."""
    spot = quotes.get(contracts.spot) if contracts.spot else None
    future = quotes.get(contracts.future) if contracts.future else None
    lags = future is not None and spot is not None and is_of_a_day_before(future)
    priced_on = spot if lags else future or spot
    on_future = priced_on is not None and priced_on is future
    sides = [*contracts.calls, *contracts.puts]
    found = [quotes.get(each) if each else None for each in sides]
    newest = max((quote.at for quote in (*found, spot, future) if quote), default=None)
    underlying = _level(priced_on) if priced_on else None
    level = spot.ltp if spot else underlying
    values = valued(contracts, found, underlying, on_future, newest, terms)
    count = len(contracts.strikes)
    rows = [
        {
            "strike": strike,
            "call": side(contracts.calls[n], found[n], earlier_oi, values[n], terms),
            "put": side(contracts.puts[n], found[count + n], earlier_oi, values[count + n], terms),
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
        "model": _model(priced_on, on_future),
        "priced_on": priced_on.instrument if priced_on else None,
        "underlying_price": underlying,
        "underlying_at": priced_on.at if priced_on else None,
        "underlying_source": priced_on.source if priced_on else None,
        "stale": _is_stale(spot, future, terms),
        "spot": contracts.spot,
        "spot_price": spot.ltp if spot else None,
        "spot_source": spot.source if spot else None,
        "rate": terms.rate,
        "dividend_yield": terms.dividends,
        "atm_strike": contracts.strikes[nearest(contracts.strikes, level)] if level and contracts.strikes else None,
        **totals(contracts.strikes, found[:count], found[count:]),
        "rows": rows,
    }


def _level(quote: Quote) -> float:
    """What traded last, moved into the book that has left it behind since: a far future trades once in an hour, and its
    book follows the market.
    """
    return min(max(quote.ltp, quote.bid), quote.ask) if 0 < quote.bid <= quote.ask else quote.ltp


def _is_stale(spot: Quote | None, future: Quote | None, terms: Terms) -> bool:
    of_spot = spot is not None and terms.spot_open and terms.is_stale(spot)
    return of_spot or (future is not None and terms.is_stale(future))


def _model(priced_on: Quote | None, on_future: bool) -> PricingModel | None:
    if on_future:
        return PricingModel.BLACK_76
    return PricingModel.BLACK_SCHOLES_MERTON if priced_on else None
