"""What the words of a search for an instrument mean."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from libs.common.contracts.enums import InstrumentKind, OptionType
from services.gateway.domain.symbols import search_words

MOST_UNDERLYINGS = 8
"""A search that begins the names of more underlyings shows the contracts of the shortest ones."""

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_OPTION_TYPES = {"CE": OptionType.CE, "CALL": OptionType.CE, "PE": OptionType.PE, "PUT": OptionType.PE}
_FUTURES = ("FUT", "FUTURE", "FUTURES")


@dataclass(frozen=True, slots=True)
class Query:
    """`symbol` is what was typed without blanks: it may be a symbol or its beginning.

    `names` begin words of a symbol or name. `numbers` begin a strike, or are the day or year of an expiry, or belong to
    a name (NIFTYNXT50, 360ONE).
    """

    symbol: str
    names: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    month: int | None = None
    option_type: OptionType | None = None
    future: bool = False

    @property
    def is_empty(self) -> bool:
        return not self.symbol

    @property
    def says_nothing(self) -> bool:
        """Not one letter or figure that a symbol or a name could have."""
        return not search_words(self.symbol)

    @property
    def means_a_derivative(self) -> bool:
        return self.option_type is not None or self.future or self.month is not None

    @property
    def kind(self) -> InstrumentKind | None:
        if self.option_type is not None:
            return InstrumentKind.OPTION
        return InstrumentKind.FUTURE if self.future else None

    def with_names(self, meant: Mapping[str, Sequence[str]]) -> "list[Query]":
        """The queries that were meant when these words were misspelled: the n-th guess of each word together."""
        most = max(map(len, meant.values()), default=0)
        guesses = [{word: others[min(n, len(others) - 1)] for word, others in meant.items()} for n in range(most)]
        return [self._named([guess.get(word, word).upper() for word in self.names]) for guess in guesses]

    def _named(self, names: Sequence[str]) -> "Query":
        return replace(self, symbol="".join((*names, *self.numbers)), names=tuple(names))


def parse(query: str) -> Query:
    """A word that could be a month is one unless it comes first: `mar` begins MARUTI, `nifty mar` does not."""
    found = Query("".join(query.upper().split()))
    for n, word in enumerate(search_words(query)):
        if word[0].isdigit():
            found = replace(found, numbers=(*found.numbers, word))
        elif n and word in _MONTHS:
            found = replace(found, month=_MONTHS.index(word) + 1)
        elif n and word in _FUTURES:
            found = replace(found, future=True)
        elif word in _OPTION_TYPES and (n or len(search_words(query)) > 1):
            found = replace(found, option_type=_OPTION_TYPES[word])
        else:
            found = replace(found, names=(*found.names, word))
    return found


def underlyings_of(query: Query, underlyings: Iterable[str]) -> list[tuple[str, tuple[str, ...]]]:
    """The underlyings whose words are begun by all names of the query, the shortest first; each with those numbers of
    the query that are no part of its own name.
    """
    if not query.names:
        return []
    found = []
    for underlying in underlyings:
        words = search_words(underlying)
        if all(any(word.startswith(name) for word in (*words, underlying)) for name in query.names):
            own = [word for word in words if word[0].isdigit()]
            rest = tuple(n for n in query.numbers if not any(word.startswith(n) for word in own))
            found.append((underlying, rest))
    found.sort(key=lambda each: (len(each[0]), each[0]))
    return found[:MOST_UNDERLYINGS]
