"""The custom symbols, and the ticks that follow from their legs."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import Quote, Tick
from libs.common.contracts.masters import CustomSymbol
from services.marketdata.domain import custom


class CustomBook:
    def __init__(self) -> None:
        self._symbols: dict[InstrumentId, CustomSymbol] = {}
        self._of_leg: dict[InstrumentId, set[InstrumentId]] = {}
        self._told: dict[InstrumentId, datetime] = {}

    @property
    def instruments(self) -> Iterable[InstrumentId]:
        return self._symbols.keys()

    def replace(self, symbols: Iterable[CustomSymbol]) -> None:
        self._symbols = {symbol.instrument: symbol for symbol in symbols}
        self._of_leg = {}
        for symbol in self._symbols.values():
            for leg in symbol.legs:
                self._of_leg.setdefault(leg.instrument, set()).add(symbol.instrument)

    def legs_of(self, instruments: Iterable[InstrumentId]) -> set[InstrumentId]:
        """What those of them that are custom symbols are made of."""
        found = [self._symbols[each] for each in instruments if each in self._symbols]
        return {leg.instrument for symbol in found for leg in symbol.legs}

    def ticks(
        self, changed: Iterable[Quote], quotes: Mapping[InstrumentId, Quote], received_at: datetime
    ) -> Iterator[Tick]:
        """One for each symbol a leg of which has changed since its last one."""
        if not self._of_leg:
            return
        touched: set[InstrumentId] = set()
        for quote in changed:
            touched |= self._of_leg.get(quote.instrument, set())
        for instrument in touched:
            tick = custom.tick_of(self._symbols[instrument], quotes, received_at)
            told = self._told.get(instrument)
            if tick is not None and (told is None or tick.at > told):
                self._told[instrument] = tick.at
                yield tick
