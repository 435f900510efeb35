"""Live prices of one trading day, from one or more brokers' tickers."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from libs.common.clock import Clock
from libs.common.contracts.enums import Exchange, FeedSource
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed, Quote, Tick, is_untraded
from libs.common.telemetry import log
from services.marketdata.adapters.live.connection import Connection
from services.marketdata.adapters.live.dialect import Band, Dialect, Packet, Token, in_units
from services.marketdata.adapters.live.polling import Poller
from services.marketdata.domain.demand import dealt
from services.marketdata.domain.sources import Arbiter
from services.marketdata.domain.symbols import split
from services.marketdata.domain.ticks import Range

STALE_AFTER = timedelta(seconds=3)
"""An instrument's source that says nothing of it for so long, while another does, is replaced by that other."""
MOST_WAITING = 200_000
MOMENT = timedelta(microseconds=1)


@dataclass
class Ticker:
    """One login at one broker, with its connections, its last resort, and what that broker calls the instruments.

    `lots` are the units in a contract of what it counts in contracts.
    """

    dialect: Dialect
    connections: int
    tokens: Mapping[InstrumentId, Token]
    lots: Mapping[InstrumentId, int] = field(default_factory=dict)
    instruments: Mapping[Token, InstrumentId] = field(init=False)
    links: list[Connection] = field(init=False, default_factory=list)
    poller: Poller = field(init=False)
    held: list[tuple[InstrumentId, ...]] = field(init=False)
    exchanges: list[frozenset[Exchange]] = field(init=False)
    """Of what each connection holds."""

    def __post_init__(self) -> None:
        self.name(self.tokens, self.lots)
        self.held = [() for _ in range(self.connections)]
        self.exchanges = [frozenset() for _ in range(self.connections)]

    def name(self, tokens: Mapping[InstrumentId, Token], lots: Mapping[InstrumentId, int]) -> None:
        """From now on the broker calls the instruments so, and counts them so."""
        self.tokens, self.lots = tokens, lots
        self.instruments = {token: instrument for instrument, token in tokens.items()}


class LiveFeed:
    """`due` hands out what came since it was last asked; `run` keeps the connections; `carry` says what is wanted."""

    source = FeedSource.LIVE
    contracts: Sequence[InstrumentListed] = ()
    """None of its own: a live market's contracts come from brokers' dumps."""

    def __init__(self, tickers: Sequence[Ticker], clock: Clock, is_open: Callable[[Exchange], bool]) -> None:
        """Of an exchange that is open prices are expected, of what is carried there."""
        self._tickers = tickers
        self._clock = clock
        self._is_open = is_open
        self._arbiter = Arbiter(STALE_AFTER)
        self._waiting: deque[Tick] = deque(maxlen=MOST_WAITING)
        self._closes: dict[InstrumentId, float] = {}
        self._ranges: dict[InstrumentId, Range] = {}
        self._latest: dict[tuple[int, Token], Packet] = {}
        self._at: dict[InstrumentId, tuple[datetime, datetime]] = {}
        """The exchange's time of an instrument's last packet, and the time that its tick was given."""
        self._bands: dict[InstrumentId, Band] = {}
        self._strangers: set[tuple[int, Token]] = set()
        self.strangers = 0
        """Packets of instruments that nobody asked for."""
        for number, ticker in enumerate(tickers):
            ticker.links = [
                Connection(ticker.dialect, self._hearer(number, number, FeedSource.LIVE), self._expected(ticker, n), n)
                for n in range(ticker.connections)
            ]
            ticker.poller = self._poller(number)

    def _expected(self, ticker: Ticker, connection: int) -> Callable[[], bool]:
        """Whether prices are to be expected on it now: commodities trade until midnight, shares do not."""
        return lambda: any(map(self._is_open, ticker.exchanges[connection]))

    def _poller(self, number: int) -> Poller:
        """Counts less than any login's ticker."""
        ticker = self._tickers[number]
        hear = self._hearer(number, len(self._tickers) + number, FeedSource.POLLED)

        def bound(token: Token, band: Band) -> None:
            if (instrument := ticker.instruments.get(token)) is not None:
                self._bands[instrument] = band

        def refuse(token: Token) -> None:
            self._refuse_stranger(number, token)

        def silent() -> frozenset[Token]:
            """What those connections hold that give no price, although prices are expected on them."""
            links = enumerate(ticker.links)
            mute = [ticker.held[n] for n, link in links if not link.hearing and self._expected(ticker, n)()]
            return frozenset(ticker.tokens[each] for held in mute for each in held if each in ticker.tokens)

        def is_open() -> bool:
            return any(map(self._is_open, self.exchanges))

        return Poller(ticker.dialect, hear, bound, refuse, is_open, silent)

    @property
    def previous_closes(self) -> Mapping[InstrumentId, float]:
        return self._closes

    @property
    def ranges(self) -> Mapping[InstrumentId, Range]:
        """What each instrument's last packet told of the day."""
        return self._ranges

    @property
    def known(self) -> frozenset[InstrumentId]:
        """What at least one source has a name for."""
        return frozenset(instrument for ticker in self._tickers for instrument in ticker.tokens)

    @property
    def exchanges(self) -> frozenset[Exchange]:
        """Of all that is carried."""
        return frozenset().union(*(each for ticker in self._tickers for each in ticker.exchanges))

    @property
    def most(self) -> int:
        """How many instruments the smallest source carries: each carries them all, so that each may take over."""
        return min(ticker.connections * ticker.dialect.most_tokens for ticker in self._tickers)

    @property
    def details(self) -> Mapping[str, object]:
        return {
            "tickers": [
                {
                    "broker": ticker.dialect.name,
                    "connections": [link.connected for link in ticker.links],
                    "silent_s": [link.silent_s for link in ticker.links],
                    "reconnects": sum(link.reconnects for link in ticker.links),
                    "instruments": sum(map(len, ticker.held)),
                    "polling": ticker.poller.polling,
                    "polled": ticker.poller.polled,
                }
                for ticker in self._tickers
            ],
            "takeovers": self.takeovers,
            "strangers": self.strangers,
        }

    @property
    def connected(self) -> int:
        return sum(link.connected for ticker in self._tickers for link in ticker.links)

    @property
    def polling(self) -> int:
        """How many logins are asked for quotes because a connection of theirs gives none."""
        return sum(ticker.poller.polling for ticker in self._tickers)

    @property
    def reconnects(self) -> int:
        return sum(link.reconnects for ticker in self._tickers for link in ticker.links)

    @property
    def takeovers(self) -> int:
        return self._arbiter.takeovers

    def resume(self, quotes: Iterable[Quote], day: date) -> None:
        """The market itself goes on."""

    def name(self, called: Sequence[tuple[Mapping[InstrumentId, Token], Mapping[InstrumentId, int]]]) -> None:
        """What each ticker's broker calls the instruments from now on, and how it counts them. What is carried is to be
        said again.
        """
        for ticker, (tokens, lots) in zip(self._tickers, called, strict=True):
            ticker.name(tokens, lots)

    def carry(self, instruments: Sequence[InstrumentId]) -> None:
        """From now on these and no others, at most `most` of them; what stays keeps its connection."""
        for ticker in self._tickers:
            own = [instrument for instrument in instruments if instrument in ticker.tokens]
            ticker.poller.carry([ticker.tokens[instrument] for instrument in own])
            ticker.held = dealt(own, ticker.held, ticker.dialect.most_tokens)
            ticker.exchanges = [frozenset(split(each)[0] for each in held) for held in ticker.held]
            for link, held in zip(ticker.links, ticker.held, strict=True):
                link.carry([ticker.tokens[instrument] for instrument in held])

    def new_bands(self) -> Mapping[InstrumentId, Band]:
        """The exchange's price bands that became known since the last call."""
        bands, self._bands = self._bands, {}
        return bands

    def doubt_band(self, instrument: InstrumentId) -> None:
        """Ask for it again: a price lies outside."""
        for ticker in self._tickers:
            if instrument in ticker.tokens:
                ticker.poller.doubt(ticker.tokens[instrument])

    async def run(self) -> None:
        """Keep every connection until cancelled."""
        async with asyncio.TaskGroup() as group:
            for ticker in self._tickers:
                group.create_task(ticker.poller.run())
                for link in ticker.links:
                    group.create_task(link.run())

    def due(self, now: datetime) -> Sequence[Tick]:
        ticks = list(self._waiting)
        self._waiting.clear()
        return ticks

    def _hearer(self, number: int, rank: int, source: FeedSource) -> Callable[[Sequence[Packet]], None]:
        """Of the ticker of that number; of several sources the one of the lowest rank counts."""
        ticker = self._tickers[number]

        def hear(packets: Sequence[Packet]) -> None:
            received_at = self._clock.now()
            for packet in packets:
                instrument = ticker.instruments.get(packet.token)
                if instrument is None:
                    self._refuse_stranger(number, packet.token)
                elif self._arbiter.admits(rank, instrument, received_at):
                    lot = ticker.lots.get(instrument)
                    self._take(rank, instrument, in_units(packet, lot) if lot else packet, received_at, source)

        return hear

    def _take(
        self, rank: int, instrument: InstrumentId, packet: Packet, received_at: datetime, source: FeedSource
    ) -> None:
        """A tick of each packet that says something new.

        Brokers tell the exchange's time to the second: within one, each tick is a microsecond after the one before,
        so that all keep their order and none is taken for a repeat of another. Until the first trade of a day they
        repeat the price of a day before. A contract that was never traded has none: the exchange's close stands for it,
        as it is of a day before, too.
        """
        if self._latest.get((rank, packet.token)) == packet:
            return
        self._latest[rank, packet.token] = packet
        at = packet.at or received_at
        known = self._at.get(instrument)
        if known is not None and packet.at == known[0]:
            at = known[1] + MOMENT
        if packet.at is not None:
            self._at[instrument] = packet.at, at
        if packet.previous_close > 0:
            self._closes[instrument] = packet.previous_close
        if packet.day is not None:
            self._ranges[instrument] = packet.day
        else:
            self._ranges.pop(instrument, None)
        has_none = packet.ltp == 0 and is_untraded(instrument, source, packet.volume)
        bid = packet.bids[0] if packet.bids else None
        ask = packet.asks[0] if packet.asks else None
        self._waiting.append(
            Tick(
                instrument=instrument,
                at=at,
                received_at=received_at,
                source=source,
                ltp=packet.previous_close if has_none else packet.ltp,
                ltq=packet.ltq,
                volume=packet.volume,
                oi=packet.oi,
                bid=bid.price if bid else 0.0,
                ask=ask.price if ask else 0.0,
                bid_quantity=bid.quantity if bid else 0,
                ask_quantity=ask.quantity if ask else 0,
                bids=packet.bids,
                asks=packet.asks,
            )
        )

    def _refuse_stranger(self, number: int, token: Token) -> None:
        """A reply about an instrument that nobody asked for must not become another one's price (openalgo#1813)."""
        self.strangers += 1
        if (number, token) not in self._strangers and len(self._strangers) < 1_000:
            self._strangers.add((number, token))
            log.warning("tick_of_stranger", broker=self._tickers[number].dialect.name, token=token)
