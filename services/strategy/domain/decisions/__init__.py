"""What an algo does about a signal, and about what becomes of its orders."""

from services.strategy.domain.decisions.decision import Decision, Patience, Situation, as_listed
from services.strategy.domain.decisions.on_outcome import (
    advance,
    entry_came_late,
    entry_found,
    give_up,
    leg_ended,
    square_off_refused,
)
from services.strategy.domain.decisions.on_signal import decide

__all__ = [
    "Decision",
    "Patience",
    "Situation",
    "advance",
    "as_listed",
    "decide",
    "entry_came_late",
    "entry_found",
    "give_up",
    "leg_ended",
    "square_off_refused",
]
