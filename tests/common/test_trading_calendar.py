import os
import subprocess
import sys
from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from libs.common.contracts.enums import Exchange
from libs.common.market_days import MarketDays
from libs.common.settings import MarketHours, SettingsError
from libs.common.special_sessions import SPECIAL_SESSIONS, SpecialSession
from libs.common.trading_calendar import IST, MarketSession, TradingCalendar

ROOT = Path(__file__).resolve().parents[2]
SHARED_DATA = Path(os.environ.get("SHARED_DATA", ROOT / ".." / "shared" / "data"))
CANDLES = SHARED_DATA / "candles-1min"
CALENDAR = TradingCalendar(MarketHours.EXCHANGE)
CONTINUOUS = TradingCalendar(MarketHours.CONTINUOUS)


def ist(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=IST)


def session(exchange: Exchange, day: str, derivative_listed: bool = False) -> MarketSession:
    found = CALENDAR.session(exchange, date.fromisoformat(day), derivative_listed)
    assert found is not None
    return found


def hours(exchange: Exchange, day: str, derivative_listed: bool = False) -> str:
    found = session(exchange, day, derivative_listed)
    return f"{found.open.astimezone(IST):%H:%M}-{found.close.astimezone(IST):%H:%M}"


@pytest.mark.parametrize("day", ["2024-01-26", "2024-11-20", "2025-10-22", "2026-01-15", "2026-11-10", "2026-11-21"])
def test_holidays_and_weekends_have_no_session(day: str) -> None:
    assert CALENDAR.session(Exchange.NSE, date.fromisoformat(day)) is None


@pytest.mark.parametrize("special", SPECIAL_SESSIONS, ids=lambda special: str(special.day))
def test_the_sessions_that_the_library_misses_are_known(special: SpecialSession) -> None:
    assert CALENDAR.session(Exchange.NSE, special.day) is not None
    assert CALENDAR.session(Exchange.NFO, special.day) is not None


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2020-02-01", "09:15-15:30"),
        ("2020-11-14", "18:15-19:15"),
        ("2021-11-04", "18:15-19:15"),
        ("2022-10-24", "18:15-19:15"),
        ("2023-11-12", "18:15-19:15"),
        ("2024-01-20", "09:15-15:30"),
        ("2024-11-01", "18:00-19:00"),
        ("2025-02-01", "09:15-15:30"),
        ("2025-10-21", "13:45-14:45"),
        ("2026-02-01", "09:15-15:30"),
    ],
)
def test_a_special_session_has_its_announced_hours(day: str, expected: str) -> None:
    assert hours(Exchange.NSE, day) == expected


def test_a_muhurat_session_is_for_every_segment_and_a_budget_saturday_for_equities_only() -> None:
    assert hours(Exchange.MCX, "2025-10-21") == hours(Exchange.CDS, "2025-10-21") == "13:45-14:45"
    assert CALENDAR.session(Exchange.MCX, date(2025, 2, 1)) is None


def test_a_drill_day_pauses_between_its_two_parts() -> None:
    drill = session(Exchange.NSE, "2024-03-02")
    assert drill.is_open(ist("2024-03-02 09:59:59"))
    assert not drill.is_open(ist("2024-03-02 10:00"))
    assert drill.is_open(ist("2024-03-02 11:30"))
    assert CALENDAR.next_open(Exchange.NSE, ist("2024-03-02 10:30")) == ist("2024-03-02 11:30")


def test_half_past_three_is_the_close_until_july_2026() -> None:
    assert hours(Exchange.NSE, "2026-07-31", derivative_listed=True) == "09:15-15:30"
    assert hours(Exchange.NFO, "2026-07-31") == hours(Exchange.BFO, "2026-07-31") == "09:15-15:30"


def test_derivatives_trade_until_twenty_to_four_since_august_2026() -> None:
    assert hours(Exchange.NFO, "2026-08-03") == hours(Exchange.BFO, "2026-08-03") == "09:15-15:40"


def test_a_stock_with_derivatives_ends_in_a_closing_auction_since_august_2026() -> None:
    stock = session(Exchange.NSE, "2026-08-03", derivative_listed=True)
    assert stock.close == ist("2026-08-03 15:15")
    assert stock.closing_auction == (ist("2026-08-03 15:15"), ist("2026-08-03 15:35"))
    assert stock.end == ist("2026-08-03 15:35")
    assert stock.in_closing_auction(ist("2026-08-03 15:34:59"))
    assert not stock.is_open(ist("2026-08-03 15:20"))
    assert hours(Exchange.NSE, "2026-08-03") == "09:15-15:30"
    assert session(Exchange.NSE, "2026-08-03").end == ist("2026-08-03 15:30")


def test_currency_trades_nine_to_five() -> None:
    assert hours(Exchange.CDS, "2026-07-01") == hours(Exchange.BCD, "2026-08-04") == "09:00-17:00"


def test_a_currency_contract_trades_until_half_past_noon_on_its_last_day_and_no_other_does() -> None:
    day = date(2026, 11, 26)
    ends = {each: CALENDAR.session(each, day, last_day=True) for each in (Exchange.CDS, Exchange.BCD, Exchange.NFO)}
    closes = {each: session.close for each, session in ends.items() if session}
    noon = ist("2026-11-26 12:30")
    assert closes == {Exchange.CDS: noon, Exchange.BCD: noon, Exchange.NFO: ist("2026-11-26 15:40")}
    assert CONTINUOUS.session(Exchange.CDS, day, last_day=True) == CONTINUOUS.session(Exchange.CDS, day)


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2026-03-06", "09:00-23:55"),
        ("2026-03-09", "09:00-23:30"),
        ("2026-07-01", "09:00-23:30"),
        ("2026-10-30", "09:00-23:30"),
        ("2026-11-02", "09:00-23:55"),
    ],
)
def test_commodities_close_later_while_new_york_is_on_winter_time(day: str, expected: str) -> None:
    assert hours(Exchange.MCX, day) == expected


def test_the_market_is_open_from_its_first_instant_and_not_at_its_last() -> None:
    assert not CALENDAR.is_open(Exchange.NSE, ist("2021-05-25 09:14:59.999999"))
    assert CALENDAR.is_open(Exchange.NSE, ist("2021-05-25 09:15"))
    assert not CALENDAR.is_open(Exchange.NSE, ist("2021-05-25 15:30"))


def test_sessions_are_in_utc() -> None:
    assert session(Exchange.NSE, "2021-05-25").open == datetime(2021, 5, 25, 3, 45, tzinfo=UTC)
    assert session(Exchange.NSE, "2021-05-25").open.tzinfo is UTC


def test_the_trading_day_is_the_indian_date() -> None:
    assert CALENDAR.trading_day(datetime(2021, 5, 24, 18, 29, tzinfo=UTC)) == date(2021, 5, 24)
    assert CALENDAR.trading_day(datetime(2021, 5, 24, 18, 30, tzinfo=UTC)) == date(2021, 5, 25)


def test_the_next_open_is_now_while_open_and_after_the_weekend_on_a_friday_night() -> None:
    assert CALENDAR.next_open(Exchange.NSE, ist("2021-05-25 12:00")) == ist("2021-05-25 12:00")
    assert CALENDAR.next_open(Exchange.NSE, ist("2021-05-25 08:00")) == ist("2021-05-25 09:15")
    assert CALENDAR.next_open(Exchange.NSE, ist("2021-05-21 16:00")) == ist("2021-05-24 09:15")


def test_the_previous_trading_day_skips_weekends_and_holidays() -> None:
    assert CALENDAR.previous_trading_day(Exchange.NSE, date(2021, 5, 24)) == date(2021, 5, 21)
    assert CALENDAR.previous_trading_day(Exchange.NSE, date(2026, 11, 11)) == date(2026, 11, 9)


def test_continuous_hours_trade_every_indian_day_from_midnight_to_midnight() -> None:
    sunday = CONTINUOUS.session(Exchange.NSE, date(2026, 11, 22))
    assert sunday == MarketSession(ist("2026-11-22 00:00"), ist("2026-11-23 00:00"))
    assert CONTINUOUS.is_open(Exchange.MCX, ist("2026-11-22 03:00"))
    assert CONTINUOUS.previous_trading_day(Exchange.NSE, date(2026, 11, 23)) == date(2026, 11, 22)


def sessions_of(calendar: TradingCalendar, year: int) -> list[date]:
    days = [date(year, 1, 1) + timedelta(days=n) for n in range(366)]
    return [day for day in days if day.year == year and calendar.session(Exchange.NSE, day)]


def test_after_the_last_known_day_weekdays_trade_but_for_the_national_holidays() -> None:
    assert CALENDAR.known_until == date(2026, 12, 31)
    traded = sessions_of(CALENDAR, 2027)
    assert all(day.weekday() < 5 for day in traded)
    assert len(traded) == 261 - len([date(2027, 1, 26)])  # in 2027 the other national holidays are on weekends
    assert date(2027, 1, 1) in traded
    assert CALENDAR.is_open(Exchange.NSE, ist("2027-01-01 12:00"))
    closed = ["2027-01-26", "2028-01-26", "2028-05-01", "2028-08-15", "2028-10-02", "2028-12-25"]
    assert not any(CALENDAR.session(Exchange.MCX, date.fromisoformat(day)) for day in closed)


def test_the_table_of_holidays_says_what_the_library_knows_whatever_the_year_of_the_machine() -> None:
    """By itself it tells one year from the machine's date; the rest of that year would be nothing but holidays."""
    code = """
import exchange_calendars.exchange_calendar as library, pandas
library.GLOBAL_DEFAULT_END = pandas.Timestamp("2026-06-01")
from tools import holidays
print(holidays.module(), end="")
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    generated = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert (ROOT / "libs" / "common" / "holidays.py").read_text() == generated, "run: make topology"


NAMED = MarketDays.model_validate_json("""
    {"known_until": "2027-12-31",
     "holidays": [{"day": "2027-03-22", "name": "Holi"}, {"day": "2026-11-25", "name": "an election"}],
     "sessions": [{"day": "2027-10-29", "name": "Muhurat", "hours": [["18:00", "19:00"]]},
                  {"day": "2027-01-30", "name": "budget Saturday", "exchanges": ["NSE", "NFO"]},
                  {"day": "2027-03-22", "name": "Holi, evening", "exchanges": ["MCX"], "hours": [["17:00", "23:30"]]}]}
""")


def test_an_operator_names_holidays_and_sessions_without_a_release() -> None:
    named = TradingCalendar(MarketHours.EXCHANGE, NAMED)
    assert named.known_until == date(2027, 12, 31)
    assert named.session(Exchange.NSE, date(2027, 3, 22)) is None
    assert named.session(Exchange.NSE, date(2026, 11, 25)) is None
    assert CALENDAR.session(Exchange.NSE, date(2026, 11, 25)) is not None
    assert not named.is_open(Exchange.MCX, ist("2027-03-22 16:59"))
    assert named.is_open(Exchange.MCX, ist("2027-03-22 17:00"))
    assert named.is_open(Exchange.NSE, ist("2027-10-29 18:30"))
    assert named.is_open(Exchange.NFO, ist("2027-01-30 12:00"))
    assert named.session(Exchange.MCX, date(2027, 1, 30)) is None


def test_a_status_page_tells_to_which_day_holidays_are_known_and_whether_today_is_a_guess() -> None:
    known = [calendar.status(ist("2027-01-04 10:00")) for calendar in (CONTINUOUS, CALENDAR)]
    named = TradingCalendar(MarketHours.EXCHANGE, NAMED).status(ist("2027-01-04 10:00"))
    assert [tuple(each.values()) for each in (*known, named)] == [
        (None, False),
        (date(2026, 12, 31), True),
        (date(2027, 12, 31), False),
    ]


def test_the_operators_days_are_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKET_DAYS", NAMED.model_dump_json())
    assert TradingCalendar(MarketHours.EXCHANGE).known_until == date(2027, 12, 31)


@pytest.mark.parametrize(
    "wrong",
    [
        '{"holidays": [{"day": "22 March"}]}',
        '{"holiday": []}',
        '{"sessions": [{"day": "2027-10-29", "name": "Muhurat", "hours": [["19:00", "18:00"]]}]}',
        '{"sessions": [{"day": "2027-10-29", "name": "in UTC", "hours": [["12:30Z", "13:30Z"]]}]}',
        '{"sessions": [{"day": "2027-10-29", "name": "one of two", "hours": [["18:00", "19:00+05:30"]]}]}',
        '{"sessions": [{"day": "2027-10-29", "name": "no text", "hours": [[18, 19]]}]}',
        '{"sessions": [{"day": "2027-10-30", "name": "drill", "hours": [["09:15", "10:00"]]}, '
        '{"day": "2027-10-30", "name": "its second part", "exchanges": ["NSE"], "hours": [["11:30", "12:30"]]}]}',
    ],
)
def test_what_an_operator_misspells_stops_the_start_by_name(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("MARKET_DAYS", wrong)
    with pytest.raises(SettingsError, match="MARKET_DAYS"):
        TradingCalendar(MarketHours.EXCHANGE)


def test_provisional_sessions_are_warned_of_once_a_day_and_a_month_before() -> None:
    calendar = TradingCalendar(MarketHours.EXCHANGE, MarketDays())
    moments = ["2026-11-30 10:00", "2026-12-02 10:00", "2026-12-02 11:00", "2027-01-01 10:00", "2026-12-31 10:00"]
    with capture_logs() as logged:
        for each in moments:
            calendar.is_open(Exchange.NSE, ist(each))
    said = [(line["event"], line["log_level"], line["day"], line["provisional"]) for line in logged]
    assert said == [
        ("holidays_unknown", "warning", "2026-12-02", False),
        ("holidays_unknown", "warning", "2027-01-01", True),
    ]
    assert [calendar.is_provisional(date(2026, 12, 31)), calendar.is_provisional(date(2027, 1, 1))] == [False, True]


def test_markets_that_never_close_have_nothing_to_warn_of() -> None:
    with capture_logs() as logged:
        assert CONTINUOUS.is_open(Exchange.NSE, ist("2027-01-26 03:00"))
    assert logged == []
    assert not CONTINUOUS.is_provisional(date(2050, 1, 1))


@pytest.mark.skipif(not CANDLES.is_dir(), reason="the recorded candles are not on this machine")
def test_the_days_with_recorded_candles_are_exactly_the_sessions_of_their_months() -> None:
    recorded = {
        datetime.strptime(line.split(",")[1], "%Y%m%d").replace(tzinfo=IST).date()
        for file in CANDLES.glob("NIFTY-*.csv")
        for line in file.read_text().splitlines()
    }
    months = {(day.year, day.month) for day in recorded}
    for year, month in months:
        days = [date(year, month, number + 1) for number in range(monthrange(year, month)[1])]
        sessions = {day for day in days if CALENDAR.session(Exchange.NSE, day)}
        assert sessions == {day for day in recorded if (day.year, day.month) == (year, month)}
