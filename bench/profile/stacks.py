"""What py-spy wrote (one stack in a line, its frames divided by `;`, then how often it was seen), and its folding."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bench.profile.stages import Frame, Stage, stage_of

_FRAME = re.compile(r"(?P<function>.*) \((?P<file>[^()]*?)(:\d+)?\)")
_NAMELESS = "0x"
MAIN = "_run_module_as_main"
WAITING = frozenset({"epoll_wait", "epoll_pwait", "epoll_pwait2"})
"""The loop's rest. A sample that falls there found the process woken, and waiting for a core: no CPU of it."""
Stack = tuple[Frame, ...]


@dataclass
class Fold:
    """Samples of the event loop's thread, by stage, and by the innermost function that has a name."""

    samples: int = 0
    waiting: int = 0
    stages: Counter[Stage] = field(default_factory=Counter)
    functions: Counter[tuple[Stage, Frame]] = field(default_factory=Counter)


def parse(lines: Iterable[str]) -> list[tuple[Stack, int]]:
    found = []
    for line in lines:
        stack, _, count = line.strip().rpartition(" ")
        if stack:
            found.append((tuple(map(_frame, stack.split(";"))), int(count)))
    return found


def _frame(text: str) -> Frame:
    match = _FRAME.fullmatch(text)
    return Frame(match["function"], match["file"]) if match else Frame(text, "")


def fold(stacks: Iterable[tuple[Stack, int]]) -> Fold:
    """Leaves out other threads (the kernel's accounts tell what they use), and the waiting for a core."""
    found = Fold()
    for stack, count in stacks:
        if not any(frame.function == MAIN for frame in stack):
            continue
        if stack[-1].function in WAITING:
            found.waiting += count
            continue
        found.samples += count
        stage = stage_of(stack)
        found.stages[stage] += count
        found.functions[stage, _named(stack)] += count
    return found


def _named(stack: Sequence[Frame]) -> Frame:
    return next((frame for frame in reversed(stack) if not frame.function.startswith(_NAMELESS)), stack[-1])


def shared_out(milliseconds: float, counts: Counter[Stage]) -> dict[str, float]:
    """So much CPU among the stages, as their samples are; in the order of the road."""
    total = counts.total()
    return {stage.value: milliseconds * counts[stage] / total for stage in Stage if counts[stage]} if total else {}
