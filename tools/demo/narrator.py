"""How the demo speaks: one narrow line per step, with its latency."""

import sys
import textwrap
from decimal import Decimal
from typing import TextIO

from libs.common.clock import stopwatch

NAME, TEXT, TIME = 17, 54, 9
WIDTH = 4 + NAME + TEXT + TIME


class Narrator:
    """`took` is what the step itself took: from the thing that caused it to our seeing it."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self.out = out
        self.colour = out.isatty()
        self.steps = 0
        self.began = stopwatch()

    def title(self, text: str) -> None:
        self._write(f"\n  {self._bold(text)}\n  {'─' * (WIDTH - 2)}")

    def step(self, name: str, text: str, seconds: float) -> None:
        self.steps += 1
        first, *rest = textwrap.wrap(text, TEXT) or [""]
        self._write(
            f"{self.steps:>3} {self._bold(name):{self._padded(NAME)}}{first:{TEXT}}{milliseconds(seconds):>{TIME}}"
        )
        for line in rest:
            self._write(f"{'':{4 + NAME}}{line}")

    def aside(self, text: str) -> None:
        """What goes on between two steps."""
        for line in textwrap.wrap(text, TEXT):
            self._write(f"{'':{4 + NAME}}{self._dim(line)}")

    def end(self, text: str) -> None:
        self._write(f"  {'─' * (WIDTH - 2)}\n  {text}\n")

    def _padded(self, width: int) -> int:
        """Escape sequences take no room on the screen."""
        return width + len(self._bold(""))

    def _bold(self, text: str) -> str:
        return f"\033[1m{text}\033[0m" if self.colour else text

    def _dim(self, text: str) -> str:
        return f"\033[2m{text}\033[0m" if self.colour else text

    def _write(self, text: str) -> None:
        self.out.write(text + "\n")
        self.out.flush()


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms" if seconds < 10 else f"{seconds:,.1f} s"


def rupees(amount: object) -> str:
    """₹1,234.50, −₹65.00"""
    value = Decimal(str(amount))
    return f"{'−' if value < 0 else ''}₹{abs(value):,.2f}"
