"""How many new orders may be on their way at once: as many as are decided quickly. One more is refused, at once.

The limit follows the answers, as TCP's window follows the acknowledgements (additive increase, multiplicative decrease;
RFC 5681): in time it grows by one for each limit's worth, late it shrinks by a fifth. Exits and cancels are never
refused here: when there is too much to do, what reduces risk comes first.
"""

FEWEST, MOST = 64, 400
LATE_S = 0.4
"""An answer that takes longer tells that more is under way than can be done."""
SHRINK, SHRINK_EVERY_S = 0.8, 0.2


class Admission:
    """One per process. Times are seconds on any clock that never jumps."""

    def __init__(self) -> None:
        self.limit = float(MOST) / 4
        self.under_way = 0
        self.refused = 0
        self._shrunk_at = 0.0

    def takes(self) -> bool:
        """Whether a new order may come in; a refusal is counted."""
        if self.under_way < self.limit:
            return True
        self.refused += 1
        return False

    def begin(self) -> None:
        self.under_way += 1

    def end(self, seconds: float, now: float) -> None:
        """An order was answered after so many seconds. The limit grows only while it is what holds orders back."""
        if seconds <= LATE_S:
            if self.under_way * 2 > self.limit:
                self.limit = min(MOST, self.limit + 1 / self.limit)
        elif now - self._shrunk_at > SHRINK_EVERY_S:
            self._shrunk_at = now
            self.limit = max(FEWEST, self.limit * SHRINK)
        self.under_way -= 1
