"""A broker's rate limits, kept on our side, so that it need not refuse us."""

from collections import deque


class Pace:
    """At most `calls` in any `seconds`. Times are of a clock that never jumps."""

    def __init__(self, calls: int, seconds: float = 1.0) -> None:
        self._recent: deque[float] = deque(maxlen=calls)
        self._calls = calls
        self._seconds = seconds

    def wait(self, now: float, spare: int = 0) -> float:
        """Seconds until the next call may go; 0 when it may go now and leave `spare` to others."""
        full = self._calls - min(spare, self._calls - 1)
        if len(self._recent) < full:
            return 0.0
        return max(self._recent[-full] + self._seconds - now, 0.0)

    def go(self, now: float) -> None:
        self._recent.append(now)
