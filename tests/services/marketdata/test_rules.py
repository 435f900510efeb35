"""The dated tables against the dumps that brokers really published."""

import csv
import gzip
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from libs.common.contracts.enums import Exchange
from libs.common.settings import MarketHours
from libs.common.trading_calendar import TradingCalendar
from services.marketdata.adapters.simulator.universe import expiries
from services.marketdata.domain import rules
from services.marketdata.domain.rules import INDEX_RULES

CALENDAR = TradingCalendar(MarketHours.EXCHANGE)
ZERODHA = "masters/zerodha/instruments-nfo-bfo-2026-08.csv"
UPSTOX = "masters/upstox/NSE-2025-08-14.csv.gz"
LISTED_SINCE = date(2026, 8, 18)
INDICES = ("NIFTY", "BANKNIFTY", "FINNIFTY", "MIDCPNIFTY", "NIFTYNXT50", "SENSEX", "BANKEX")


@pytest.fixture(scope="module")
def zerodha(shared_data: Path) -> list[dict[str, str]]:
    with (shared_data / ZERODHA).open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["name"] in INDEX_RULES]


@pytest.mark.parametrize("underlying", INDICES)
def test_lots_and_future_ticks_agree_with_the_2026_master(underlying: str, zerodha: list[dict[str, str]]) -> None:
    rows = [row for row in zerodha if row["name"] == underlying]
    lots = {rules.lot_size(INDEX_RULES[underlying], date.fromisoformat(row["expiry"])) for row in rows}
    assert {int(row["lot_size"]) for row in rows} == lots
    assert {Decimal(row["tick_size"]) for row in rows if row["instrument_type"] != "FUT"} == {rules.OPTION_TICK}


def test_future_ticks_follow_the_level_of_the_index(zerodha: list[dict[str, str]]) -> None:
    levels = {"NIFTY": 24400, "BANKNIFTY": 57000, "FINNIFTY": 26600, "MIDCPNIFTY": 14500, "NIFTYNXT50": 71500}
    for row in zerodha:
        if row["instrument_type"] == "FUT" and row["name"] in levels:
            assert Decimal(row["tick_size"]) == rules.future_tick(Decimal(levels[row["name"]])), row["tradingsymbol"]


@pytest.mark.parametrize("underlying", ["NIFTY", "BANKNIFTY"])
def test_coming_expiries_agree_with_the_2026_master(underlying: str, zerodha: list[dict[str, str]]) -> None:
    index = INDEX_RULES[underlying]
    coming = expiries(index, LISTED_SINCE, CALENDAR)
    listed = {date.fromisoformat(row["expiry"]) for row in zerodha if row["name"] == underlying}
    monthly = {
        date.fromisoformat(row["expiry"])
        for row in zerodha
        if row["name"] == underlying and row["instrument_type"] == "FUT"
    }
    assert set(coming.monthly) == monthly
    assert set(coming.weekly) <= listed
    assert bool(coming.weekly) is (underlying == "NIFTY")


@pytest.mark.parametrize("underlying", ["SENSEX", "NIFTY"])
def test_weekly_expiries_of_both_exchanges_agree_with_the_2026_master(
    underlying: str, zerodha: list[dict[str, str]]
) -> None:
    coming = expiries(INDEX_RULES[underlying], LISTED_SINCE, CALENDAR).weekly
    listed = sorted({date.fromisoformat(row["expiry"]) for row in zerodha if row["name"] == underlying})
    assert list(coming) == listed[: len(coming)]


def test_lots_of_2025_and_the_move_to_tuesday_agree_with_the_2025_master(shared_data: Path) -> None:
    with gzip.open(shared_data / UPSTOX, "rt", newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["exchange"] == "NSE_FO" and r["name"] in INDEX_RULES]
    soon = [row for row in rows if row["expiry"] < "2025-12-01"]
    assert {row["name"] for row in soon} >= {"NIFTY", "BANKNIFTY"}
    for row in soon:
        expiry = date.fromisoformat(row["expiry"])
        assert int(row["lot_size"]) == rules.lot_size(INDEX_RULES[row["name"]], expiry), row
    nifty = {date.fromisoformat(row["expiry"]) for row in soon if row["name"] == "NIFTY"}
    assert set(expiries(INDEX_RULES["NIFTY"], date(2025, 8, 14), CALENDAR).weekly) <= nifty
    assert date(2025, 8, 28) in nifty
    assert date(2025, 9, 2) in nifty


def test_a_contract_expires_the_trading_day_before_a_holiday() -> None:
    """Tuesday 24 November 2026 is Guru Nanak Jayanti."""
    assert CALENDAR.session(Exchange.NFO, date(2026, 11, 24)) is None
    assert expiries(INDEX_RULES["NIFTY"], date(2026, 11, 18), CALENDAR).weekly[0] == date(2026, 11, 23)


def test_on_its_last_day_a_contract_is_still_listed_and_the_day_after_it_is_not() -> None:
    nifty = INDEX_RULES["NIFTY"]
    assert expiries(nifty, date(2026, 11, 23), CALENDAR).weekly[0] == date(2026, 11, 23)
    assert expiries(nifty, date(2026, 11, 24), CALENDAR).weekly[0] == date(2026, 12, 1)


def test_a_freeze_is_floored_to_whole_lots() -> None:
    bank = INDEX_RULES["BANKNIFTY"]
    assert rules.freeze_quantity(bank, date(2025, 8, 14), lot=35) == 595
    assert rules.freeze_quantity(bank, date(2026, 11, 20), lot=30) == 600
    assert rules.freeze_quantity(INDEX_RULES["NIFTY"], date(2026, 11, 20), lot=65) == 1755


def test_ticks_of_stocks_agree_with_the_2026_master_but_for_prices_near_a_border(shared_data: Path) -> None:
    with (shared_data / "bhavcopy-nse/2026-07-31.csv").open() as file:
        closes = {
            row[0]: Decimal(row[8].strip()) for row in csv.reader(file) if row[1].strip() == "EQ" and row[0] != "SYMBOL"
        }
    with (shared_data / "masters/dhan/api-scrip-master-2026-07-01.csv").open(newline="", encoding="utf-8") as file:
        ticks = {
            row["SEM_TRADING_SYMBOL"]: Decimal(row["SEM_TICK_SIZE"]) / 100
            for row in csv.DictReader(file)
            if (row["SEM_EXM_EXCH_ID"], row["SEM_SERIES"]) == ("NSE", "EQ") and row["SEM_EXCH_INSTRUMENT_TYPE"] == "ES"
        }
    clear = [
        (symbol, close)
        for symbol, close in closes.items()
        if symbol in ticks and rules.cash_tick(close * Decimal("0.6")) == rules.cash_tick(close * Decimal("1.6"))
    ]
    assert len(clear) > 200
    wrong = [symbol for symbol, close in clear if rules.cash_tick(close) != ticks[symbol]]
    assert len(wrong) < 0.02 * len(clear), wrong


def test_strikes_are_centred_on_the_money_and_positive() -> None:
    strikes = rules.strikes_around(Decimal("24410.35"), Decimal(50), 20)
    assert [strikes[0], strikes[20], strikes[-1]] == [Decimal(23400), Decimal(24400), Decimal(25400)]
    assert min(rules.strikes_around(Decimal(100), Decimal(50), 20)) == 50
