"""How it misbehaves: what is scripted comes first, then a seeded dice."""

from collections import deque
from collections.abc import Mapping
from enum import StrEnum
from random import Random


class Fault(StrEnum):
    """Of an order's placing; a change or a cancel suffers those that do not speak of taking."""

    NONE = "NONE"
    TOO_MANY = "TOO_MANY"
    """429; nothing is taken."""
    REFUSED = "REFUSED"
    """400 MarginException; nothing is taken."""
    DROP_BEFORE = "DROP_BEFORE"
    """The connection ends without a word; nothing is taken."""
    SILENT_BEFORE = "SILENT_BEFORE"
    """No answer, ever; nothing is taken."""
    ERROR_BEFORE = "ERROR_BEFORE"
    """500 GeneralException; nothing is taken."""
    NAMELESS = "NAMELESS"
    """200 and success, without an order id; nothing is taken (openalgo#1618)."""
    DROP_AFTER = "DROP_AFTER"
    """Taken, then the connection ends without a word."""
    SILENT_AFTER = "SILENT_AFTER"
    """Taken, and no answer, ever (openalgo#1991)."""
    ERROR_AFTER = "ERROR_AFTER"
    """Taken, then 503 NetworkException."""
    PAGE_AFTER = "PAGE_AFTER"
    """Taken, then 200 with a page of HTML."""
    LATE = "LATE"
    """Taken, and answered after a while, in time."""
    TWICE = "TWICE"
    """Taken once, and answered twice on the same connection."""
    FILL_FIRST = "FILL_FIRST"
    """Filled before it is answered, while the book still calls it on its way."""
    FORGET = "FORGET"
    """Taken and not answered; the book shows it only after a number of reads."""
    NOT_DONE = "NOT_DONE"
    """A change or a cancel is answered as taken; the exchange leaves the order as it was."""
    TAKE_LATE = "TAKE_LATE"
    """Not answered, and taken only when the caller has given up."""


SAFE = frozenset({Fault.NONE, Fault.LATE, Fault.TWICE, Fault.FILL_FIRST, Fault.NOT_DONE})
NOT_TAKEN = frozenset(
    {Fault.TOO_MANY, Fault.REFUSED, Fault.DROP_BEFORE, Fault.SILENT_BEFORE, Fault.ERROR_BEFORE, Fault.NAMELESS}
)


class Plan:
    """`rates` are chances by fault; the rest is good behaviour."""

    def __init__(self, seed: int = 0, rates: Mapping[Fault, float] | None = None) -> None:
        self.script: deque[Fault] = deque()
        self.rates = dict(rates or {})
        self.dice = Random(seed)  # noqa: S311 - reproducible, not secret

    def next(self) -> Fault:
        if self.script:
            return self.script.popleft()
        drawn = self.dice.random()
        for fault, rate in self.rates.items():
            drawn -= rate
            if drawn < 0:
                return fault
        return Fault.NONE
