"""JSON objects in which no name stands twice: RFC 8259 leaves open which of them counts, and two readers may differ."""

from collections import Counter
from collections.abc import Sequence


class NamedTwice(ValueError):
    """An object holds two values under one name; nobody can tell which was meant."""

    def __init__(self, name: str) -> None:
        super().__init__(f"an object names {name[:40]!r} twice")


def named_once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """The object of these names and values, for the `object_pairs_hook` of json; a NamedTwice if it is ambiguous."""
    found = dict(pairs)
    if len(found) < len(pairs):
        stands = Counter(name for name, _ in pairs)
        raise NamedTwice(next(name for name, times in stands.items() if times > 1))
    return found
