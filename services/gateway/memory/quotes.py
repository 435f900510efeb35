"""The newest quote of every instrument, fed by the stream."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from libs.common.contracts.enums import FeedSource
from libs.common.contracts.market import Quote

STALE_S = 15.0
"""Every quote is repeated within 5 s; one that is not has lost its feed."""


class QuoteView:
    def __init__(self) -> None:
        self._quotes: dict[str, tuple[Quote, datetime]] = {}
        self.heard_at: datetime | None = None
        self.source: FeedSource | None = None

    def update(self, quotes: Sequence[Quote], at: datetime) -> None:
        self._quotes.update((quote.instrument, (quote, at)) for quote in quotes)
        if quotes:
            self.heard_at = at
            self.source = quotes[-1].source

    def ltp(self, instrument: str) -> Decimal | None:
        found = self._quotes.get(instrument)
        return Decimal(str(found[0].ltp)) if found else None

    def show(self, instrument: str, now: datetime) -> dict[str, object] | None:
        """The quote as clients see it, with where it comes from and whether it is still repeated."""
        found = self._quotes.get(instrument)
        if found is None:
            return None
        quote, heard_at = found
        return {
            **quote.__dict__,
            "age_s": round((now - quote.at).total_seconds(), 3),
            "stale": (now - heard_at).total_seconds() > STALE_S,
        }

    def show_all(self, instruments: Iterable[str], now: datetime) -> list[dict[str, object]]:
        return [shown for instrument in instruments if (shown := self.show(instrument, now))]

    def __len__(self) -> int:
        return len(self._quotes)
