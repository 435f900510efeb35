"""The stochastic model of the simulated spots.

Log-prices follow dx = -pull (x - anchor) dt + sigma v dW, one Brownian motion per spot, correlated through one market
factor: dW = rho dM + sqrt(1 - rho^2) dE. The activity v is shared and mean-reverting in the logarithm
(d ln v = -calm ln v dt + unrest dB, ln v's mean is 0), so that quiet and busy half-hours alternate. The weak pull to
the anchor keeps a market that never closes within a few per cent of its listed strikes. Sigma is per trading second
(252 days of 6 1/4 hours), so a simulated minute moves like a real one.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from services.marketdata.adapters.simulator.spots import SpotModel
from services.marketdata.domain.pricing import Floats

TRADING_SECONDS: Final = 252 * 22_500.0
PULL: Final = math.log(2) / (1.5 * 22_500)
CALM: Final = math.log(2) / 1_800
UNREST: Final = 0.35 * math.sqrt(2 * CALM)
"""Makes ln v's long-run deviation 0.35: activity is mostly between a half and twice the usual."""
LONGEST_STEP: Final = 5.0
LOWEST: Final = math.log(0.902)
HIGHEST: Final = math.log(1.098)
"""How far a level gets from its anchor, the close that the shares' price band of ten per cent is around: ticks from
outside of it are refused, and the share would stand still until it came back.
"""


class SpotMarket:
    """The levels of all spots, moved by `advance`."""

    def __init__(self, models: Sequence[SpotModel], random: np.random.Generator) -> None:
        self._random = random
        self._anchor = np.log(np.array([model.level for model in models]))
        self._sigma = np.array([model.volatility for model in models]) / math.sqrt(TRADING_SECONDS)
        self._shared = np.array([model.correlation for model in models])
        self._own = np.sqrt(1 - self._shared**2)
        self._log_activity = 0.0
        self._log_levels = self._anchor.copy()

    @property
    def levels(self) -> Floats:
        levels: Floats = np.exp(self._log_levels)
        return levels

    @property
    def activity(self) -> float:
        return math.exp(self._log_activity)

    def set_level(self, n: int, level: float) -> None:
        self._log_levels[n] = math.log(level)

    def advance(self, seconds: float) -> None:
        """Move on; a gap longer than LONGEST_STEP (a stalled machine) moves no further than that."""
        dt = min(seconds, LONGEST_STEP)
        draws = self._random.standard_normal(len(self._anchor) + 2)
        self._log_activity += -CALM * self._log_activity * dt + UNREST * math.sqrt(dt) * draws[0]
        noise = self._shared * draws[1] + self._own * draws[2:]
        self._log_levels += PULL * (self._anchor - self._log_levels) * dt
        self._log_levels += self._sigma * self.activity * math.sqrt(dt) * noise
        np.clip(self._log_levels, self._anchor + LOWEST, self._anchor + HIGHEST, out=self._log_levels)
