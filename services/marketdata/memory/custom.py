"""The custom symbols, and the ticks that follow from their legs."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import Quote, Tick
from libs.common.contracts.masters import CustomSymbol
from services.marketdata.domain import custom

NEXT = timedelta(microseconds=1)


class CustomBook:
    def __init__(self) -> None:
        self.symbols: Mapping[InstrumentId, CustomSymbol] = {}
        self._of_leg: dict[InstrumentId, set[InstrumentId]] = {}
        self._told: dict[InstrumentId, tuple[Tick, datetime]] = {}

    def replace(self, symbols: Iterable[CustomSymbol]) -> None:
        self.symbols = {symbol.instrument: symbol for symbol in symbols}
        self._of_leg = {}
        for symbol in self.symbols.values():
            for leg in symbol.legs:
                self._of_leg.setdefault(leg.instrument, set()).add(symbol.instrument)

    def legs_of(self, instruments: Iterable[InstrumentId]) -> set[InstrumentId]:
        """What those of them that are custom symbols are made of."""
        found = [self.symbols[each] for each in instruments if each in self.symbols]
        return {leg.instrument for symbol in found for leg in symbol.legs}

    def ticks(
        self, changed: Iterable[Quote], quotes: Mapping[InstrumentId, Quote], received_at: datetime
    ) -> Iterator[tuple[Tick, datetime]]:
        """One for each symbol a leg of which has changed since its last one, with the time of its oldest leg.

        A leg that changes after a newer one did makes it no newer: its tick then follows the last one at once, since
        ticks of the same time are taken for one.
        """
        if not self._of_leg:
            return
        touched: set[InstrumentId] = set()
        for quote in changed:
            touched |= self._of_leg.get(quote.instrument, set())
        for instrument in touched:
            symbol = self.symbols[instrument]
            tick = custom.tick_of(symbol, quotes, received_at)
            if tick is None:
                continue
            oldest, told = custom.oldest(symbol, quotes), self._told.get(instrument)
            if told is not None and tick.at <= told[0].at:
                last, known = told
                when = {"at": last.at, "received_at": last.received_at}
                if oldest == known and tick.model_copy(update=when) == last:
                    continue
                tick = tick.model_copy(update={"at": last.at + NEXT})
            self._told[instrument] = tick, oldest
            yield tick, oldest
