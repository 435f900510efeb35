"""Rupees as people in India read them, and rounding to the paisa."""

from decimal import ROUND_HALF_UP, Decimal

ZERO = Decimal(0)
PAISA = Decimal("0.01")
MICRO = Decimal("0.000001")


def to_paise(amount: Decimal) -> Decimal:
    return amount.quantize(PAISA, ROUND_HALF_UP)


def rupees(amount: Decimal) -> str:
    """120000 → `1,20,000`; 1234.5 → `1,234.50`."""
    whole, _, paise = f"{abs(to_paise(amount)):f}".partition(".")
    head, tail = whole[:-3], whole[-3:]
    pairs = [head[max(end - 2, 0) : end] for end in range(len(head), 0, -2)]
    grouped = ",".join([*reversed(pairs), tail])
    sign = "-" if amount < 0 else ""
    return f"{sign}{grouped}" if paise == "00" else f"{sign}{grouped}.{paise}"


def plain(amount: Decimal) -> str:
    """For programs: no grouping, no trailing zeros; `1E-999999` is not written out."""
    return f"{amount.normalize():f}" if abs(amount.adjusted()) < 20 else str(amount)
