"""When the next batch begins: a consumer is mostly at rest. docs/decisions/0008-pace.md"""

MIN_S, MAX_S, FACTOR = 0.006, 0.025, 2.5
"""Batches begin this many times as far apart as the last one took, within these bounds. A lone message is handled at
once; under load each batch carries more, and the CPU that its fixed cost would take is left to the next stage.
"""


class Pace:
    """All moments are the event loop's, in seconds."""

    def __init__(self) -> None:
        self._next = 0.0

    def after(self, began: float, ended: float) -> None:
        """A batch took so long."""
        self._next = began + min(max(FACTOR * (ended - began), MIN_S), MAX_S)

    def rest(self, now: float) -> float:
        """How long to wait before the next batch."""
        return max(0.0, self._next - now)
