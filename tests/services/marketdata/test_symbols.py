from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.enums import Exchange, OptionType
from services.marketdata.domain.symbols import Future, Option, Spot, Symbol, instrument_id, parse, split

names = st.from_regex(r"[A-Z][A-Z0-9&-]{0,14}", fullmatch=True)
expiries = st.dates(date(2020, 1, 1), date(2099, 12, 31))
strikes = st.decimals("0.5", "200000", places=2).filter(lambda strike: strike > 0)
derivatives: st.SearchStrategy[Symbol] = st.one_of(
    st.builds(Future, names, expiries),
    st.builds(Option, names, expiries, strikes, st.sampled_from(OptionType)),
)


@pytest.mark.parametrize(
    ("text", "symbol"),
    [
        ("NIFTY29DEC26FUT", Future("NIFTY", date(2026, 12, 29))),
        ("NIFTY29DEC2624000CE", Option("NIFTY", date(2026, 12, 29), Decimal(24000), OptionType.CE)),
        ("VEDL24APR25292.5CE", Option("VEDL", date(2025, 4, 24), Decimal("292.5"), OptionType.CE)),
        ("NIFTYNXT5029DEC2671500PE", Option("NIFTYNXT50", date(2026, 12, 29), Decimal(71500), OptionType.PE)),
        ("BAJAJ-AUTO29DEC2611000PE", Option("BAJAJ-AUTO", date(2026, 12, 29), Decimal(11000), OptionType.PE)),
        ("M&M29DEC26FUT", Future("M&M", date(2026, 12, 29))),
    ],
)
def test_a_derivative_symbol_is_read_as_openalgo_writes_it(text: str, symbol: Symbol) -> None:
    assert parse(Exchange.NFO, text) == symbol
    assert str(symbol) == text


@given(derivatives)
def test_every_derivative_symbol_survives_a_round_trip(symbol: Symbol) -> None:
    assert parse(Exchange.NFO, str(symbol)) == symbol


def test_an_equity_symbol_is_its_name_even_when_it_looks_like_a_future() -> None:
    assert parse(Exchange.NSE, "SBIN") == Spot("SBIN")
    assert parse(Exchange.NSE, "ABC29DEC26FUT") == Spot("ABC29DEC26FUT")


@pytest.mark.parametrize(
    "text", ["NIFTY", "NIFTY31FEB26FUT", "NIFTY29DEC26", "nifty29DEC26FUT", " NIFTY29DEC26FUT", ""]
)
def test_text_that_names_no_derivative_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"symbol|day"):
        parse(Exchange.NFO, text)


def test_an_instrument_is_its_exchange_and_symbol() -> None:
    assert instrument_id(Exchange.NFO, Future("NIFTY", date(2026, 12, 29))) == "NFO:NIFTY29DEC26FUT"
    assert split("NSE_INDEX:NIFTY") == (Exchange.NSE_INDEX, "NIFTY")


@pytest.mark.parametrize("text", ["SBIN", "NSE:", "NYSE:IBM", ""])
def test_an_instrument_without_a_known_exchange_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"EXCHANGE:SYMBOL|Exchange"):
        split(text)
