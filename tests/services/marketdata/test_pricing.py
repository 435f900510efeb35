import json
from datetime import date
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.marketdata.domain import pricing


def test_prices_agree_with_the_published_vectors(shared_data: Path) -> None:
    vectors = json.loads((shared_data / "optpricing/vollib-test_data.json").read_text())
    columns = dict(zip(vectors["columns"], np.array(vectors["data"], dtype=float).T, strict=True))
    spot, strike, rate, years, volatility = (columns[name] for name in ("S", "K", "R", "t", "v"))
    for name, is_call in (("bs_call", True), ("bs_put", False)):
        price = np.array(
            [
                pricing.black_scholes(
                    spot[n : n + 1],
                    strike[n : n + 1],
                    years[n : n + 1],
                    volatility[n : n + 1],
                    np.array([is_call]),
                    rate=rate[n],
                    dividends=0.0,
                )[0]
                for n in range(len(spot))
            ]
        )
        np.testing.assert_allclose(price, columns[name], rtol=1e-6, atol=1e-6)


chains = st.tuples(st.floats(5_000, 90_000), st.floats(0.08, 0.6), st.floats(1 / 365, 1.0))


@given(chains)
def test_a_chain_on_the_smile_offers_no_free_money_between_strikes(chain: tuple[float, float, float]) -> None:
    """A call is worth less, a put more, at every higher strike; parity holds at each."""
    level, volatility, time_left = chain
    strike = np.linspace(0.8, 1.2, 41) * level
    spot, years = np.full(41, level), np.full(41, time_left)
    smiled = pricing.smile(np.full(41, volatility), spot, strike, years)
    calls = pricing.black_scholes(spot, strike, years, smiled, np.ones(41, dtype=bool))
    puts = pricing.black_scholes(spot, strike, years, smiled, np.zeros(41, dtype=bool))
    tolerance = 1e-9 * level
    assert (np.diff(calls) <= tolerance).all()
    assert (np.diff(puts) >= -tolerance).all()
    parity = np.exp(-pricing.RISK_FREE_RATE * years) * (pricing.forward(spot, years) - strike)
    np.testing.assert_allclose(calls - puts, parity, atol=1e-6 * level)


def test_a_real_chain_is_priced_within_a_few_per_cent_near_the_money(shared_data: Path) -> None:
    """NIFTY on its expiry day of 2024-06-27, as Upstox served it, with the volatility it quotes itself."""
    chain = json.loads((shared_data / "option-chain/upstox-NIFTY-2024-06-27.json").read_text())["data"]
    spot = chain[0]["underlying_spot_price"]
    assert {row["expiry"] for row in chain} == {str(date(2024, 6, 27))}
    near = [row for row in chain if abs(row["strike_price"] - spot) <= 150]
    assert near
    for row in near:
        option = row["call_options"]
        value = pricing.black_scholes(
            np.array([spot]),
            np.array([float(row["strike_price"])]),
            np.array([1.0 / 365]),
            np.array([option["option_greeks"]["iv"] / 100]),
            np.array([True]),
        )[0]
        intrinsic = max(spot - row["strike_price"], 0)
        assert intrinsic - 1 <= value <= option["market_data"]["ltp"] * 3 + 50
