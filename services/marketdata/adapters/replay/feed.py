"""The replay as a feed. Its place in the recording follows from the clock alone (seconds since the Indian midnight
times the speed, modulo the recording's length), so a restart goes on where the market would be."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
from numpy.typing import NDArray

from libs.common.contracts.enums import FeedSource, InstrumentKind
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed, Quote, Tick
from libs.common.settings import MarketHours
from libs.common.trading_calendar import IST, TradingCalendar
from services.marketdata.adapters.replay import recordings
from services.marketdata.adapters.replay.derived import DerivedChain, booked, middle_strike
from services.marketdata.adapters.replay.masters import load_master
from services.marketdata.domain.pricing import Floats
from services.marketdata.settings import Recording as Kind
from services.marketdata.settings import ReplaySettings, Rescale

DERIVE_EVERY = timedelta(seconds=1)
SHARES_AT_A_LEVEL = 100


@dataclass(frozen=True, slots=True)
class Track:
    """One instrument's recording on the loop."""

    contract: InstrumentListed
    positions: Floats
    prices: Floats
    traded: NDArray[np.int64]
    length: float
    """Seconds until the loop begins again; shared by the recordings of one day."""


class ReplayFeed:
    """Only instruments with a recording, and the derivatives derived from one, tick."""

    source = FeedSource.REPLAYED

    def __init__(self, *, day: date, hours: MarketHours, settings: ReplaySettings) -> None:
        self._speed = settings.speed
        self._start = datetime.combine(day, time(), IST).astimezone(UTC)
        self._last: datetime | None = None
        self._volumes: dict[InstrumentId, int] = {}
        self._derived_at: dict[InstrumentId, datetime] = {}
        self.contracts: Sequence[InstrumentListed] = load_master(settings.shared_data / "masters", day)
        recorded = _recordings(settings)
        factors = {r.instrument: self._factor(r, settings.rescale) for r in recorded}
        self._tracks = list(self._laid_out(recorded, factors, recordings.LONGEST_GAP[settings.recording]))
        self.previous_closes: Mapping[InstrumentId, float] = {
            track.contract.instrument: float(track.prices[0]) for track in self._tracks
        }
        sessions = TradingCalendar(hours)
        exchanges = {track.contract.exchange for track in self._tracks}
        self._sessions = {exchange: sessions.session(exchange, day) for exchange in exchanges}
        self._chains = {
            instrument: DerivedChain(self.contracts, instrument, price, settings.strikes, sessions)
            for instrument, price in self.previous_closes.items()
        }
        self.details: Mapping[str, object] = {
            "speed": settings.speed,
            "recordings": [
                {
                    "instrument": r.instrument,
                    "files": r.files,
                    "ticks": len(r.times),
                    "dropped": r.dropped,
                    "factor": factors[r.instrument],
                    "derived": len(self._chains[r.instrument].contracts),
                    "derived_expiry": self._chains[r.instrument].expiry,
                }
                for r in recorded
                if r.instrument in self._chains
            ],
        }

    def resume(self, quotes: Iterable[Quote], day: date) -> None:
        today = (quote for quote in quotes if quote.at.astimezone(IST).date() == day)
        self._volumes.update({quote.instrument: quote.volume for quote in today})

    def due(self, now: datetime) -> Sequence[Tick]:
        ticks: list[Tick] = []
        for track in self._tracks:
            spots = list(self._first(track, now) if self._last is None else self._between(track, self._last, now))
            ticks += spots
            if spots:
                ticks += self._derived(spots[-1], now)
        self._last = max(now, self._last or now)
        return ticks

    def _factor(self, recording: recordings.Recording, rescale: Rescale) -> float:
        middle = middle_strike(self.contracts, recording.instrument)
        if rescale is Rescale.OFF or middle is None:
            return 1.0
        return round(float(middle) / float(recording.prices[0]), 6)

    def _laid_out(
        self, recorded: Sequence[recordings.Recording], factors: Mapping[InstrumentId, float], longest_gap: float
    ) -> Iterator[Track]:
        listed = {contract.instrument: contract for contract in self.contracts}
        for day in sorted({r.first_day for r in recorded}):
            together = [r for r in recorded if r.first_day == day and r.instrument in listed]
            if not together:
                continue
            positions = recordings.play_times(together, longest_gap)
            length = max(float(p[-1]) for p in positions) + 1.0
            for recording, places in zip(together, positions, strict=True):
                contract = listed[recording.instrument]
                tick = float(contract.tick_size)
                prices = np.round(np.round(recording.prices * factors[recording.instrument] / tick) * tick, 2)
                yield Track(contract, places, prices, np.diff(recording.volumes, prepend=0), length)

    def _first(self, track: Track, now: datetime) -> Iterator[Tick]:
        """Where the recording stands now, so that nobody waits for the next tick to know a price."""
        place = (now - self._start).total_seconds() * self._speed % track.length
        n = max(int(np.searchsorted(track.positions, place, side="right")) - 1, 0)
        yield self._tick(track, n, now, traded=0)

    def _between(self, track: Track, since: datetime, until: datetime) -> Iterator[Tick]:
        """The ticks in (since, until], over as many loops as that covers."""
        begin = (since - self._start).total_seconds() * self._speed
        end = (until - self._start).total_seconds() * self._speed
        for loop in range(int(begin // track.length), int(end // track.length) + 1):
            offset = loop * track.length
            first, last = np.searchsorted(track.positions, (begin - offset, end - offset), side="right")
            for n in range(int(first), int(last)):
                at = self._start + timedelta(seconds=(offset + float(track.positions[n])) / self._speed)
                traded = int(track.traded[n]) if self._trades(track, at) else 0
                yield self._tick(track, n, min(at, until), traded)

    def _trades(self, track: Track, at: datetime) -> bool:
        """Else nobody hears of it, and it counts for no day."""
        session = self._sessions[track.contract.exchange]
        return session is not None and session.is_open(at)

    def _tick(self, track: Track, n: int, at: datetime, traded: int) -> Tick:
        contract, price = track.contract, float(track.prices[n])
        if contract.kind is InstrumentKind.INDEX:
            return Tick(instrument=contract.instrument, at=at, received_at=at, source=self.source, ltp=price)
        volume = self._volumes.get(contract.instrument, 0) + traded
        self._volumes[contract.instrument] = volume
        step = float(contract.tick_size)
        bid, ask = round(price - step, 2), round(price + step, 2)
        return booked(contract, price, bid, ask, at, self.source, volume, unit=SHARES_AT_A_LEVEL)

    def _derived(self, spot: Tick, now: datetime) -> list[Tick]:
        before = self._derived_at.get(spot.instrument)
        if before is not None and now - before < DERIVE_EVERY:
            return []
        self._derived_at[spot.instrument] = now
        return self._chains[spot.instrument].ticks(spot.ltp, now)


def _recordings(settings: ReplaySettings) -> list[recordings.Recording]:
    if settings.recording is Kind.TICKS:
        found = recordings.load_ticks(settings.shared_data)
    else:
        found = recordings.load_candles(settings.shared_data, settings.bar_label)
    if not found:
        raise FileNotFoundError(f"no recording below {settings.shared_data}: set SHARED_DATA")
    return found
