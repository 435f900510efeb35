"""A broker's rate limit, kept on our side, so that it need not refuse us."""

from collections import deque


class Pace:
    """At most `calls` in any second. Times are of a clock that never jumps."""

    def __init__(self, calls: int) -> None:
        self._recent: deque[float] = deque(maxlen=calls)
        self._calls = calls

    def wait(self, now: float) -> float:
        """Seconds until the next call may go; 0 when it may go now."""
        if len(self._recent) < self._calls:
            return 0.0
        return max(self._recent[0] + 1.0 - now, 0.0)

    def go(self, now: float) -> None:
        self._recent.append(now)
