from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import CandleClosed, Tick
from services.marketdata.adapters.replay.recordings import clean, read_ticks
from services.marketdata.domain.candles import LATENESS, CandleBook, bar_of
from tests.services.marketdata.samples import OPEN, SBIN, tick

ticks = st.lists(
    st.builds(
        tick,
        seconds=st.integers(0, 400),
        ltp=st.floats(90, 110).map(lambda price: round(price, 2)),
        volume=st.integers(0, 10_000),
        instrument=st.sampled_from([SBIN, InstrumentId("NSE:INFY")]),
    ),
    min_size=1,
    max_size=60,
)


def candles_of(some: Sequence[Tick]) -> list[CandleClosed]:
    book = CandleBook()
    for each in some:
        book.add(each)
    closed = book.close(OPEN + timedelta(hours=7))
    return sorted(closed, key=lambda candle: (candle.start, candle.instrument))


@given(ticks, st.randoms(use_true_random=False), st.integers(0, 20))
def test_any_order_and_duplication_of_ticks_makes_the_same_candles(
    some: list[Tick], random: object, repeated: int
) -> None:
    shuffled = some + some[:repeated]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert candles_of(shuffled) == candles_of(some)


@given(st.lists(st.builds(tick, seconds=st.integers(0, 59), volume=st.integers(0, 9)), min_size=3, max_size=3))
def test_merging_bars_is_commutative_associative_and_idempotent(some: list[Tick]) -> None:
    a, b, c = map(bar_of, some)
    assert a.merge(b) == b.merge(a)
    assert a.merge(b).merge(c) == a.merge(b.merge(c))
    assert a.merge(a) == a


def test_a_candle_holds_its_minute_from_the_first_instant_to_just_before_the_next() -> None:
    closed = candles_of([tick(0, 100, 10), tick(30, 105, 20), tick(59.999, 99, 30), tick(60, 101, 35)])
    first, second = closed
    assert (first.open, first.high, first.low, first.close, first.volume) == (100, 105, 99, 99, 30)
    assert first.start == OPEN
    assert (second.open, second.volume) == (101, 5)


def test_a_minute_is_closed_only_after_its_lateness() -> None:
    book = CandleBook()
    book.add(tick(10))
    assert book.close(OPEN + timedelta(minutes=1)) == []
    assert len(book.close(OPEN + timedelta(minutes=1) + LATENESS)) == 1


def test_a_tick_after_its_candle_was_closed_is_counted_and_changes_nothing() -> None:
    book = CandleBook()
    book.add(tick(10))
    book.close(OPEN + timedelta(minutes=2))
    book.add(tick(20, 999))
    assert book.late == 1
    assert book.close(OPEN + timedelta(hours=1)) == []


def test_a_restart_does_not_count_the_morning_s_volume_again() -> None:
    book = CandleBook()
    book.know({SBIN: 5_000}, OPEN.date())
    book.add(tick(10, volume=5_100))
    assert book.close(OPEN + timedelta(minutes=2))[0].volume == 100


def test_volumes_begin_at_nothing_on_a_new_day() -> None:
    book = CandleBook()
    book.know({SBIN: 5_000}, OPEN.date())
    book.add(tick(86_400, volume=70))
    assert book.close(OPEN + timedelta(days=2))[0].volume == 70


def test_the_day_volume_of_sbin_s_candles_is_the_exchange_s(shared_data: Path) -> None:
    """The recording ends 73 of 27,784,834 shares short of the bhavcopy; its session closes before the auction's."""
    path = shared_data / "ticks/SBIN-2021-06-09.csv"
    recorded = list(read_ticks(path))
    day = [
        tick((row.at - recorded[0].at.replace(hour=9, minute=15, second=0)).total_seconds(), row.price, row.volume)
        for row in recorded
    ]
    candles = candles_of(day)
    bhavcopy = (shared_data / "bhavcopy-nse/2021-06-09.csv").read_text().splitlines()
    fields = next(line for line in bhavcopy if line.startswith("SBIN, EQ")).split(",")
    traded, high, low = int(fields[10]), float(fields[5]), float(fields[6])
    total = sum(candle.volume for candle in candles)
    assert total == max(row.volume for row in recorded)
    assert abs(total - traded) <= 1e-5 * traded
    assert abs(max(candle.high for candle in candles) - high) <= 0.1
    assert abs(min(candle.low for candle in candles) - low) <= 0.1
    assert candles_of(list(reversed(day)) + day[::7]) == candles


def test_cleaning_a_recording_loses_no_volume(shared_data: Path) -> None:
    rows = list(read_ticks(shared_data / "ticks/SBIN-2021-06-09.csv"))
    session = [row for row in rows if row.at.strftime("%H:%M") < "15:30"]
    recording = clean(SBIN, ("SBIN",), rows)
    assert recording.volumes[-1] == max(row.volume for row in session)
