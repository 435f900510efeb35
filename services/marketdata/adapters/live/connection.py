"""One WebSocket to a broker's ticker, for as long as it is wanted: lost, mute or refused, it is made anew."""

import asyncio
import random
from collections.abc import Callable, Sequence

import websockets
from websockets.asyncio.client import ClientConnection, connect

from libs.common.telemetry import log
from services.marketdata.adapters.live.dialect import Dialect, Packet, TickerError, Token
from services.marketdata.domain.demand import change
from services.marketdata.domain.sources import LONGEST_WAIT_S, wait_before

CLOSE_SECONDS = 1.0
"""How long a broker may take to say good-bye: the next leader waits for us to end."""
OPEN_SECONDS = 10.0
MUTE_SECONDS = 15.0
"""Connected, subscribed, the market open, and yet no price for so long: subscribe again, then connect again."""
LOOK_SECONDS = 0.25
MOST_BYTES = 4 * 1024 * 1024
AT_ONCE = 500
"""Tokens in one word of subscription."""

LOST = (OSError, TimeoutError, TickerError, websockets.WebSocketException)


class Connection:
    def __init__(
        self,
        dialect: Dialect,
        hear: Callable[[Sequence[Packet]], None],
        is_open: Callable[[], bool],
        number: int = 0,
    ) -> None:
        """`hear` takes every packet; `is_open` says whether prices are to be expected now."""
        self.dialect = dialect
        self.connected = False
        self.hearing = False
        """Prices come."""
        self.reconnects = 0
        self._hear = hear
        self._is_open = is_open
        self._number = number
        self._wanted: tuple[Token, ...] = ()
        self._told: tuple[Token, ...] = ()
        self._heard_at = 0.0
        self._resubscribed = False

    @property
    def silent_s(self) -> float | None:
        """How long ago the last price came, None where none comes."""
        return round(asyncio.get_running_loop().time() - self._heard_at, 1) if self.hearing else None

    def carry(self, tokens: Sequence[Token]) -> None:
        """From now on these and no others. They are said again whenever the connection is new."""
        self._wanted = tuple(tokens)

    async def run(self) -> None:
        """Until cancelled. A broker may take a connection only to close it at once: one that gave no price and ended
        soon counts as refused.
        """
        loop = asyncio.get_running_loop()
        attempt = 0
        while True:
            began = loop.time()
            try:
                async with (
                    asyncio.timeout(OPEN_SECONDS) as opening,
                    connect(
                        self.dialect.address(),
                        open_timeout=None,
                        close_timeout=CLOSE_SECONDS,
                        ping_interval=None,
                        max_size=MOST_BYTES,
                    ) as socket,
                ):
                    opening.reschedule(None)
                    self.connected = True
                    await self._follow(socket)
            except LOST as error:
                log.warning("ticker_lost", broker=self.dialect.name, connection=self._number, error=str(error))
            stood = self.hearing or loop.time() - began > LONGEST_WAIT_S
            self.connected = self.hearing = False
            attempt = 1 if stood else attempt + 1
            self.reconnects += 1
            await asyncio.sleep(wait_before(attempt, random.random))

    async def _follow(self, socket: ClientConnection) -> None:
        """Read until the connection is lost; what is wanted meanwhile is said within LOOK_SECONDS."""
        loop = asyncio.get_running_loop()
        self._told, self._resubscribed = (), False
        self._heard_at = last_frame = loop.time()
        while True:
            await self._tell(socket)
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    frame = await socket.recv()
            except TimeoutError:
                if loop.time() - last_frame > self.dialect.silent_after_s:
                    raise TickerError("not even a heartbeat came") from None
            else:
                last_frame = loop.time()
                packets = self.dialect.read(frame)
                if packets:
                    self._heard_at, self._resubscribed, self.hearing = last_frame, False, True
                    self._hear(packets)
            self._mind_silence(loop.time())

    async def _tell(self, socket: ClientConnection) -> None:
        if self._wanted == self._told:
            return
        due = change(self._told, self._wanted)
        for some in _in_parts(due.unsubscribe):
            for said in self.dialect.unsubscribe(some):
                await socket.send(said)
        for some in _in_parts(due.subscribe):
            for said in self.dialect.subscribe(some):
                await socket.send(said)
        self._told = self._wanted

    def _mind_silence(self, now: float) -> None:
        """A ticker that is connected and mute (openalgo#1396) is no ticker, but only while the market trades."""
        if not self._told or not self._is_open():
            self._heard_at = max(self._heard_at, now - MUTE_SECONDS / 2)
            return
        if now - self._heard_at <= MUTE_SECONDS:
            return
        self.hearing = False
        if self._resubscribed:
            raise TickerError(f"connected, and mute for {2 * MUTE_SECONDS:.0f} s")
        log.warning("ticker_mute", broker=self.dialect.name, connection=self._number, instruments=len(self._told))
        self._told, self._resubscribed, self._heard_at = (), True, now


def _in_parts(tokens: Sequence[Token]) -> Sequence[Sequence[Token]]:
    return [tokens[n : n + AT_ONCE] for n in range(0, len(tokens), AT_ONCE)]
