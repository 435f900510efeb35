"""What streams to WebSocket clients as it happens: quotes, depths and option chains, each update encoded once.

Every topic keeps who watches it. A client's newest frame of each topic waits until it is written: a client that reads
slowly skips what became old meanwhile, and never has more waiting than it subscribed to.
"""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import orjson

from libs.common.contracts.market import Depth, Quote
from libs.common.contracts.options import ChainConflated
from libs.common.websocket import text_frame
from services.gateway.memory.quotes import QuoteView


class Mode(StrEnum):
    LTP = "ltp"
    QUOTE = "quote"
    DEPTH = "depth"


class Watcher(Protocol):
    fresh: dict["Topic", bytes]


_CHANGING = ("at", "source", "ltp", "bid", "ask", "bid_quantity", "ask_quantity", "high", "low", "volume", "oi")
_LTP = ("at", "source", "ltp")
CHAIN_STALE_S = 12.0
"""Chains that are watched are told of whole every 5 s."""


def shown(quote: Quote, fields: Iterable[str]) -> dict[str, object]:
    values = quote.__dict__
    return {"instrument": quote.instrument, **{name: values[name] for name in fields}}


def frame(content: dict[str, object]) -> bytes:
    return text_frame(orjson.dumps(content, default=str))


class Topic:
    """One instrument in one mode."""

    __slots__ = ("instrument", "mode", "watchers")

    def __init__(self, mode: Mode, instrument: str) -> None:
        self.mode = mode
        self.instrument = instrument
        self.watchers: set[Watcher] = set()

    def hand_out(self, made: bytes) -> None:
        for watcher in self.watchers:
            watcher.fresh[self] = made


class ChainTopic(Topic):
    """`each_side` strikes below and above the money of a chain, or all of it.

    After a gap a client gets the whole window again: rows it did not read must not be lost between two frames.
    """

    __slots__ = ("_shown", "chain", "each_side", "expecting")

    def __init__(self, chain: "Chain", each_side: int | None) -> None:
        super().__init__(Mode.QUOTE, chain.name)
        self.chain = chain
        self.each_side = each_side
        self.expecting: set[Watcher] = set()
        """Those who have not had the whole of it yet."""
        self._shown: frozenset[float] = frozenset()

    def update(self, changed: Iterable[float]) -> None:
        window = self.chain.window(self.each_side)
        strikes = [strike for strike in window if strike in changed or strike not in self._shown]
        self._shown = frozenset(window)
        event = self.chain.frame("event", strikes) if len(self.watchers) > len(self.expecting) else b""
        whole = b""
        for watcher in self.watchers:
            if watcher in self.expecting or self in watcher.fresh:
                whole = whole or self.snapshot()
                watcher.fresh[self] = whole
            elif strikes:
                watcher.fresh[self] = event
        self.expecting.clear()

    def snapshot(self) -> bytes:
        return self.chain.frame("snapshot", self.chain.window(self.each_side))


class Chain:
    """The newest state of a chain that somebody watches."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.windows: dict[int | None, ChainTopic] = {}
        self._head: dict[str, object] = {}
        self._rows: dict[float, dict[str, object]] = {}
        self._heard_at: datetime | None = None

    def window_of(self, each_side: int | None) -> ChainTopic:
        if each_side not in self.windows:
            self.windows[each_side] = ChainTopic(self, each_side)
        return self.windows[each_side]

    def known(self, now: datetime) -> bool:
        return self._heard_at is not None and (now - self._heard_at).total_seconds() < CHAIN_STALE_S

    def take(self, heard: ChainConflated, now: datetime) -> bool:
        """Whether all of the chain is known now; before that nothing is shown."""
        if not heard.full and not self.known(now):
            return False
        content = heard.model_dump(mode="json", exclude={"full"})
        rows = content.pop("rows")
        self._head = content
        if heard.full:
            self._rows = {}
        self._rows.update((row["strike"], row) for row in rows)
        self._heard_at = now
        return True

    def window(self, each_side: int | None) -> list[float]:
        strikes = sorted(self._rows)
        at_the_money = self._head.get("atm_strike")
        if each_side is None or at_the_money not in self._rows:
            return strikes
        middle = strikes.index(at_the_money)
        return strikes[max(middle - each_side, 0) : middle + each_side + 1]

    def frame(self, kind: str, strikes: Iterable[float]) -> bytes:
        rows = [self._rows[strike] for strike in strikes]
        return frame({"type": kind, "channel": "chain", "chain": self.name, "data": {**self._head, "rows": rows}})


class Prices:
    """The topics that are watched in this process."""

    def __init__(self, newest: QuoteView) -> None:
        self.topics: dict[tuple[Mode, str], Topic] = {}
        self.chains: dict[str, Chain] = {}
        self._newest = newest
        self._told: dict[str, tuple[Quote, bool]] = {}
        """The last one, and whether it was told to be stale."""
        self._depths: dict[str, Depth] = {}

    def topic(self, mode: Mode, instrument: str) -> Topic:
        return self.topics.setdefault((mode, instrument), Topic(mode, instrument))

    def chain(self, name: str) -> Chain:
        return self.chains.setdefault(name, Chain(name))

    def depth(self, instrument: str) -> Depth | None:
        return self._depths.get(instrument)

    def forget(self, topic: Topic) -> None:
        """Nobody watches it any more."""
        if isinstance(topic, ChainTopic):
            topic.chain.windows.pop(topic.each_side, None)
            if not topic.chain.windows:
                self.chains.pop(topic.instrument, None)
            return
        self.topics.pop((topic.mode, topic.instrument), None)
        self._depths.pop(topic.instrument, None) if topic.mode is Mode.DEPTH else None
        if not any((mode, topic.instrument) in self.topics for mode in Mode):
            self._told.pop(topic.instrument, None)

    def quoted(self, quotes: Iterable[Quote], now: datetime) -> set[Watcher]:
        """Hand the newest of them to whoever watches; returns those who have something to read.

        One that is repeated says nothing, unless it became stale meanwhile: then its book did too.
        """
        touched: set[Watcher] = set()
        topics, told = self.topics, self._told
        for quote in quotes:
            name = quote.instrument
            ltp, full = topics.get((Mode.LTP, name)), topics.get((Mode.QUOTE, name))
            deep = topics.get((Mode.DEPTH, name))
            if ltp is None and full is None and deep is None:
                continue
            before, stale = told.get(name), self._newest.is_old(name, quote.at, now)
            if before is not None and (quote.at < before[0].at or (stale is before[1] and quote == before[0])):
                continue
            told[name] = quote, stale
            if ltp is not None:
                ltp.hand_out(event("quotes", Mode.LTP, {**shown(quote, _LTP), "stale": stale}))
                touched |= ltp.watchers
            if full is not None:
                full.hand_out(event("quotes", Mode.QUOTE, {**shown(quote, _CHANGING), "stale": stale}))
                touched |= full.watchers
            if deep is not None and before is not None and quote.at == before[0].at and name in self._depths:
                touched |= self.deepened([self._depths[name]], now)
        return touched

    def deepened(self, depths: Iterable[Depth], now: datetime) -> set[Watcher]:
        touched: set[Watcher] = set()
        for depth in depths:
            topic = self.topics.get((Mode.DEPTH, depth.instrument))
            if topic is None:
                continue
            self._depths[depth.instrument] = depth
            stale = self._newest.is_old(depth.instrument, depth.at, now)
            topic.hand_out(event("depth", Mode.DEPTH, {**book(depth), "stale": stale}))
            touched |= topic.watchers
        return touched

    def chained(self, heard: ChainConflated, now: datetime) -> set[Watcher]:
        chain = self.chains.get(heard.chain)
        if chain is None or not chain.take(heard, now):
            return set()
        strikes = {row.strike for row in heard.rows}
        touched: set[Watcher] = set()
        for topic in chain.windows.values():
            topic.update(strikes)
            touched |= topic.watchers
        return touched


def event(channel: str, mode: Mode, data: dict[str, object]) -> bytes:
    return frame({"type": "event", "channel": channel, "mode": mode, "data": data})


def book(depth: Depth) -> dict[str, object]:
    """Levels as [price, quantity, orders], the best first."""
    return {
        "instrument": depth.instrument,
        "at": depth.at,
        "source": depth.source,
        "bids": [[level.price, level.quantity, level.orders] for level in depth.bids],
        "asks": [[level.price, level.quantity, level.orders] for level in depth.asks],
    }
