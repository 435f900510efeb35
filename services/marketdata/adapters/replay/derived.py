"""Prices of the listed futures and options around the money, computed from a recorded spot; labelled DERIVED."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

import numpy as np

from libs.common.contracts.enums import FeedSource, InstrumentKind, OptionType
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed, Tick
from libs.common.trading_calendar import TradingCalendar
from services.marketdata.domain import pricing
from services.marketdata.domain.ladder import LEVELS, levels

VOLATILITY = {"NIFTY": 0.13, "BANKNIFTY": 0.15, "SENSEX": 0.13}
OTHER_VOLATILITY = 0.25
LEAST_YEARS = 300 / pricing.YEAR_SECONDS
SPREAD = 0.0025
"""The book's width as a fraction of the price, at least one tick."""
LOTS = (8, 12, 16, 20, 24)
"""Lots offered at each level. A made-up book: recordings carry none."""


def middle_strike(master: Sequence[InstrumentListed], spot: InstrumentId) -> Decimal | None:
    """The middle one of the strikes listed on `spot` for its nearest expiry."""
    strikes = sorted({c.strike for c in _nearest(master, spot, InstrumentKind.OPTION) if c.strike})
    return strikes[len(strikes) // 2] if strikes else None


def _nearest(master: Sequence[InstrumentListed], spot: InstrumentId, kind: InstrumentKind) -> list[InstrumentListed]:
    of_spot = [c for c in master if c.spot == spot and c.kind is kind and c.expiry]
    first = min((c.expiry for c in of_spot if c.expiry), default=None)
    return [c for c in of_spot if c.expiry == first]


class DerivedChain:
    """The nearest future, and the nearest expiry's options at `each_side` strikes below and above `level`."""

    def __init__(
        self,
        master: Sequence[InstrumentListed],
        spot: InstrumentId,
        level: float,
        each_side: int,
        sessions: TradingCalendar,
    ) -> None:
        options = _nearest(master, spot, InstrumentKind.OPTION)
        strikes = sorted({c.strike for c in options if c.strike})
        closest = min(range(len(strikes)), key=lambda n: abs(float(strikes[n]) - level), default=0)
        chosen = set(strikes[max(closest - each_side, 0) : closest + each_side + 1])
        self.contracts = _nearest(master, spot, InstrumentKind.FUTURE)
        self.contracts += [c for c in options if c.strike in chosen]
        self.expiry = options[0].expiry if options else None
        self._is_option = np.array([c.kind is InstrumentKind.OPTION for c in self.contracts], dtype=bool)
        self._is_call = np.array([c.option_type is OptionType.CE for c in self.contracts], dtype=bool)
        self._strike = np.array([float(c.strike or 1) for c in self.contracts])
        self._tick = np.array([float(c.tick_size) for c in self.contracts])
        ends = [sessions.session(c.exchange, c.expiry) if c.expiry else None for c in self.contracts]
        self._ends = np.array([end.close.timestamp() if end else 0.0 for end in ends])
        underlying = self.contracts[0].underlying if self.contracts else None
        self._volatility = VOLATILITY.get(underlying or "", OTHER_VOLATILITY)

    def ticks(self, spot: float, at: datetime) -> list[Tick]:
        """The whole chain for one spot price."""
        if not self.contracts:
            return []
        level = np.full(len(self.contracts), spot)
        years = np.maximum((self._ends - at.timestamp()) / pricing.YEAR_SECONDS, LEAST_YEARS)
        volatility = pricing.smile(np.full(len(level), self._volatility), level, self._strike, years)
        options = pricing.black_scholes(level, self._strike, years, volatility, self._is_call)
        fair = np.where(self._is_option, options, pricing.forward(level, years))
        steps = np.maximum(np.round(fair / self._tick), 2)
        spread = np.maximum(np.round(steps * SPREAD * self._is_option), 1)
        bids = np.round(np.maximum(steps - spread // 2, 1) * self._tick, 2)
        asks = np.round((np.maximum(steps - spread // 2, 1) + spread) * self._tick, 2)
        lasts = np.round(steps * self._tick, 2)
        rows = zip(self.contracts, lasts.tolist(), bids.tolist(), asks.tolist(), strict=True)
        return [booked(contract, last, bid, ask, at, FeedSource.DERIVED) for contract, last, bid, ask in rows]


def booked(
    contract: InstrumentListed,
    last: float,
    bid: float,
    ask: float,
    at: datetime,
    source: FeedSource,
    volume: int = 0,
    unit: int | None = None,
) -> Tick:
    """A tick with a made-up book of LOTS around its last price."""
    size = unit or contract.lot_size
    quantities = [lots * size for lots in LOTS]
    step = float(contract.tick_size)
    return Tick.model_validate(
        {
            "instrument": contract.instrument,
            "at": at,
            "received_at": at,
            "source": source,
            "ltp": last,
            "volume": volume,
            "bid": bid,
            "ask": ask,
            "bid_quantity": quantities[0],
            "ask_quantity": quantities[0],
            "bids": levels(bid, -step, quantities, LOTS[:LEVELS]),
            "asks": levels(ask, step, quantities, LOTS[:LEVELS]),
        }
    )
