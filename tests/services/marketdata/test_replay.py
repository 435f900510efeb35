import shutil
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from libs.common.clock import stopwatch
from libs.common.contracts.enums import FeedSource, InstrumentKind
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import Tick
from libs.common.settings import MarketHours
from libs.common.trading_calendar import IST
from services.marketdata.adapters.replay import ReplayFeed
from services.marketdata.adapters.replay.masters import load_master
from services.marketdata.adapters.replay.recordings import (
    Row,
    clean,
    load_candles,
    load_ticks,
    play_times,
    read_candles,
)
from services.marketdata.domain import symbols
from services.marketdata.domain.ticks import fault_of
from services.marketdata.settings import BarLabel, Recording, ReplaySettings, Rescale
from tests.services.marketdata.samples import MINUTE, SBIN

DAY = date(2026, 8, 18)
NOON = datetime(2026, 8, 18, 6, 30, tzinfo=UTC)
NIFTY = InstrumentId("NSE_INDEX:NIFTY")


def replay(
    shared_data: Path, day: date = DAY, hours: MarketHours = MarketHours.CONTINUOUS, **settings: object
) -> ReplayFeed:
    chosen = ReplaySettings().model_copy(update={"shared_data": shared_data, **settings})
    return ReplayFeed(day=day, hours=hours, settings=chosen)


def row(clock: str, price: float, volume: int, day: str = "2021-06-09") -> Row:
    return Row(datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=IST), price, volume)


def ticks_of(feed: ReplayFeed, seconds: int, start: datetime = NOON) -> list[Tick]:
    return [tick for n in range(seconds * 10) for tick in feed.due(start + n * timedelta(milliseconds=100))]


def test_nothing_is_traded_while_its_market_is_closed(shared_data: Path) -> None:
    """The first minute of the day had the volume of the whole night."""
    opens = NOON.replace(hour=3, minute=45)
    night, morning = (replay(shared_data, hours=MarketHours.EXCHANGE) for _ in range(2))
    for feed, begins in ((night, opens - timedelta(hours=1)), (morning, opens - timedelta(seconds=1))):
        feed.due(begins)
        feed.due(opens)
    traded = [{tick.instrument: tick.volume for tick in feed.due(opens + MINUTE)} for feed in (night, morning)]
    assert traded[0] == traded[1]
    assert traded[0][SBIN] > 0


def test_bad_rows_of_a_recording_are_dropped_and_the_rest_put_in_order() -> None:
    rows = [
        row("09:15:01", 101, 20),
        row("09:15:00", 100, 10),
        row("09:15:00", 100, 10),
        row("09:15:02", 0, 30),
        row("09:15:03", 102, 15),
        row("09:08:00", 99, 1),
        row("15:30:00", 99, 40),
        row("10:00:00", 55, 99, day="2021-06-08"),
    ]
    recording = clean(SBIN, ("SBIN",), rows)
    assert recording.prices.tolist() == [100, 101, 102]
    assert recording.volumes.tolist() == [10, 20, 20]
    assert recording.dropped == 5


def test_rows_of_one_second_are_spread_over_it_so_that_none_replaces_another() -> None:
    recording = clean(SBIN, ("SBIN",), [row("09:15:00", 100 + n, n) for n in range(4)])
    assert np.diff(recording.times).tolist() == [0.25, 0.25, 0.25]


def test_a_recording_without_a_usable_row_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match="NSE:SBIN in x\\.csv"):
        clean(SBIN, ("x.csv",), [row("09:15:00", 0, 0)])


def test_silences_are_shortened_and_recordings_of_a_day_stay_simultaneous(shared_data: Path) -> None:
    by_name = {recording.instrument: recording for recording in load_ticks(shared_data)}
    together = [by_name[NIFTY], by_name[InstrumentId("NSE_INDEX:BANKNIFTY")]]
    positions = play_times(together, 5.0)
    assert max(np.diff(np.unique(np.concatenate(positions)))) <= 5.0
    shared = np.intersect1d(together[0].times, together[1].times)
    assert len(shared) > 10_000
    np.testing.assert_array_equal(
        positions[0][np.isin(together[0].times, shared)], positions[1][np.isin(together[1].times, shared)]
    )


def test_a_night_between_recorded_minutes_is_cut_by_whole_minutes(shared_data: Path) -> None:
    """Else the candles of every day but the first are of parts of two minutes each."""
    months = load_candles(shared_data, BarLabel.END)
    for recording, positions in zip(months, play_times(months, 20.0), strict=True):
        assert max(np.diff(positions)) <= 20.0
        np.testing.assert_array_equal(positions % 60, recording.times % 60)


@pytest.mark.parametrize(("label", "minute"), [(BarLabel.END, 15), (BarLabel.START, 16)])
def test_the_label_of_a_recorded_candle_says_when_it_began(tmp_path: Path, label: BarLabel, minute: int) -> None:
    path = tmp_path / "NIFTY-2021-JAN.csv"
    path.write_text("NIFTY,20210101,09:16,13997.90,14020.85,13991.35,14013.15,0,0\n")
    ticks = list(read_candles(path, label))
    assert [tick.price for tick in ticks] == [13997.90, 14020.85, 13991.35, 14013.15]
    assert {tick.at.minute for tick in ticks} == {minute}


def test_recorded_candles_hold_the_session_and_nothing_before_or_after(shared_data: Path) -> None:
    for recording in load_candles(shared_data, BarLabel.END):
        clocks = {datetime.fromtimestamp(at, IST).strftime("%H:%M") for at in recording.times[:: 4 * 25].tolist()}
        assert min(clocks) >= "09:15"
        assert max(clocks) < "15:30"


def test_a_real_master_becomes_openalgo_symbols_and_loads_in_seconds(shared_data: Path) -> None:
    began = stopwatch()
    master = load_master(shared_data / "masters", DAY)
    assert stopwatch() - began < 10
    assert len(master) > 40_000
    listed = {contract.instrument: contract for contract in master}
    assert len(listed) == len(master)
    option = listed[InstrumentId("NFO:NIFTY25AUG2624400CE")]
    assert (option.strike, option.lot_size, option.freeze_quantity) == (Decimal(24400), 65, 1755)
    assert option.spot == NIFTY
    assert listed[InstrumentId("NSE:SBIN")].tick_size == Decimal("0.05")
    assert not listed[InstrumentId("BSE_INDEX:SENSEX")].tradable
    for contract in master:
        if contract.kind in (InstrumentKind.FUTURE, InstrumentKind.OPTION):
            assert str(symbols.parse(contract.exchange, contract.symbol)) == contract.symbol
    spots = {contract.spot for contract in master if contract.kind is InstrumentKind.FUTURE}
    assert len(spots - listed.keys()) < 5


def test_what_expired_before_today_is_not_listed(shared_data: Path) -> None:
    master = load_master(shared_data / "masters", date(2026, 11, 21))
    assert min(contract.expiry for contract in master if contract.expiry) >= date(2026, 11, 21)


def test_the_upstox_dump_serves_where_there_is_no_dhan_dump(shared_data: Path, tmp_path: Path) -> None:
    for name in ("upstox", "zerodha"):
        shutil.copytree(shared_data / "masters" / name, tmp_path / name)
    assert NIFTY in {contract.instrument for contract in load_master(tmp_path, DAY)}


def test_a_missing_dump_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="SHARED_DATA"):
        load_master(tmp_path, DAY)


def test_only_what_is_recorded_or_derived_ticks_and_says_which(shared_data: Path) -> None:
    sources: dict[str, set[FeedSource]] = {}
    feed = replay(shared_data)
    kinds = {contract.instrument: contract.kind for contract in feed.contracts}
    for tick in ticks_of(feed, 20):
        sources.setdefault(kinds[tick.instrument], set()).add(tick.source)
        assert fault_of(tick, None) is None
    assert sources == {
        InstrumentKind.INDEX: {FeedSource.REPLAYED},
        InstrumentKind.EQUITY: {FeedSource.REPLAYED},
        InstrumentKind.FUTURE: {FeedSource.DERIVED},
        InstrumentKind.OPTION: {FeedSource.DERIVED},
    }


def test_recorded_ticks_come_each_once_in_order_and_never_from_the_future(shared_data: Path) -> None:
    feed, last = replay(shared_data, speed=60.0), dict[str, Tick]()
    for n in range(300):
        now = NOON + n * timedelta(milliseconds=100)
        for tick in feed.due(now):
            assert tick.at <= now
            before = last.get(tick.instrument)
            assert before is None or before.at < tick.at
            last[tick.instrument] = tick


def whole_loop(feed: ReplayFeed, instrument: InstrumentId) -> Sequence[float]:
    midnight = datetime(2026, 8, 17, 18, 30, tzinfo=UTC)
    feed.due(midnight)
    length = next(track.length for track in feed._tracks if track.contract.instrument == instrument)
    steps = [midnight + timedelta(seconds=length / 50 * n) for n in range(1, 51)]
    return [tick.ltp for at in steps for tick in feed.due(at) if tick.instrument == instrument]


def test_a_loop_plays_every_recorded_tick_and_then_begins_again(shared_data: Path) -> None:
    feed = replay(shared_data, rescale=Rescale.OFF)
    recorded = next(r for r in load_ticks(shared_data) if r.instrument == SBIN)
    played = whole_loop(feed, SBIN)
    assert played == [*recorded.prices.tolist()[1:], recorded.prices[0]]


def test_prices_are_rescaled_to_the_middle_of_the_listed_strikes_unless_told_not_to(shared_data: Path) -> None:
    recorded = next(r for r in load_ticks(shared_data) if r.instrument == NIFTY)
    scaled = replay(shared_data)
    details = {row["instrument"]: row for row in scaled.details["recordings"]}  # type: ignore[attr-defined]
    first = scaled.previous_closes[NIFTY]
    assert first == pytest.approx(24_600, abs=0.05)
    assert details[NIFTY]["factor"] == pytest.approx(first / recorded.prices[0], rel=1e-5)
    assert replay(shared_data, rescale=Rescale.OFF).previous_closes[NIFTY] == recorded.prices[0]


def test_derived_options_follow_the_recorded_spot(shared_data: Path) -> None:
    feed = replay(shared_data, speed=200.0)
    call = InstrumentId("NFO:NIFTY18AUG2624600CE")
    moves = []
    for n in range(60):
        ticks = {tick.instrument: tick.ltp for tick in feed.due(NOON + n * timedelta(seconds=1))}
        moves.append((ticks[NIFTY], ticks[call]))
    spots, calls = np.array(moves).T
    assert np.corrcoef(spots, calls)[0, 1] > 0.95


def test_a_restart_continues_where_the_recording_would_be(shared_data: Path) -> None:
    through = {tick.instrument: tick.ltp for tick in ticks_of(replay(shared_data), 30)}
    fresh = {tick.instrument: tick.ltp for tick in replay(shared_data).due(NOON + timedelta(seconds=29.9))}
    assert fresh[NIFTY] == through[NIFTY]
    assert fresh[SBIN] == through[SBIN]


def test_minute_candles_can_be_replayed_too(shared_data: Path) -> None:
    counts = Counter(tick.instrument for tick in ticks_of(replay(shared_data, recording=Recording.CANDLES), 130))
    assert 8 <= counts[NIFTY] <= 11
