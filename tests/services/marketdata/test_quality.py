import io
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import polars as pl
import pytest

from libs.common.contracts.enums import Exchange
from libs.common.contracts.ids import InstrumentId
from libs.common.settings import MarketHours
from libs.common.trading_calendar import TradingCalendar
from services.marketdata.adapters import candle_files
from services.marketdata.adapters.candle_files import Form
from services.marketdata.domain.quality import Gap, Minute, judge
from services.marketdata.memory import MarketMemory
from services.marketdata.settings import BarLabel
from services.marketdata.store.series import TimeSeries
from tests.services.marketdata.samples import OPEN, tick
from tests.services.marketdata.test_history import candle, write

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
CLOSE = OPEN + timedelta(minutes=20)


def minutes(*prices: float) -> list[Minute]:
    """A candle a minute that opens where the one before closed."""
    opens = (prices[0], *prices)
    return [
        Minute(OPEN + n * MINUTE, opened, max(opened, close), min(opened, close), close, 10 + n)
        for n, (opened, close) in enumerate(zip(opens, prices, strict=False))
    ]


QUIET = minutes(*(100 + n % 3 / 10 for n in range(20)))


def test_a_whole_and_quiet_day_has_nothing_to_report() -> None:
    found = judge(QUIET, OPEN, CLOSE)
    assert (found.candles, found.expected) == (20, 20)
    assert not any((found.gaps, found.outside_session, found.duplicates, found.invalid, found.spikes))


def test_openalgo_573_missing_minutes_are_gaps_at_the_beginning_in_the_middle_and_at_the_end() -> None:
    found = judge([*QUIET[1:5], *QUIET[7:18]], OPEN, CLOSE)
    assert found.gaps == [
        Gap(OPEN, OPEN + MINUTE, 1),
        Gap(OPEN + 5 * MINUTE, OPEN + 7 * MINUTE, 2),
        Gap(OPEN + 18 * MINUTE, CLOSE, 2),
    ]


def test_a_day_without_a_candle_is_one_gap() -> None:
    assert judge([], OPEN, CLOSE).gaps == [Gap(OPEN, CLOSE, 20)]


def test_a_price_that_leaves_its_neighbours_and_comes_back_is_a_spike() -> None:
    wild = [*QUIET]
    wild[8] = wild[8]._replace(high=110.0)
    (spike,) = judge(wild, OPEN, CLOSE).spikes
    assert (spike.start, spike.price) == (OPEN + 8 * MINUTE, 110.0)
    assert 0.09 < spike.departure < 0.1


def test_a_market_that_moves_and_stays_is_no_spike() -> None:
    assert judge(minutes(*[100.0] * 10, *[110.0] * 10), OPEN, CLOSE).spikes == []


def test_a_candle_that_copies_the_one_before_is_a_duplicate() -> None:
    copied = [*QUIET]
    copied[5] = copied[4]._replace(start=copied[5].start)
    assert judge(copied, OPEN, CLOSE).duplicates == [OPEN + 5 * MINUTE]


@pytest.mark.parametrize(
    "wrong",
    [
        QUIET[3]._replace(high=99.0),
        QUIET[3]._replace(low=101.0),
        QUIET[3]._replace(low=0.0),
        QUIET[3]._replace(close=-1.0),
    ],
)
def test_an_impossible_candle_is_told(wrong: Minute) -> None:
    broken = [*QUIET]
    broken[3] = wrong
    assert judge(broken, OPEN, CLOSE).invalid == [OPEN + 3 * MINUTE]


def test_candles_from_outside_the_session_are_told_and_fill_no_gap() -> None:
    early = QUIET[0]._replace(start=OPEN - 8 * MINUTE)
    found = judge([early, *QUIET], OPEN, CLOSE)
    assert (found.outside_session, found.gaps) == ([early.start], [])


def test_a_break_of_the_session_is_no_gap_and_what_lies_in_it_is_outside() -> None:
    pause = (OPEN + 5 * MINUTE, OPEN + 10 * MINUTE)
    found = judge([*QUIET[:5], *QUIET[10:18]], OPEN, CLOSE, breaks=[pause])
    assert (found.expected, found.outside_session) == (15, [])
    assert found.gaps == [Gap(OPEN + 18 * MINUTE, CLOSE, 2)]
    stray = judge(QUIET, OPEN, CLOSE, breaks=[pause])
    assert (stray.gaps, stray.outside_session) == ([], [each.start for each in QUIET[5:10]])


async def test_a_day_that_was_traded_in_two_parts_is_judged_by_them(
    client: httpx.AsyncClient, memory: MarketMemory, name: InstrumentId
) -> None:
    """The drill of 2 March 2024: 9:15 to 10:00, and 11:30 to 12:30."""
    memory.calendar = TradingCalendar(MarketHours.EXCHANGE)
    report = (await client.get(f"/history/{name}/quality", params={"day": "2024-03-02"})).json()
    assert (report["expected"], [gap["minutes"] for gap in report["gaps"]]) == (105, [45, 60])


async def test_the_closing_auction_is_inside_the_session_and_none_of_its_minutes_is_missed(
    client: httpx.AsyncClient, memory: MarketMemory, name: InstrumentId, series: TimeSeries
) -> None:
    """Stocks with derivatives trade in it until 15:35; which do, prices alone do not say."""
    memory.calendar = TradingCalendar(MarketHours.EXCHANGE)
    auction, after = OPEN + timedelta(hours=6, minutes=19), OPEN + timedelta(hours=6, minutes=20)
    await write(series, [candle(name, auction), candle(name, after)])
    await series.applied("candles")
    report = (await client.get(f"/history/{name}/quality", params={"day": OPEN.date().isoformat()})).json()
    assert [datetime.fromisoformat(each) for each in report["outside_session"]] == [after]
    assert (report["expected"], [gap["minutes"] for gap in report["gaps"]]) == (375, [375])


def test_recorded_days_are_judged_as_they_are_known_to_be(shared_data: Path) -> None:
    """June 2021: no minute is missing; a pre-open print at 09:08, and one or two after the close."""
    content = io.BytesIO((shared_data / "candles-1min/NIFTY-2021-JUN.csv").read_bytes())
    nifty = InstrumentId("NSE_INDEX:NIFTY")
    whole = pl.concat(candle_files.candles(content, Form.CSV, BarLabel.END, nifty, None))
    calendar = TradingCalendar(MarketHours.EXCHANGE)
    for day, outside in ((10, 3), (11, 2)):
        session = calendar.session(Exchange.NSE_INDEX, datetime(2021, 6, day).date())  # noqa: DTZ001 - a date
        assert session is not None
        rows = whole.filter(whole["start"].is_between(session.open - HOUR, session.close + HOUR))
        found = judge([Minute(*row[:6]) for row in rows.iter_rows()], session.open, session.close)
        assert (found.expected, found.gaps) == (375, [])
        assert len(found.outside_session) == outside
        assert not found.invalid


async def test_the_report_counts_ticks_that_say_what_the_one_before_had_said(
    client: httpx.AsyncClient, name: InstrumentId, series: TimeSeries
) -> None:
    said = [(0, 100, 5), (1, 100, 5), (2, 100, 6), (3, 101, 6), (4, 101, 6), (5, 101, 6)]
    await write(series, [], [tick(seconds, price, volume, name) for seconds, price, volume in said])
    await series.applied("ticks")
    report = (await client.get(f"/history/{name}/quality", params={"day": OPEN.date().isoformat()})).json()
    assert (report["ticks"], report["repeated_ticks"], report["candles"]) == (6, 3, 0)
