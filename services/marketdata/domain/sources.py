"""Several sources of the same prices: which one counts, and how long to wait before a lost one is tried again."""

from collections.abc import Callable
from datetime import datetime, timedelta

from libs.common.contracts.ids import InstrumentId

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0


def wait_before(attempt: int, draw: Callable[[], float]) -> float:
    """Seconds before the `attempt`-th try in a row (from 1): doubling, with jitter, so that not all come at once.

    `draw` gives a number in [0, 1).
    """
    longest = min(FIRST_WAIT_S * 2 ** min(attempt - 1, 16), LONGEST_WAIT_S)
    return float(longest * (0.5 + draw() / 2))


class Arbiter:
    """Of several sources of an instrument one counts: the first in the operator's order that is not stale.

    Stale is judged for each instrument, since a source may lose one of many: another takes over once the counting one
    has said nothing of it for `stale_after` while the other did. A better one that speaks again counts at once.
    """

    def __init__(self, stale_after: timedelta) -> None:
        self._stale_after = stale_after
        self._counting: dict[InstrumentId, tuple[int, datetime]] = {}
        self.takeovers = 0

    def admits(self, source: int, instrument: InstrumentId, received_at: datetime) -> bool:
        known = self._counting.get(instrument)
        if known is not None and source > known[0]:
            if received_at - known[1] <= self._stale_after:
                return False
            self.takeovers += 1
        self._counting[instrument] = source, received_at
        return True

    def counting(self, instrument: InstrumentId) -> int | None:
        """Which source counts now."""
        known = self._counting.get(instrument)
        return None if known is None else known[0]
