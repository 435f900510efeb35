"""What the words of a search mean, and what misspelled ones may."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.enums import OptionType
from services.gateway.domain.search import Query, parse, underlyings_of
from services.gateway.domain.spelling import Vocabulary

WORDS = ("nifty", "banknifty", "reliance", "industries", "infosys", "adani", "state", "bank", "steel", "maruti")
KNOWN = Vocabulary(WORDS)


def test_words_are_sorted_by_what_they_can_be() -> None:
    assert parse("nifty 24000 ce dec") == Query("NIFTY24000CEDEC", ("NIFTY",), ("24000",), 12, OptionType.CE)
    assert parse("banknifty mar fut") == Query("BANKNIFTYMARFUT", ("BANKNIFTY",), (), 3, future=True)
    assert parse("mar") == Query("MAR", ("MAR",))
    assert parse("24000 put") == Query("24000PUT", (), ("24000",), None, OptionType.PE)
    assert parse("  ").is_empty


@pytest.mark.parametrize(("typed", "nothing"), [("😀", True), ("+ ?", True), ("स्टेट", True), ("😀 sbin", False)])
def test_what_has_no_letter_of_any_symbol_says_nothing(typed: str, nothing: bool) -> None:
    """It would find everything."""
    assert parse(typed).says_nothing == nothing


def test_a_number_that_belongs_to_the_underlyings_name_is_no_strike() -> None:
    found = underlyings_of(parse("niftynxt50 68000"), ["NIFTY", "NIFTYNXT50", "BANKNIFTY"])
    assert found == [("NIFTYNXT50", ("68000",))]


def test_the_shortest_of_the_underlyings_that_begin_so_comes_first() -> None:
    assert [name for name, _ in underlyings_of(parse("nif"), ["NIFTYNXT50", "NIFTY", "SBIN"])] == [
        "NIFTY",
        "NIFTYNXT50",
    ]
    assert [name for name, _ in underlyings_of(parse("bajaj auto"), ["BAJAJ-AUTO", "BAJAJFINSV"])] == ["BAJAJ-AUTO"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("nitfy", "nifty"), ("relaince", "reliance"), ("industreis", "industries"), ("stell", "steel"), ("baank", "bank")],
)
def test_a_slip_leads_to_the_word_that_was_meant(typed: str, meant: str) -> None:
    assert KNOWN.meant_by(typed)[0] == meant


def test_a_number_or_a_word_like_no_other_means_nothing() -> None:
    assert KNOWN.meant_by("24000") == KNOWN.meant_by("zzzzzz") == KNOWN.meant_by("xy") == []


@given(st.sampled_from([word for word in WORDS if len(word) > 4]), st.data())
def test_one_letter_too_few_or_two_swapped_are_always_forgiven(word: str, data: st.DataObject) -> None:
    n = data.draw(st.integers(0, len(word) - 2))
    for typed in (word[:n] + word[n + 1 :], word[:n] + word[n + 1] + word[n] + word[n + 2 :]):
        assert word in KNOWN.meant_by(typed)
