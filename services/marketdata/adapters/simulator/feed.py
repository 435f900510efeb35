"""The simulator as a feed: which instruments tick, at what price, with what book."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime

import numpy as np
from numpy.typing import NDArray

from libs.common.contracts.enums import FeedSource, InstrumentKind, OptionType
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed, Quote, Tick
from libs.common.settings import MarketHours
from libs.common.trading_calendar import IST, TradingCalendar
from services.marketdata.adapters.simulator.model import SpotMarket
from services.marketdata.adapters.simulator.spots import INDICES, STOCKS
from services.marketdata.adapters.simulator.universe import generate
from services.marketdata.domain import pricing
from services.marketdata.domain.ladder import LEVELS, levels

SPOT_RATE = 2.0
NEAR_RATE = 1.0
FAR_RATE = 0.2
NEAR_STRIKES = 5
NEAR_EXPIRIES = 2
LEAST_YEARS = 300 / pricing.YEAR_SECONDS
"""Options never have less than five minutes to live, so that the last prices of an expiry day stay finite."""

Ints = NDArray[np.int64]


class SimulatedFeed:
    """Ticks come as thinned Poisson arrivals at each instrument's rate, while its exchange trades: what was traded by
    night would count for the day. All of it is labelled SIMULATED: a future or an option too, though its price follows
    from that of its spot.
    """

    source = FeedSource.SIMULATED

    def __init__(
        self, *, day: date, calendar: TradingCalendar, hours: MarketHours, seed: int, rate: float = 1.0
    ) -> None:
        self.contracts: Sequence[InstrumentListed] = generate(day, calendar)
        self.previous_closes: Mapping[InstrumentId, float] = {
            InstrumentId(model.instrument): model.level for model in (*INDICES, *STOCKS)
        }
        self.details: Mapping[str, object] = {"seed": seed, "tick_rate": rate, "day": day}
        self._random = np.random.default_rng([seed, day.toordinal()])
        self._spots = SpotMarket((*INDICES, *STOCKS), self._random)
        self._index = {contract.instrument: n for n, contract in enumerate(self.contracts)}
        self._last: datetime | None = None
        sessions = TradingCalendar(hours)
        exchanges = sorted({contract.exchange for contract in self.contracts})
        self._sessions = [sessions.session(exchange, day) for exchange in exchanges]
        self._exchange = np.array([exchanges.index(contract.exchange) for contract in self.contracts])
        self._describe(sessions)
        self._rates = self._ticks_per_second() * rate

    def resume(self, quotes: Iterable[Quote], day: date) -> None:
        for quote in quotes:
            n = self._index.get(quote.instrument)
            if n is None:
                continue
            self._oi[n] = quote.oi
            if quote.at.astimezone(IST).date() == day:
                self._volume[n] = quote.volume
            if n < self._spot_count:
                self._spots.set_level(n, quote.ltp)

    def due(self, now: datetime) -> Sequence[Tick]:
        if self._last is None:
            elapsed, ticking = 0.0, np.flatnonzero(self._trades(now))
        else:
            elapsed = (now - self._last).total_seconds()
            if elapsed <= 0:
                return []
            arrivals = -np.expm1(-self._rates * elapsed)
            ticking = np.flatnonzero((self._random.random(len(arrivals)) < arrivals) & self._trades(now))
        self._last = now
        self._spots.advance(elapsed)
        return self._ticks(ticking, now)

    def _trades(self, now: datetime) -> NDArray[np.bool_]:
        is_open = np.array([session is not None and session.is_open(now) for session in self._sessions])
        trades: NDArray[np.bool_] = is_open[self._exchange]
        return trades

    def _describe(self, sessions: TradingCalendar) -> None:
        """The columns of the universe, in the order of `contracts`; the spots come first."""
        contracts = self.contracts
        self._instruments = [c.instrument for c in contracts]
        self._kinds = [c.kind for c in contracts]
        self._is_index = np.array([c.kind is InstrumentKind.INDEX for c in contracts])
        self._is_option = np.array([c.kind is InstrumentKind.OPTION for c in contracts])
        self._is_call = np.array([c.option_type is OptionType.CE for c in contracts])
        self._tick = np.array([float(c.tick_size) for c in contracts])
        self._lot = np.array([c.lot_size for c in contracts], dtype=np.int64)
        self._strike = np.array([float(c.strike or 0) for c in contracts])
        self._spot = np.array([self._index[c.spot or c.instrument] for c in contracts], dtype=np.int64)
        self._spot_count = len(INDICES) + len(STOCKS)
        self._base_volatility = np.array([model.volatility for model in (*INDICES, *STOCKS)])
        ends = {(c.exchange, c.expiry): sessions.session(c.exchange, c.expiry) for c in contracts if c.expiry}
        closes = [ends.get((c.exchange, c.expiry)) if c.expiry else None for c in contracts]
        self._ends = np.array([session.close.timestamp() if session else 0.0 for session in closes])
        self._volume: Ints = np.zeros(len(contracts), dtype=np.int64)
        self._oi: Ints = np.where(self._strike > 0, 2_000, 20_000) * self._lot
        self._oi[: self._spot_count] = 0
        self._size = np.maximum(self._lot, self._typical_sizes())

    def _typical_sizes(self) -> Ints:
        """Shares in one trade of a stock, so that a session's ticks add up to something like its daily volume."""
        daily = np.zeros(len(self.contracts), dtype=np.int64)
        daily[: self._spot_count] = [model.daily_volume for model in (*INDICES, *STOCKS)]
        return daily // 90_000

    def _ticks_per_second(self) -> pricing.Floats:
        """Spots and futures twice a second, options near the money and soon to expire once, others every five."""
        rates = np.full(len(self.contracts), SPOT_RATE)
        by_spot: dict[InstrumentId, set[date]] = {}
        for contract in self.contracts:
            if contract.spot and contract.expiry:
                by_spot.setdefault(contract.spot, set()).add(contract.expiry)
        soon = {(spot, expiry) for spot, days in by_spot.items() for expiry in sorted(days)[:NEAR_EXPIRIES]}
        level = self._spots.levels
        for n in np.flatnonzero(self._is_option).tolist():
            contract = self.contracts[n]
            away = abs(self._strike[n] - level[self._spot[n]]) / (0.002 * level[self._spot[n]])
            near = (contract.spot, contract.expiry) in soon and away <= NEAR_STRIKES
            rates[n] = NEAR_RATE if near else FAR_RATE
        return rates

    def _fair(self, which: Ints, now: datetime) -> pricing.Floats:
        spot = self._spots.levels[self._spot[which]]
        years = np.maximum((self._ends[which] - now.timestamp()) / pricing.YEAR_SECONDS, LEAST_YEARS)
        fair = np.where(self._ends[which] > 0, pricing.forward(spot, years), spot)
        options = self._is_option[which]
        if options.any():
            chosen = which[options]
            # Implied volatility is constant, so that option prices do not jump when a restart forgets the activity.
            base = self._base_volatility[self._spot[chosen]]
            volatility = pricing.smile(base, spot[options], self._strike[chosen], years[options])
            fair[options] = pricing.black_scholes(
                spot[options], self._strike[chosen], years[options], volatility, self._is_call[chosen]
            )
        return fair

    def _ticks(self, which: Ints, now: datetime) -> list[Tick]:
        """Prices and books of the instruments `which`. The last trade is at the bid or the ask."""
        count = len(which)
        random = self._random
        fair, tick = self._fair(which, now), self._tick[which]
        steps = np.maximum(np.round(fair / tick), 2).astype(np.int64)
        spread = 1 + np.minimum(random.geometric(0.6, count), 4) // 2 + (steps * self._is_option[which]) // 400
        bid_steps = np.maximum(steps - spread // 2, 1)
        ask_steps = bid_steps + spread
        last_steps = np.where(self._is_index[which], steps, np.where(random.random(count) < 0.5, bid_steps, ask_steps))
        traded = np.where(self._is_index[which], 0, self._size[which] * random.geometric(0.35, count))
        self._volume[which] += traded
        grown = self._oi[which] + self._lot[which] * random.integers(-3, 4, count)
        self._oi[which] = np.where(self._ends[which] > 0, np.maximum(grown, 0), 0)
        sizes = self._size[which, None] * random.geometric(0.12, (count, 2 * LEVELS))
        orders = random.geometric(0.2, (count, 2 * LEVELS))
        columns = (
            which.tolist(),
            np.round(last_steps * tick, 2).tolist(),
            np.round(bid_steps * tick, 2).tolist(),
            np.round(ask_steps * tick, 2).tolist(),
            traded.tolist(),
            sizes.tolist(),
            orders.tolist(),
        )
        return [self._tick_of(now, *row) for row in zip(*columns, strict=True)]

    def _tick_of(
        self, now: datetime, n: int, last: float, bid: float, ask: float, ltq: int, sizes: list[int], orders: list[int]
    ) -> Tick:
        if self._is_index[n]:
            return Tick(instrument=self._instruments[n], at=now, received_at=now, source=FeedSource.SIMULATED, ltp=last)
        step = float(self._tick[n])
        return Tick.model_validate(
            {
                "instrument": self._instruments[n],
                "at": now,
                "received_at": now,
                "source": FeedSource.SIMULATED,
                "ltp": last,
                "ltq": ltq,
                "volume": int(self._volume[n]),
                "oi": int(self._oi[n]),
                "bid": bid,
                "ask": ask,
                "bid_quantity": sizes[0],
                "ask_quantity": sizes[LEVELS],
                "bids": levels(bid, -step, sizes[:LEVELS], orders[:LEVELS]),
                "asks": levels(ask, step, sizes[LEVELS:], orders[LEVELS:]),
            }
        )
