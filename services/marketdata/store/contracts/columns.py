"""Lists of columns in SQL."""

from collections.abc import Iterable


def names(columns: Iterable[str], of: str = "") -> str:
    return ", ".join(f"{of}{column}" for column in columns)
