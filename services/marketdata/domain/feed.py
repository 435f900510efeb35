"""What a source of market data must be able to do, whichever it is."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Protocol

from libs.common.contracts.enums import FeedSource
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed, Quote, Tick


class MarketFeed(Protocol):
    """A source of contracts and ticks for one trading day. The next day a new one is opened."""

    source: FeedSource

    @property
    def contracts(self) -> Sequence[InstrumentListed]:
        """Everything that can be asked for today."""

    @property
    def previous_closes(self) -> Mapping[InstrumentId, float]:
        """The last prices of the day before, where the source knows them."""

    @property
    def details(self) -> Mapping[str, object]:
        """What an operator wants to know of this source: files, factors, seed."""

    def resume(self, quotes: Iterable[Quote], day: date) -> None:
        """Go on from the newest quotes of an earlier run, so that a restart makes no jump in prices or volumes.

        Prices and open interest carry over from any day, volumes within `day`.
        """

    def due(self, now: datetime) -> Sequence[Tick]:
        """The ticks since the last call, none of them later than `now`, each instrument's in order of time."""
