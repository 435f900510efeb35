"""Which strike a rule means."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.enums import OptionType, StrikeRule
from services.strategy.domain.chain import choose_strike

STRIKES = st.lists(st.integers(1, 2000).map(lambda n: Decimal(n * 50)), min_size=1, unique=True).map(sorted)
SPOTS = st.decimals(1, 120_000, places=2)


@given(STRIKES, SPOTS)
def test_openalgo_475_at_the_money_is_the_nearest_listed_strike_and_the_lower_of_two(
    strikes: list[Decimal], spot: Decimal
) -> None:
    chosen = choose_strike(StrikeRule.ATM, 0, OptionType.CE, strikes, spot)
    assert chosen in strikes
    assert chosen is not None
    for other in strikes:
        assert (abs(chosen - spot), chosen) <= (abs(other - spot), other)


@given(STRIKES, SPOTS, st.integers(1, 30), st.sampled_from(OptionType))
def test_out_of_the_money_counts_listed_strikes_away_from_the_spot(
    strikes: list[Decimal], spot: Decimal, offset: int, option_type: OptionType
) -> None:
    at_the_money = choose_strike(StrikeRule.ATM, 0, option_type, strikes, spot)
    assert at_the_money is not None
    out = choose_strike(StrikeRule.OTM, offset, option_type, strikes, spot)
    inside = choose_strike(StrikeRule.ITM, offset, option_type, strikes, spot)
    above, below = (out, inside) if option_type is OptionType.CE else (inside, out)
    if above is not None:
        assert sum(at_the_money < strike <= above for strike in strikes) == offset
    else:
        assert sum(strike > at_the_money for strike in strikes) < offset
    if below is not None:
        assert sum(below <= strike < at_the_money for strike in strikes) == offset
    else:
        assert sum(strike < at_the_money for strike in strikes) < offset


@pytest.mark.parametrize(
    ("rule", "offset", "option_type", "strike"),
    [
        (StrikeRule.ATM, 0, OptionType.CE, 24_000),
        (StrikeRule.ATM, 2, OptionType.PE, 24_100),
        (StrikeRule.ATM, -1, OptionType.CE, 23_950),
        (StrikeRule.OTM, 2, OptionType.CE, 24_100),
        (StrikeRule.OTM, 2, OptionType.PE, 23_900),
        (StrikeRule.ITM, 1, OptionType.CE, 23_950),
        (StrikeRule.ITM, 1, OptionType.PE, 24_050),
    ],
)
def test_strikes_from_a_spot_between_two(rule: StrikeRule, offset: int, option_type: OptionType, strike: int) -> None:
    strikes = [Decimal(24_000 + 50 * n) for n in range(-10, 11)]
    assert choose_strike(rule, offset, option_type, strikes, Decimal("24025")) == strike


def test_beyond_the_list_there_is_no_strike() -> None:
    assert choose_strike(StrikeRule.ATM, -1, OptionType.CE, [Decimal(100)], Decimal(100)) is None
    assert choose_strike(StrikeRule.ATM, 0, OptionType.CE, [], Decimal(100)) is None
