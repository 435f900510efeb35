"""Implied volatility and Greeks: against published tables, another implementation, a broker's chain, and nonsense."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import py_lets_be_rational
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.marketdata.domain import greeks as pricing
from services.marketdata.domain import normal
from services.marketdata.domain.greeks import Greeks, Options, Standing
from services.marketdata.domain.normal import Floats

Table = dict[str, Floats]


def one(
    underlying: float = 100.0,
    strike: float = 100.0,
    years: float = 0.1,
    is_call: bool = True,
    rate: float = 0.065,
    dividends: float = 0.012,
    on_future: bool = False,
) -> Options:
    spot, struck, left = (np.array([float(value)]) for value in (underlying, strike, years))
    return Options(spot, struck, left, np.array([is_call]), rate, dividends, on_future)


def worth(volatility: float, options: Options) -> float:
    """The price of one option by the textbook's formula, with the C library's error function."""
    spot, strike, years = (float(each[0]) for each in (options.underlying, options.strike, options.years))
    ahead = spot * math.exp(options.carry * years)
    deviation = volatility * math.sqrt(years)
    d1 = math.log(ahead / strike) / deviation + deviation / 2
    sign = 1 if options.is_call[0] else -1
    odds = [0.5 * math.erfc(-sign * d / math.sqrt(2)) for d in (d1, d1 - deviation)]
    return math.exp(-options.rate * years) * sign * (ahead * odds[0] - strike * odds[1])


def finite(found: Greeks) -> bool:
    return all(np.isfinite(getattr(found, name)).all() for name in Greeks.__slots__)


@pytest.fixture(scope="session")
def table(shared_data: Path) -> Table:
    vectors = json.loads((shared_data / "optpricing/vollib-test_data.json").read_text())
    return dict(zip(vectors["columns"], np.array(vectors["data"], dtype=float).T, strict=True))


def of_table(table: Table, row: int, is_call: bool) -> Options:
    return one(table["S"][row], table["K"][row], table["t"][row], is_call, table["R"][row], 0.0)


@pytest.mark.parametrize("is_call", [True, False])
def test_the_greeks_agree_with_the_published_tables_to_one_millionth(table: Table, is_call: bool) -> None:
    side = "C" if is_call else "P"
    names = {"delta": "D", "gamma": "G", "theta": "T", "vega": "V", "rho": "R"}
    for row in range(len(table["S"])):
        found = pricing.greeks(table["v"][row : row + 1], of_table(table, row, is_call))
        for name, letter in names.items():
            expected = table[side + letter][row]
            assert getattr(found, name)[0] == pytest.approx(expected, rel=1e-6, abs=1e-6), (row, name)


@pytest.mark.parametrize("is_call", [True, False])
def test_the_implied_volatility_agrees_with_the_published_tables_to_one_millionth(table: Table, is_call: bool) -> None:
    """Or to what the printed digits of the price still hold, where that is less."""
    exactly = 0
    for row in range(len(table["S"])):
        options = of_table(table, row, is_call)
        price = table["bs_call" if is_call else "bs_put"][row]
        vega = pricing.greeks(table["v"][row : row + 1], options).vega[0]
        if price < 1e-9 or vega < 1e-6:
            continue
        last_digit = max(10 ** (math.floor(math.log10(price)) - 9), 1e-10)
        found, standing = pricing.implied(np.array([price]), options)
        assert standing[0] == Standing.KNOWN
        assert found[0] == pytest.approx(table["v"][row], abs=max(1e-6, last_digit / vega))
        exactly += last_digit / vega <= 1e-6
    assert exactly > 70


def test_the_tail_of_the_normal_distribution_is_exact_to_rounding() -> None:
    z = np.linspace(-37, 8, 4001)
    exact = np.array([0.5 * math.erfc(-each / math.sqrt(2)) for each in z])
    np.testing.assert_allclose(normal.cdf(z), exact, rtol=3e-13)


sane = st.builds(
    one,
    underlying=st.floats(10, 100_000),
    strike=st.just(1.0),
    years=st.floats(60 / 31_536_000, 3),
    is_call=st.booleans(),
    rate=st.floats(0, 0.15),
    dividends=st.floats(0, 0.05),
    on_future=st.booleans(),
)


@given(sane, st.floats(-4, 4), st.floats(0.02, 4))
def test_a_price_gives_back_the_volatility_it_was_made_with(options: Options, away: float, volatility: float) -> None:
    """Strikes up to four standard deviations from the money, from a minute to three years."""
    deviation = volatility * math.sqrt(options.years[0])
    options = replace(options, strike=options.underlying * math.exp(away * deviation))
    price = worth(volatility, options)
    if price < 1e-10 * options.underlying[0]:
        return
    found, standing = pricing.implied(np.array([price]), options)
    vega = pricing.greeks(np.array([volatility]), options).vega[0]
    # What the rounding of the price, and of the textbook's difference of two large numbers, leaves undecided.
    slack = 1e-14 * (options.underlying[0] + options.strike[0]) / max(vega, 1e-300)
    if standing[0] == Standing.KNOWN:
        assert found[0] == pytest.approx(volatility, rel=1e-9, abs=10 * slack)
    else:
        assert slack > 0.01 * volatility


@given(st.floats(-3, 3), st.floats(0.01, 2.5), st.booleans())
def test_the_volatility_agrees_with_the_reference_implementation(x: float, deviation: float, is_call: bool) -> None:
    """P. Jäckel's own algorithm, as py_lets_be_rational publishes it."""
    ahead, strike = 100.0, 100.0 * math.exp(-x * deviation)
    sign = 1.0 if is_call else -1.0
    price = py_lets_be_rational.black(ahead, strike, deviation, 1.0, sign)
    time_value = price - max(sign * (ahead - strike), 0.0)
    if time_value < 1e-9:
        return
    expected = py_lets_be_rational.implied_volatility_from_a_transformed_rational_guess(price, ahead, strike, 1.0, sign)
    options = one(ahead, strike, 1.0, is_call, rate=0.0, on_future=True)
    found, standing = pricing.implied(np.array([price]), options)
    assert standing[0] == Standing.KNOWN
    assert found[0] == pytest.approx(expected, abs=1e-6 * expected + 1e-15 * ahead / time_value)


@given(sane, st.floats(0.05, 2))
def test_greeks_are_the_slopes_of_the_price(options: Options, volatility: float) -> None:
    options = replace(options, strike=options.underlying * 1.01, years=np.maximum(options.years, 1 / 365))
    if options.on_future:
        options = replace(options, dividends=0.0)
    found = pricing.greeks(np.array([volatility]), options)
    spot = options.underlying[0]

    def slope(up: float, down: float, step: float) -> float:
        return (up - down) / (2 * step)

    step = 1e-4 * spot
    up, down = (worth(volatility, replace(options, underlying=options.underlying + d)) for d in (step, -step))
    here = worth(volatility, options)
    assert found.delta[0] == pytest.approx(slope(up, down, step), rel=1e-3, abs=1e-5)
    assert found.gamma[0] * spot == pytest.approx((up - 2 * here + down) / step**2 * spot, rel=2e-2, abs=1e-3)
    vega = slope(worth(volatility + 1e-5, options), worth(volatility - 1e-5, options), 1e-5)
    assert found.vega[0] == pytest.approx(vega, rel=1e-4, abs=1e-5 * spot)
    later = 1e-5 * options.years
    theta = slope(
        worth(volatility, replace(options, years=options.years - later)),
        worth(volatility, replace(options, years=options.years + later)),
        later[0],
    )
    assert found.theta[0] == pytest.approx(theta, rel=1e-3, abs=1e-4 * spot)
    rho = slope(
        worth(volatility, replace(options, rate=options.rate + 1e-5)),
        worth(volatility, replace(options, rate=options.rate - 1e-5)),
        1e-5,
    )
    assert found.rho[0] == pytest.approx(rho, rel=1e-4, abs=1e-5 * spot)


anything = st.floats(allow_nan=True, allow_infinity=True)


@given(anything, anything, anything, anything, anything, st.booleans(), st.booleans())
def test_nothing_that_comes_in_makes_a_nan_come_out(
    price: float, underlying: float, strike: float, years: float, volatility: float, is_call: bool, on_future: bool
) -> None:
    options = one(underlying, strike, years, is_call, on_future=on_future)
    found, standing = pricing.implied(np.array([price]), options)
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert (found[0] > 0) == (standing[0] == Standing.KNOWN)
    assert finite(pricing.greeks(found, options, standing))
    assert finite(pricing.greeks(np.array([volatility]), options))


@given(st.floats(1, 1e5), st.floats(1, 1e5), st.floats(-0.01, 3), st.floats(0, 2e5), st.booleans(), st.booleans())
@example(2.0, 35604.0, 5e-324, 35603.0, False, False)
def test_a_quoted_option_always_has_a_defined_result(
    underlying: float, strike: float, years: float, price: float, is_call: bool, on_future: bool
) -> None:
    options = one(underlying, strike, years, is_call, on_future=on_future)
    found, standing = pricing.implied(np.array([price]), options)
    result = pricing.greeks(found, options, standing)
    assert finite(result)
    assert (result.gamma >= 0).all()
    assert (result.vega >= 0).all()
    low, high = (0, 1) if is_call else (-1, 0)
    assert low <= result.delta[0] <= high


@pytest.mark.parametrize(
    ("price", "options", "standing", "delta"),
    [
        (0.0, one(), Standing.NO_PRICE, 0.0),
        (math.nan, one(), Standing.NO_PRICE, 0.0),
        (5.0, one(underlying=0), Standing.NO_PRICE, 0.0),
        (5.0, one(underlying=110, years=0), Standing.EXPIRED, 1.0),
        (5.0, one(underlying=90, years=-1), Standing.EXPIRED, 0.0),
        (9.0, one(underlying=110, dividends=0.0), Standing.INTRINSIC, 1.0),
        (101.0, one(), Standing.ABOVE_BOUND, 0.0),
        (100.0, one(is_call=False), Standing.ABOVE_BOUND, 0.0),
    ],
)
def test_where_there_is_no_volatility_it_is_said_why(
    price: float, options: Options, standing: Standing, delta: float
) -> None:
    found, said = pricing.implied(np.array([price]), options)
    assert (found[0], said[0]) == (0.0, standing)
    assert pricing.greeks(found, options, said).delta[0] == pytest.approx(delta)


def test_deep_options_keep_their_volatility() -> None:
    """A call at a third of the strike and its put: five hundred points of time value beside a rupee's hundredth."""
    for is_call in (True, False):
        options = one(24_000, 40_000, 30 / 365, is_call, rate=0.0, on_future=True)
        found, standing = pricing.implied(np.array([worth(0.9, options)]), options)
        assert standing[0] == Standing.KNOWN
        assert found[0] == pytest.approx(0.9, rel=1e-9)


def test_openalgo_882_a_real_chain_has_the_greeks_that_the_broker_gave_it(shared_data: Path) -> None:
    """NIFTY, the day before its expiry of 2024-06-27. Upstox's figures fit a day to live and the forward that the
    chain itself implies by put-call parity (23857; its spot is another moment's), at no interest."""
    chain = json.loads((shared_data / "option-chain/upstox-NIFTY-2024-06-27.json").read_text())["data"]
    sides = [(row["strike_price"], side, row[side]) for row in chain for side in ("call_options", "put_options")]
    near = [each for each in sides if abs(each[0] - 23_857) <= 350]
    strike = np.array([float(each[0]) for each in near])
    theirs = {name: np.array([each[2]["option_greeks"][name] for each in near]) for name in near[0][2]["option_greeks"]}
    options = Options(
        np.full(len(near), 23_857.0),
        strike,
        np.full(len(near), 1 / 365),
        np.array([each[1] == "call_options" for each in near]),
        rate=0.0,
        on_future=True,
    )
    prices = np.array([float(each[2]["market_data"]["ltp"]) for each in near])
    volatility, standing = pricing.implied(prices, options)
    assert (standing == Standing.KNOWN).all()
    assert np.median(np.abs(100 * volatility - theirs["iv"])) < 0.25
    ours = pricing.greeks(theirs["iv"] / 100, options)
    np.testing.assert_allclose(ours.delta, theirs["delta"], atol=0.005)
    np.testing.assert_allclose(ours.gamma, theirs["gamma"], atol=1e-4)
    np.testing.assert_allclose(ours.vega / 100, theirs["vega"], atol=0.05)
    np.testing.assert_allclose(ours.theta / 365, theirs["theta"], atol=0.5)
