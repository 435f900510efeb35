"""Candles are a function of the set of ticks: order, repetition, restarts and slow roads change nothing."""

import tracemalloc
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.enums import FeedSource
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import CandleClosed, Tick
from libs.common.trading_calendar import IST
from services.marketdata.adapters.replay.recordings import clean, read_ticks
from services.marketdata.domain.candles import LATENESS, CandleBook, candles_of, is_late, micros
from tests.services.marketdata.samples import OPEN, SBIN, tick

MINUTE = timedelta(minutes=1)
INFY = InstrumentId("NSE:INFY")


def received(some: Tick, seconds_later: float) -> Tick:
    return some.model_copy(update={"received_at": some.at + timedelta(seconds=seconds_later)})


def told_by(some: Tick, source: FeedSource, ltq: int) -> Tick:
    return some.model_copy(update={"source": source, "ltq": ltq})


ticks = st.lists(
    st.builds(
        received,
        st.builds(
            tick,
            seconds=st.integers(0, 400),
            ltp=st.floats(90, 110).map(lambda price: round(price, 2)),
            volume=st.integers(0, 10_000),
            instrument=st.sampled_from([SBIN, INFY]),
        ).flatmap(
            lambda some: st.builds(
                told_by, st.just(some), st.sampled_from([FeedSource.SIMULATED, FeedSource.LIVE]), st.integers(0, 500)
            )
        ),
        st.sampled_from([0.0, 0.3, 1.9, 2.5, 30.0]),
    ),
    min_size=1,
    max_size=60,
)


def newest(said: Sequence[CandleClosed]) -> dict[tuple[object, object], CandleClosed]:
    """What is left of candles that are said more than once: the last of each."""
    return {(candle.start, candle.instrument): candle for candle in said}


def expected(some: Sequence[Tick]) -> dict[tuple[object, object], CandleClosed]:
    return newest(candles_of(some))


@given(ticks, st.randoms(use_true_random=False), st.integers(0, 20))
def test_any_order_and_duplication_of_ticks_makes_the_same_candles(
    some: list[Tick], random: object, repeated: int
) -> None:
    shuffled = some + some[:repeated]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert candles_of(shuffled) == candles_of(some)


class Log:
    """What the writer does with one partition, without Kafka: it reads on, closes minutes, commits, and is killed."""

    def __init__(self, log: Sequence[Tick]) -> None:
        self.log = log
        self.said: list[CandleClosed] = []
        self.committed = (0, 0)
        self.begin()

    def begin(self) -> None:
        offset, kept_from = self.committed
        counted: dict[InstrumentId, tuple[int, int]] = {}
        for each in self.log:
            at = micros(each.at)
            if at < kept_from and not is_late(at, micros(each.received_at)):
                day = (at + 19_800_000_000) // 86_400_000_000
                counted[each.instrument] = day, max(each.volume, counted.get(each.instrument, (day, 0))[1])
        self.book = CandleBook(kept_from, counted)
        self.position = offset
        self.received = 0

    def read(self, count: int) -> None:
        for offset in range(self.position, min(self.position + count, len(self.log))):
            each = self.log[offset]
            at, received_at = micros(each.at), micros(each.received_at)
            price, volume, source = each.ltp, each.volume, each.source.value
            self.book.add(each.instrument, at, received_at, price, each.ltq, volume, each.oi, source, offset)
            self.received = max(self.received, received_at)
            self.position = offset + 1
        self.said += self.book.close(self.received)

    def commit(self) -> None:
        self.committed = self.book.needs_from(self.position), self.book.kept_from

    def end(self) -> None:
        self.read(len(self.log))
        self.said += self.book.close(2**62)


@given(ticks, st.lists(st.tuples(st.integers(1, 15), st.sampled_from(["go on", "commit", "killed"])), max_size=20))
def test_restarts_at_any_moment_leave_the_candles_of_the_undisturbed_day(
    some: list[Tick], steps: list[tuple[int, str]]
) -> None:
    """The log has ticks in the order of their receipt, as feeds write it."""
    some.sort(key=lambda each: each.received_at)
    log = Log(some)
    for count, then in steps:
        log.read(count)
        if then == "commit":
            log.commit()
        if then == "killed":
            log.begin()
    log.end()
    assert newest(log.said) == expected(some)


def test_a_candle_holds_its_minute_from_the_first_instant_to_just_before_the_next() -> None:
    closed = candles_of([tick(0, 100, 10), tick(30, 105, 20), tick(59.999, 99, 30), tick(60, 101, 35)])
    first, second = closed
    assert (first.open, first.high, first.low, first.close, first.volume) == (100, 105, 99, 99, 30)
    assert first.start == OPEN
    assert (second.open, second.volume) == (101, 5)


def test_a_minute_is_closed_only_after_its_lateness() -> None:
    book = CandleBook()
    book.add_tick(tick(10))
    assert book.close(micros(OPEN + MINUTE + LATENESS) - 1) == []
    assert len(book.close(micros(OPEN + MINUTE + LATENESS))) == 1


def test_a_tick_received_two_seconds_after_its_minute_is_counted_and_is_in_no_candle() -> None:
    book = CandleBook()
    book.add_tick(received(tick(59, 100), 2.9))
    book.add_tick(received(tick(59, 999), 3.0))
    (candle,) = book.close(2**62)
    assert (candle.high, book.late) == (100, 1)


def test_a_tick_that_kafka_brought_late_corrects_its_candle_and_the_next_one_s_volume() -> None:
    book = CandleBook()
    book.add_tick(tick(10, 100, volume=50))
    book.add_tick(tick(70, 101, volume=80))
    said = list(book.close(micros(OPEN + 2 * MINUTE + LATENESS)))
    assert [(candle.high, candle.volume) for candle in said] == [(100, 50), (101, 30)]
    book.add_tick(tick(75, 130, volume=90))
    assert [(candle.high, candle.volume) for candle in book.close(micros(OPEN + 2 * MINUTE + LATENESS))] == [(130, 40)]


def test_a_tick_that_kafka_brought_minutes_late_is_told_apart_so_that_its_day_is_recomputed() -> None:
    book = CandleBook()
    book.add_tick(tick(10))
    book.close(micros(OPEN + 10 * MINUTE))
    book.add_tick(tick(20, 999))
    assert (book.late, book.missed) == (0, {(SBIN, micros(OPEN))})
    assert book.close(micros(OPEN + 20 * MINUTE)) == []


def test_a_restart_does_not_count_the_morning_s_volume_again() -> None:
    day = (micros(OPEN) + 19_800_000_000) // 86_400_000_000
    book = CandleBook(micros(OPEN), {SBIN: (day, 5_000)})
    book.add_tick(tick(10, volume=5_100))
    assert book.close(2**62)[0].volume == 100


def test_volumes_begin_at_nothing_on_a_new_day() -> None:
    yesterday = (micros(OPEN) + 19_800_000_000) // 86_400_000_000
    book = CandleBook(micros(OPEN), {SBIN: (yesterday, 5_000)})
    book.add_tick(tick(86_400, volume=70))
    assert book.close(2**62)[0].volume == 70


def test_the_contracts_of_weeks_ago_are_forgotten() -> None:
    """A writer lives for months, and thousands of contracts tick for the last time in each week of them."""
    book, used = CandleBook(), list[int]()
    tracemalloc.start()
    for day in range(40):
        at = micros(OPEN + timedelta(days=day))
        for n in range(200):
            book.add(InstrumentId(f"NFO:DAY{day}STRIKE{n}CE"), at, at, 100.0, 1, 75, 0, "SIMULATED")
        assert len(book.close(at + 3_600_000_000)) == 200
        used.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert used[-1] < 1.5 * used[9]


def live(seconds: float, volume: int, ltq: int = 0, instrument: InstrumentId = SBIN) -> Tick:
    return told_by(tick(seconds, volume=volume, instrument=instrument), FeedSource.LIVE, ltq)


def volumes(some: Sequence[Tick]) -> list[int]:
    return [candle.volume for candle in candles_of(some)]


NOON = 2.75 * 3_600


def test_what_was_traded_before_an_instrument_was_carried_is_in_no_minute() -> None:
    """Its first tick tells the day's total so far, eight million, of which the last trade alone is known to be new."""
    assert volumes([live(NOON, 8_000_000, 300), live(NOON + 20, 8_000_500, 500), live(NOON + 70, 8_000_600)]) == [
        800,
        100,
    ]


def test_a_first_trade_that_is_larger_than_the_day_s_total_is_of_a_day_before() -> None:
    assert volumes([live(NOON, 0, 300), live(NOON + 20, 40, 40)]) == [40]


def test_what_is_not_traded_yet_on_its_day_is_in_no_candle() -> None:
    """Until the first trade a broker repeats the last price of a day before, beside the book of today."""
    yesterday = [
        live(seconds, 0, 300).model_copy(update={"ltp": 150.0, "oi": seconds}) for seconds in (2, 3, 70, 7_205)
    ]
    today = [live(7_210, 500, 50), live(7_215, 600).model_copy(update={"ltp": 102.0})]
    (candle,) = candles_of([*yesterday, *today])
    assert candle.start == OPEN + timedelta(hours=2)
    assert (candle.open, candle.high, candle.low, candle.close, candle.volume) == (100, 102, 100, 102, 600)


def test_an_index_is_never_traded_and_has_its_candles() -> None:
    assert volumes([live(5, 0, instrument=InstrumentId("NSE_INDEX:NIFTY"))]) == [0]


def test_an_instrument_that_is_carried_from_the_opening_has_all_that_it_opened_with() -> None:
    assert volumes([live(60, 9_000, 10), live(70, 9_100)]) == [9_100]
    assert volumes([live(60.000_001, 9_000, 10), live(70, 9_100)]) == [110]


def test_what_was_traded_while_we_were_started_anew_is_counted() -> None:
    """The instrument was carried before, whether it had been traded by then or not."""
    day, began = (micros(OPEN) + 19_800_000_000) // 86_400_000_000, micros(OPEN + timedelta(seconds=NOON))
    for before in (0, 5_000):
        book = CandleBook(began, {SBIN: (day, before)})
        book.add_tick(live(NOON + 10, 6_000, 10))
        assert book.close(2**62)[0].volume == 6_000 - before


def test_a_session_begins_when_its_exchange_opens_on_that_day() -> None:
    """MCX at nine, on Diwali in 2025 all of them in the afternoon."""
    gold = InstrumentId("MCX:GOLD04DEC26FUT")
    assert volumes([live(-60, 9_000, 10, gold)]) == [10]
    assert volumes([live(-15 * 60 + 30, 9_000, 10, gold)]) == [9_000]
    diwali = (datetime(2025, 10, 21, 13, 45, tzinfo=IST) - OPEN).total_seconds()
    assert volumes([live(diwali + 30, 9_000, 10)]) == [9_000]
    assert volumes([live(diwali + 90, 9_000, 10)]) == [10]


def test_a_total_that_a_feed_of_our_own_making_counts_is_counted_whole() -> None:
    for source in (FeedSource.SIMULATED, FeedSource.REPLAYED, FeedSource.DERIVED):
        assert volumes([told_by(tick(NOON, volume=9_000), source, 10)]) == [9_000]


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
