"""A broker's quotes over HTTP, at its rate limit: price bands, and prices of what lost or mute connections carry."""

import asyncio
import random
from collections.abc import Callable, Collection, Sequence

import httpx

from libs.common.telemetry import log
from services.marketdata.adapters.live.dialect import Band, Dialect, Packet, TickerError, Token
from services.marketdata.domain.demand import turn
from services.marketdata.domain.sources import wait_before

LOST_SECONDS = 3.0
"""Connections get so long to come back by themselves."""
CALL_SECONDS = 5.0
BANDS_SHARE = 10
"""While prices are asked for, one in so many of a question may be there for its band."""

FAILED = (httpx.HTTPError, OSError, TimeoutError, TickerError)


class Poller:
    """The same questions tell the price bands of what is carried, each once and again when it is doubted."""

    def __init__(
        self,
        dialect: Dialect,
        hear: Callable[[Sequence[Packet]], None],
        bound: Callable[[Token, Band], None],
        refuse: Callable[[Token], None],
        is_open: Callable[[], bool],
        silent: Callable[[], Collection[Token]],
    ) -> None:
        """`hear` takes the quotes that are to be passed on, `bound` every band, each about an instrument that was
        asked for; `refuse` the token of anything else. `silent` tells what is on connections that give no price.
        """
        self.polling = False
        self.polled = 0
        """Quotes passed on."""
        self._dialect = dialect
        self._hear = hear
        self._bound = bound
        self._refuse = refuse
        self._is_open = is_open
        self._silent = silent
        self._wanted: tuple[Token, ...] = ()
        self._unbounded: dict[Token, None] = {}
        self._asked: set[Token] = set()

    def carry(self, tokens: Sequence[Token]) -> None:
        """From now on these and no others, the most needed first."""
        self._wanted = tuple(tokens)
        self._unbounded = dict.fromkeys(token for token in tokens if token not in self._asked)

    def doubt(self, token: Token) -> None:
        """Its band does not fit its price: exchanges move bands in the day."""
        self._unbounded[token] = None

    async def run(self) -> None:
        """Until cancelled. Nothing is asked while the market is closed: bands are of the day."""
        loop = asyncio.get_running_loop()
        lost_at: float | None = None
        turns = failed = 0
        async with httpx.AsyncClient(timeout=CALL_SECONDS, trust_env=False) as client:
            while True:
                began = loop.time()
                silent = self._silent() if self._is_open() else ()
                lost = [token for token in self._wanted if token in silent]
                lost_at = (lost_at or began) if lost else None
                self._say(lost_at is not None and began - lost_at >= LOST_SECONDS)
                tokens = self._due(lost, turns)
                wait = self._dialect.ask_every_s
                if tokens and self._is_open():
                    try:
                        await self._ask(client, tokens)
                        turns, failed = turns + 1, 0
                    except FAILED as error:
                        failed += 1
                        wait = max(wait, wait_before(failed, random.random))
                        log.warning("quotes_not_polled", broker=self._dialect.name, error=str(error) or repr(error))
                await asyncio.sleep(max(began + wait - loop.time(), 0.0))

    def _due(self, lost: Sequence[Token], turns: int) -> Sequence[Token]:
        most = self._dialect.most_quotes
        unbounded = list(self._unbounded)[:most]
        if not self.polling:
            return unbounded
        bands = unbounded[: most // BANDS_SHARE]
        return list(dict.fromkeys([*turn(lost, most - len(bands), turns), *bands]))

    async def _ask(self, client: httpx.AsyncClient, tokens: Sequence[Token]) -> None:
        question = self._dialect.ask_quotes(tokens)
        async with asyncio.timeout(CALL_SECONDS):
            answer = await client.get(question.url, params=list(question.params), headers=dict(question.headers))
        packets = self._about(tokens, dict(self._dialect.read_quotes(answer.status_code, answer.content)))
        self._asked.update(tokens)
        for token in tokens:
            self._unbounded.pop(token, None)
        for packet in packets:
            if packet.band is not None:
                self._bound(packet.token, packet.band)
        if self.polling:
            self.polled += len(packets)
            self._hear(packets)

    def _about(self, tokens: Sequence[Token], told: dict[str, Packet]) -> list[Packet]:
        """What answers the question; an answer about another instrument must not become this one's price."""
        packets = []
        for token in tokens:
            packet = told.pop(str(token), None)
            if packet is not None and packet.token == token:
                packets.append(packet)
            elif packet is not None:
                self._refuse(packet.token)
        for packet in told.values():
            self._refuse(packet.token)
        return packets

    def _say(self, polling: bool) -> None:
        if polling != self.polling:
            log.warning("quotes_polled" if polling else "quotes_tick_again", broker=self._dialect.name)
        self.polling = polling
