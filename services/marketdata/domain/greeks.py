"""Implied volatility and the five Greeks of European options, for a whole chain in a few array operations.

Black-76 on futures, Black-Scholes-Merton on spot; both are one formula on the forward. The implied volatility follows
the idea of P. Jäckel, "Let's be rational" (2013): solve for the out-of-the-money price in normalised terms, on a scale
where the function is nearly straight, by third-order Householder steps. Bracketing makes it fail-safe.
No result is ever NaN or infinite, whatever comes in: `Standing` says what could not be known.
"""

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.marketdata.domain.normal import Floats, cdf, density, scaled_tail

Flags = NDArray[np.bool_]
Standings = NDArray[np.int8]

_EPSILON: Final = float(np.finfo(np.float64).eps)
_SQRT_TWO: Final = math.sqrt(2.0)
_SQRT_TWO_PI: Final = math.sqrt(2.0 * math.pi)
_MOST_STEPS: Final = 40
"""Three or four are enough wherever options are quoted; the bracket halves in the others."""
_DEEPEST: Final = 30.0
"""|ln(F/K)| beyond this is no option anybody quotes; it keeps the exponentials finite."""
_LEAST: Final = 1e-9
_MOST: Final = 1e15
_LONGEST: Final = 200.0
"""Prices and years outside of these are mistakes of whoever asks."""
_SHORTEST: Final = 1e-14
"""A third of a microsecond, in years: less is no time."""
_WIDEST: Final = 50.0
"""The largest σ√T that is looked for. The price is at its bound, to double precision, long before."""
_NARROWEST: Final = 1e-9
_CERTAIN: Final = 40.0
"""Standard deviations beyond which nothing happens in double precision."""
_WING: Final = 1.4
"""How many standard deviations from the money the tail is the better first guess; tried out over the whole plane."""
_GOOD: Final = 1e-6
"""A relative step after which the next one is below rounding: the steps converge with the fourth order."""


class Standing(IntEnum):
    """What is known of an option's volatility."""

    KNOWN = 0
    NO_PRICE = 1
    """No usable price, strike or underlying: volatility and Greeks are 0."""
    EXPIRED = 2
    """No time is left: volatility 0, delta that of the intrinsic value, the other Greeks 0."""
    INTRINSIC = 3
    """At or below the intrinsic value on the forward: volatility 0, the Greeks of certainty."""
    ABOVE_BOUND = 4
    """Dearer than the underlying (call) or the discounted strike (put): volatility and Greeks are 0."""


@dataclass(frozen=True, slots=True)
class Options:
    """Columns of one length: strikes, years to expiry, calls or puts, on one underlying price each.

    `rate` is continuous; `dividends` is the yield of the spot. `on_future` (Black-76) means that `underlying` is the
    price of a future with the option's expiry, or which it is on: it carries nothing, and delta and gamma are to the
    future.
    """

    underlying: Floats
    strike: Floats
    years: Floats
    is_call: Flags
    rate: float
    dividends: float = 0.0
    on_future: bool = False

    @property
    def carry(self) -> float:
        """The growth of the forward over the underlying."""
        return 0.0 if self.on_future else self.rate - self.dividends


@dataclass(frozen=True, slots=True)
class Greeks:
    """Per unit of the underlying: theta a year, vega and rho for a change of 1 (100 points) in volatility and rate."""

    delta: Floats
    gamma: Floats
    theta: Floats
    vega: Floats
    rho: Floats


def implied(price: Floats, options: Options) -> tuple[Floats, Standings]:
    """The volatility at which each option is worth its price, 0 where `Standing` says that there is none."""
    fit = _fit(options) & np.isfinite(price) & (price > 0)
    underlying, strike, years = _harmless(options, fit)
    ahead = underlying * np.exp(options.carry * years)
    undiscounted = np.where(fit, price, 1.0) * np.exp(options.rate * years)
    sign = np.where(options.is_call, 1.0, -1.0)
    time_value = undiscounted - np.maximum(sign * (ahead - strike), 0.0)
    moneyness = np.clip(-np.abs(np.log(ahead / strike)), -_DEEPEST, 0.0)
    target = time_value / np.sqrt(ahead * strike)
    bound = np.exp(0.5 * moneyness)
    # What is left of a price inside the money is no time value when it is within the rounding of the subtraction.
    noise = 4 * _EPSILON * np.where(time_value < undiscounted, ahead + strike, 0.0) / np.sqrt(ahead * strike)
    conditions = [~fit, years <= 0, target <= noise, target >= bound * (1 - 4 * _EPSILON)]
    standing = np.select(conditions, [Standing.NO_PRICE, Standing.EXPIRED, Standing.INTRINSIC, Standing.ABOVE_BOUND], 0)
    known = np.flatnonzero(standing == Standing.KNOWN)
    volatility = np.zeros_like(ahead)
    volatility[known] = _solve(moneyness[known], target[known], bound[known]) / np.sqrt(years[known])
    return volatility, standing.astype(np.int8)


def greeks(volatility: Floats, options: Options, standing: Standings | None = None) -> Greeks:
    """The Greeks at a volatility. At zero volatility or time they are those of a certain outcome."""
    fit = _fit(options) & np.isfinite(volatility) & (volatility >= 0)
    if standing is not None:
        fit &= (standing != Standing.NO_PRICE) & (standing != Standing.ABOVE_BOUND)
    underlying, strike, years = _harmless(options, fit)
    sigma = np.where(fit, volatility, 0.0)
    d1, deviation = _distance(underlying, strike, years, sigma, options.carry)
    sign = np.where(options.is_call, 1.0, -1.0)
    # Both tails at once: one pass over twice the length costs less than two passes.
    odds = cdf(np.clip(np.concatenate((sign * d1, sign * (d1 - deviation))), -_CERTAIN, _CERTAIN))
    growth = np.exp((options.carry - options.rate) * years)
    bell = np.where(deviation > 0, growth * density(np.clip(d1, -_CERTAIN, _CERTAIN)), 0.0)
    received = sign * underlying * growth * odds[: len(d1)]
    paid = sign * strike * np.exp(-options.rate * years) * odds[len(d1) :]
    decay = underlying * bell * sigma / (2 * np.sqrt(np.where(years > 0, years, 1.0)))
    carried = np.where(years > 0, (options.rate - options.carry) * received - options.rate * paid, 0.0)
    zero = np.float64(0.0)
    return Greeks(
        delta=np.where(fit, sign * growth * odds[: len(d1)], zero),
        gamma=np.where(fit, bell / (underlying * np.where(deviation > 0, deviation, 1.0)), zero),
        theta=np.where(fit, carried - decay, zero),
        vega=np.where(fit, underlying * bell * np.sqrt(years), zero),
        rho=np.where(fit, years * (paid - received if options.on_future else paid), zero),
    )


def _distance(underlying: Floats, strike: Floats, years: Floats, sigma: Floats, carry: float) -> tuple[Floats, Floats]:
    """d1 and σ√T; where nothing can change any more the latter is 0, and d1 is 0 or certainty."""
    deviation = sigma * np.sqrt(years)
    deviation = np.where(deviation < _NARROWEST, 0.0, deviation)
    spread = np.where(deviation > 0, deviation, 1.0)
    moneyness = np.log(underlying / strike) + carry * years
    d1 = np.where(deviation > 0, moneyness / spread + 0.5 * spread, _CERTAIN * np.sign(moneyness))
    return d1, deviation


def _fit(options: Options) -> Flags:
    underlying, strike, years = options.underlying, options.strike, options.years
    # Comparisons with NaN are false.
    fit: Flags = (underlying > _LEAST) & (underlying < _MOST) & (strike > _LEAST) & (strike < _MOST)
    fit &= (years > -_LONGEST) & (years < _LONGEST)
    return fit


def _harmless(options: Options, fit: Flags) -> tuple[Floats, Floats, Floats]:
    """The columns with 1 in place of what cannot be calculated with; the results there are overwritten."""
    return (
        np.where(fit, options.underlying, 1.0),
        np.where(fit, options.strike, 1.0),
        np.where(fit & (options.years > _SHORTEST), options.years, 0.0),
    )


def _solve(x: Floats, target: Floats, bound: Floats) -> Floats:
    """σ√T at which the normalised out-of-the-money price at log-moneyness x ≤ 0 is `target`, in (0, bound)."""
    if not len(x):
        return target.copy()
    upper = target > 0.5 * bound
    scale = np.log(np.where(upper, bound - target, target))
    width = _guess(x, target, bound)
    low, high = np.full_like(x, _NARROWEST), np.full_like(x, _WIDEST)
    for _ in range(_MOST_STEPS):
        missing, slope, bend, twist = _objective(x, width, upper, scale)
        low = np.where(missing < 0, width, low)
        high = np.where(missing > 0, width, high)
        newton = -missing / slope
        step = newton * (1 + 0.5 * bend * newton) / (1 + newton * (bend + twist * newton / 6))
        step = np.where(step * newton > 0, step, newton)
        better = width + step
        outside = ~((better >= low) & (better <= high))
        better = np.where(outside, np.sqrt(low * high), better)
        better = np.where(missing == 0, width, better)
        done = np.abs(better - width) <= _GOOD * width
        width = better
        if done.all():
            break
    return width


def _guess(x: Floats, target: Floats, bound: Floats) -> Floats:
    """Near the money the quadratic of Corrado and Miller (1996), in the wings and near the bound their tails."""
    half = -np.sinh(0.5 * x)
    near = target + half
    near = near + np.sqrt(np.maximum(near * near - 4 * half * half / math.pi, 0.0))
    near *= _SQRT_TWO_PI / (2 * np.cosh(0.5 * x))
    logarithm = np.log(target)
    far = -x / np.sqrt(np.maximum(-2 * logarithm, 1.0))
    tail = logarithm + math.log(_SQRT_TWO_PI) + 2 * np.log(np.maximum(-x, 1e-15))
    for _ in range(2):
        exponent = 3 * np.log(np.maximum(far, _NARROWEST)) - tail
        far = np.where(exponent > 1.0, -x / np.sqrt(2 * np.maximum(exponent, 1.0)), far)
    lacking = 1 - target / bound
    beyond = 2 * np.sqrt(-2 * np.log(np.minimum(lacking, 0.5)))
    guess = np.where(lacking < 0.1, beyond, np.where(-x > _WING * near, far, near))
    result: Floats = np.clip(guess, 1e-7, _WIDEST)
    return result


def _objective(x: Floats, width: Floats, upper: Flags, scale: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """The logarithm of the price (of what it lacks to its bound, `upper`) less that of the target.

    Returned with its first derivative, and the second and third divided by the first.
    """
    h = x / width
    t = 0.5 * width
    arguments = np.concatenate((-(h + t), t - h)) / _SQRT_TWO
    tails = scaled_tail(np.abs(arguments))
    n = len(x)
    first, second = tails[:n], tails[n:]
    inside = arguments[:n] < 0
    mirrored = 2 * np.exp(np.minimum(arguments[:n] ** 2, 700.0)) - first
    # 2 b exp((h² + t²)/2), and the same of bound - b: no underflow, and no cancellation in the latter.
    price = np.where(inside, mirrored, first) - second
    lacking = np.where(inside, first, mirrored) + second
    measured = np.maximum(np.where(upper, lacking, price), 1e-300)
    sign = np.where(upper, -1.0, 1.0)
    slope = 2 / (_SQRT_TWO_PI * measured)
    missing = sign * (np.log(0.5 * measured) - 0.5 * (h * h + t * t) - scale)
    turn = np.where(upper, slope, -slope)
    vomma = h * h / width - 0.25 * width
    third = vomma * vomma - 3 * (h / width) ** 2 - 0.25
    return missing, slope, vomma + turn, third + 3 * vomma * turn + 2 * turn * turn
