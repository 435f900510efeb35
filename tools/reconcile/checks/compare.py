"""Saying how two views of one thing differ."""

from collections.abc import Iterable


def differences(pairs: Iterable[tuple[str, object, object]], here: str, there: str) -> str:
    """`status: FILLED in gateway, ACCEPTED in trading; …`; empty when all pairs agree."""
    return "; ".join(f"{name}: {a} in {here}, {b} in {there}" for name, a, b in pairs if a != b)
