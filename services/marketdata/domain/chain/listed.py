"""The chains that a contract master lists: their names, their strikes, and the contracts of each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from libs.common.contracts.enums import Exchange, InstrumentKind, OptionType
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed

OPTIONS_ON = {
    Exchange.NSE: Exchange.NFO,
    Exchange.NSE_INDEX: Exchange.NFO,
    Exchange.BSE: Exchange.BFO,
    Exchange.BSE_INDEX: Exchange.BFO,
}
"""Where the options on a spot exchange's instruments trade; the others list their own."""


@dataclass(frozen=True, slots=True)
class ChainKey:
    exchange: Exchange
    underlying: str
    expiry: date

    def __str__(self) -> str:
        return f"{self.exchange}:{self.underlying}:{self.expiry}"


def key_of(text: str) -> ChainKey:
    """`NFO:NIFTY:2026-11-24`. ValueError when it is none."""
    exchange, underlying, expiry = text.split(":")
    return ChainKey(Exchange(exchange), underlying, date.fromisoformat(expiry))


@dataclass(frozen=True, slots=True)
class Contracts:
    """The contracts of one chain: its strikes in order, with the call and the put of each where they are listed."""

    key: ChainKey
    strikes: tuple[float, ...]
    calls: tuple[InstrumentId | None, ...]
    puts: tuple[InstrumentId | None, ...]
    spot: InstrumentId | None
    future: InstrumentId | None
    lot_size: int

    @property
    def options(self) -> list[InstrumentId]:
        return [each for each in (*self.calls, *self.puts) if each]

    def around(self, price: float | None, each_side: int | None) -> "Contracts":
        """Only `each_side` strikes below and above the one at the money."""
        if each_side is None or not self.strikes:
            return self
        at_the_money = nearest(self.strikes, price) if price else len(self.strikes) // 2
        cut = slice(max(at_the_money - each_side, 0), at_the_money + each_side + 1)
        return Contracts(
            self.key, self.strikes[cut], self.calls[cut], self.puts[cut], self.spot, self.future, self.lot_size
        )


class ChainIndex:
    """The chains that a contract master lists."""

    def __init__(self, listed: Iterable[InstrumentListed]) -> None:
        self._options: dict[tuple[Exchange, str], dict[date, list[InstrumentListed]]] = {}
        self._futures: dict[tuple[Exchange, str], dict[date, InstrumentId]] = {}
        for contract in listed:
            if contract.underlying is None or contract.expiry is None or not contract.tradable:
                continue
            name = contract.exchange, contract.underlying
            if contract.kind is InstrumentKind.OPTION:
                self._options.setdefault(name, {}).setdefault(contract.expiry, []).append(contract)
            elif contract.kind is InstrumentKind.FUTURE:
                self._futures.setdefault(name, {})[contract.expiry] = contract.instrument

    def find(self, symbol: str, exchange: Exchange | None) -> tuple[Exchange, str] | None:
        """The options exchange and underlying that `NIFTY`, `NSE_INDEX:NIFTY` or `NFO:NIFTY` means: of two exchanges
        NSE's, unless the other is named.
        """
        prefix, colon, name = symbol.strip().upper().rpartition(":")
        if colon:
            exchange = Exchange(prefix) if prefix in Exchange.__members__ else None
        wanted = [OPTIONS_ON.get(exchange, exchange)] if exchange else list(Exchange)
        if colon and exchange is None:
            return None
        return next(((each, name) for each in wanted if (each, name) in self._options), None)

    def expiries(self, exchange: Exchange, underlying: str) -> list[date]:
        return sorted(self._options.get((exchange, underlying), ()))

    def contracts(self, key: ChainKey) -> Contracts | None:
        name = key.exchange, key.underlying
        options = self._options.get(name, {}).get(key.expiry)
        if not options:
            return None
        sides: dict[OptionType, dict[float, InstrumentId]] = {OptionType.CE: {}, OptionType.PE: {}}
        for option in options:
            if option.strike is not None and option.option_type is not None:
                sides[option.option_type][float(option.strike)] = option.instrument
        calls, puts = sides[OptionType.CE], sides[OptionType.PE]
        strikes = sorted({*calls, *puts})
        return Contracts(
            key,
            tuple(strikes),
            tuple(calls.get(strike) for strike in strikes),
            tuple(puts.get(strike) for strike in strikes),
            options[0].spot,
            self._future_of(name, key.expiry),
            options[0].lot_size,
        )

    def _future_of(self, name: tuple[Exchange, str], expiry: date) -> InstrumentId | None:
        """Of the same expiry; on MCX options are on the future that expires next, some days after them."""
        futures = self._futures.get(name, {})
        if name[0] is not Exchange.MCX:
            return futures.get(expiry)
        return futures.get(min((day for day in futures if day >= expiry), default=expiry))


def nearest(strikes: Sequence[float], price: float) -> int:
    """The place of the strike at the money; of two equally near the lower."""
    return min(range(len(strikes)), key=lambda n: abs(strikes[n] - price))
