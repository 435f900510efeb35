"""How exactly money is kept."""

from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

ZERO = Decimal(0)
PAISA = Decimal("0.01")
MICRO = Decimal("0.000001")
AVERAGE = Decimal("0.0001")


def to_paise(amount: Decimal) -> Decimal:
    """As risk rounds what an order blocks."""
    return amount.quantize(PAISA, ROUND_HALF_UP)


def part_of(amount: Decimal, units: int, of: int, quantum: Decimal) -> Decimal:
    """The share of `units` out of `of`: all of it without rounding, less rounded to the quantum.

    Whoever takes parts keeps the rest by subtraction, so that no rounding ever makes or loses money.
    """
    if units == of:
        return amount
    return (amount * units / of).quantize(quantum, ROUND_HALF_EVEN)


def average(value: Decimal, quantity: int) -> Decimal:
    return abs(value / quantity).quantize(AVERAGE, ROUND_HALF_EVEN) if quantity else ZERO
