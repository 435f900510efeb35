"""The stocks that an alert names, and what an algo that trades those is for each of them: one of a single leg."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from libs.common.contracts.algos import Algo
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.signals import SignalReceived

_MOST_TOLD = 20
_PUNCTUATION = re.compile(r"[^A-Z0-9]")
_Spelt = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Named:
    """Stocks as an alert writes them, by their spelling."""

    names: Mapping[_Spelt, str]

    def has(self, stock: InstrumentId) -> bool:
        return any(way in self.names for way in _ways(stock))

    def others(self, stocks: Collection[InstrumentId]) -> str:
        """Those that are none of these."""
        known = {way for stock in stocks for way in _ways(stock)}
        others = (name for way, name in self.names.items() if way not in known)
        return told(others, len(self.names) - sum(way in self.names for way in known))


NONE_NAMED = Named({})


def named_in(signal: SignalReceived) -> Named:
    """Those that a scan found, else the symbol that the alert is about."""
    written = signal.stocks or ((signal.symbol,) if signal.symbol else ())
    return Named({spelt(name, signal.exchange or ""): name for name in written})


def spelt(name: str, exchange: str = "") -> _Spelt:
    """Exchange, if that is told, and symbol as TradingView writes them: `M_M` is M&M, `NSE_DL` is NSE delayed."""
    before, _, symbol = name.strip().upper().rpartition(":")
    return (before or exchange.strip().upper()).partition("_DL")[0], _PUNCTUATION.sub("_", symbol.strip())


def _ways(stock: InstrumentId) -> tuple[_Spelt, _Spelt]:
    exchange, symbol = spelt(stock)
    return (exchange, symbol), ("", symbol)


def of(algo: Algo) -> list[InstrumentId]:
    """What it may enter."""
    return [leg.instrument for leg in algo.legs if leg.instrument]


def part(algo: Algo, stock: InstrumentId | None) -> Algo:
    """The algo as it is for one stock: without a leg once that was taken away."""
    if stock is None:
        return algo
    return algo.model_copy(update={"legs": tuple(leg for leg in algo.legs if leg.instrument == stock)})


def told(names: Iterable[str], count: int) -> str:
    """So many names as a reason tells them."""
    shown = ", ".join(islice(names, _MOST_TOLD))
    return shown if count <= _MOST_TOLD else f"{shown} and {count - _MOST_TOLD} more"
