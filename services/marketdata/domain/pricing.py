"""Black-Scholes on a forward, for whole chains at a time, and the volatility smile that derived prices use."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.marketdata.domain import normal

Floats = normal.Floats

RISK_FREE_RATE: Final = 0.065
DIVIDEND_YIELD: Final = 0.012
YEAR_SECONDS: Final = 365.0 * 86_400

_SMILE_SKEW: Final = -0.05
_SMILE_CURVE: Final = 0.02
_SMILE_WIDEST: Final = 3.5


def forward(spot: Floats, years: Floats, rate: float = RISK_FREE_RATE, dividends: float = DIVIDEND_YIELD) -> Floats:
    return spot * np.exp((rate - dividends) * years)


def black_scholes(
    spot: Floats,
    strike: Floats,
    years: Floats,
    volatility: Floats,
    is_call: NDArray[np.bool_],
    rate: float = RISK_FREE_RATE,
    dividends: float = DIVIDEND_YIELD,
) -> Floats:
    """European option prices. `years` and `volatility` must be positive."""
    ahead = forward(spot, years, rate, dividends)
    deviation = volatility * np.sqrt(years)
    d1 = np.log(ahead / strike) / deviation + deviation / 2
    sign = np.where(is_call, 1.0, -1.0)
    value = sign * (ahead * normal.cdf(sign * d1) - strike * normal.cdf(sign * (d1 - deviation)))
    prices: Floats = np.exp(-rate * years) * np.maximum(value, 0.0)
    return prices


def smile(at_the_money: Floats, spot: Floats, strike: Floats, years: Floats) -> Floats:
    """Implied volatility by strike: a skew towards puts and a curve, in standard deviations from the money.

    Gentle enough that prices stay monotonic in the strike; flat beyond _SMILE_WIDEST.
    """
    away = np.log(strike / spot) / (at_the_money * np.sqrt(years))
    away = np.clip(away, -_SMILE_WIDEST, _SMILE_WIDEST)
    return at_the_money * (1 + _SMILE_SKEW * away + _SMILE_CURVE * away**2)
