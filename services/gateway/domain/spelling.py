"""What somebody who misspelled a word may have meant: known words that share letter groups, the nearest first."""

from collections import Counter
from collections.abc import Iterable

MOST_MEANT = 4
_LOOKED_AT = 150
"""Words that share the most letter groups; only these are compared letter by letter."""


class Vocabulary:
    """The words that instruments are found by. Some ten thousand: strikes and dates are no words."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._words = sorted(set(words))
        self._known = set(self._words)
        self._beginnings = {word[:n] for word in self._words for n in range(1, len(word) + 1)}
        self._sharing: dict[str, list[int]] = {}
        for n, word in enumerate(self._words):
            for group in _groups(word):
                self._sharing.setdefault(group, []).append(n)

    def __len__(self) -> int:
        return len(self._words)

    def begins_one(self, word: str) -> bool:
        return word in self._beginnings

    def meant_by(self, word: str) -> list[str]:
        """The nearest known words within the slips that a word of this length may hold; none for a number."""
        if not word.isalpha() or len(word) < 3:
            return []
        shared = Counter(n for group in _groups(word) for n in self._sharing.get(group, ()))
        most = _slips(word)
        near = []
        for n, _ in shared.most_common(_LOOKED_AT):
            candidate = self._words[n]
            away = _distance(word, candidate, most)
            if away <= most:
                near.append((away, abs(len(candidate) - len(word)), candidate))
        near.sort()
        return [candidate for away, _, candidate in near if away == near[0][0]][:MOST_MEANT]


def _slips(word: str) -> int:
    if len(word) < 5:
        return 1
    return 2 if len(word) < 9 else 3


def _groups(word: str) -> set[str]:
    """Its trigrams, with its beginning and end marked, and its letters in order of the alphabet for swapped ones."""
    padded = f"^^{word}$"
    return {padded[n : n + 3] for n in range(len(padded) - 2)} | {"".join(sorted(word))}


def _distance(one: str, other: str, most: int) -> int:
    """Letters to insert, drop, change or swap with their neighbour (optimal string alignment); `most` + 1 if more."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        earlier, before, row = before, row, [i]
        for j, b in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
    return row[-1]
