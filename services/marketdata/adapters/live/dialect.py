"""What differs between brokers' tickers: the address, the words to subscribe with, the packets."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from math import inf
from typing import NamedTuple, Protocol

from libs.common.contracts.market import DepthLevel
from services.marketdata.domain.ticks import Range

Token = int
Band = tuple[float, float]
"""The lowest and the highest price that the exchange takes now."""


class TickerError(ConnectionError):
    """The broker said no, or said what nobody can read. The connection is made anew."""


class CredentialsMissing(TickerError):
    """There is nothing to log in with yet: write the file that MARKETDATA_SOURCES names."""


class Packet(NamedTuple):
    """One instrument's update as the broker sent it. `at` is the exchange's time, if the broker tells it."""

    token: Token
    ltp: float
    ltq: int = 0
    volume: int = 0
    oi: int = 0
    bids: tuple[DepthLevel, ...] = ()
    asks: tuple[DepthLevel, ...] = ()
    previous_close: float = 0.0
    at: datetime | None = None
    band: Band | None = None
    """If the broker tells it."""
    day: Range | None = None
    """If the broker tells it, and the instrument has been traded today."""


def in_units(packet: Packet, lot: int) -> Packet:
    """What was told in contracts of so many units each."""
    return packet._replace(
        ltq=packet.ltq * lot,
        volume=packet.volume * lot,
        oi=packet.oi * lot,
        bids=tuple(_level_in_units(level, lot) for level in packet.bids),
        asks=tuple(_level_in_units(level, lot) for level in packet.asks),
    )


def _level_in_units(level: DepthLevel, lot: int) -> DepthLevel:
    return level.model_copy(update={"quantity": level.quantity * lot})


def day_range(ltp: float, opened: float, high: float, low: float) -> Range | None:
    """What a broker tells of the day, None where it does not hold together: zeros, or a day before's."""
    fits = 0 < low <= min(ltp, opened) and max(ltp, opened) <= high < inf
    return (opened, high, low) if fits else None


class Question(NamedTuple):
    """A GET, with today's credentials."""

    url: str
    params: Sequence[tuple[str, str]]
    headers: Mapping[str, str]


class Dialect(Protocol):
    """A broker's ticker protocol and its quotes over HTTP, without I/O but for the credentials."""

    name: str
    most_tokens: int
    """How many instruments one connection carries."""
    silent_after_s: float
    """A connection on which not even a heartbeat came for so long is dead."""

    def address(self) -> str:
        """Where to connect, with today's credentials: they are read anew for every connection.

        Raises CredentialsMissing.
        """

    def subscribe(self, tokens: Sequence[Token]) -> Iterable[str]: ...

    def unsubscribe(self, tokens: Sequence[Token]) -> Iterable[str]: ...

    def read(self, frame: bytes | str) -> Sequence[Packet]:
        """The packets of a frame; none for a heartbeat. Raises TickerError on a complaint or on garbage."""

    most_quotes: int
    """How many instruments one question may be about."""
    ask_every_s: float
    """The broker's rate limit."""

    def ask_quotes(self, tokens: Sequence[Token]) -> Question:
        """Raises CredentialsMissing."""

    def read_quotes(self, status: int, body: bytes) -> Mapping[str, Packet]:
        """By what the broker says it answers: the token that was asked for, as text. Raises TickerError."""
