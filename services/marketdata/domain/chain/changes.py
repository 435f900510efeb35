"""Which rows of a chain look different from when they were last told."""

from collections.abc import Mapping, Sequence

from services.marketdata.domain.chain.values import Content


def changed(rows: Sequence[Content], before: Mapping[object, Content]) -> list[Content]:
    """The rows that look different; the time of a quote that says the same again is no difference."""
    return [row for row in rows if row["strike"] not in before or not _alike(row, before[row["strike"]])]


def _alike(row: Content, earlier: Content) -> bool:
    return all(_timeless(row[side]) == _timeless(earlier[side]) for side in ("call", "put"))


def _timeless(side: object) -> object:
    return {**side, "at": None} if isinstance(side, dict) else side
