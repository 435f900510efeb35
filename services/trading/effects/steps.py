"""The moments of an effect at which a process may die. Each is counted; tests kill at each of them."""

from collections.abc import Callable
from enum import StrEnum
from typing import TypeAlias

from prometheus_client import Counter


class Step(StrEnum):
    CHOSEN = "CHOSEN"
    """The call is written as CALLING, not committed."""
    CALLING = "CALLING"
    """Committed; no byte has left."""
    ANSWERED = "ANSWERED"
    """The broker's answer, or its silence, is in hand and nowhere else."""
    JUDGED = "JUDGED"
    """What the answer means is written, not committed."""
    STORED = "STORED"
    """Committed with its events; they may not be published yet."""
    READ = "READ"
    """The broker's book is in hand."""
    COMPARED = "COMPARED"
    """What the book tells is written, not committed."""
    TOLD = "TOLD"
    """Committed with its events."""


Passed: TypeAlias = Callable[[Step], None]

_STEPS = Counter("broker_steps", "Moments of calls to brokers", ["step"])


def count(step: Step) -> None:
    _STEPS.labels(step).inc()
