"""Kite's order updates: a text frame on its WebSocket for each. A hint that the order book has news, and no more."""

import asyncio
import logging
import random
from collections.abc import Callable
from urllib.parse import urlencode

import websockets
from websockets.asyncio.client import connect

from libs.common.telemetry import log
from services.trading.adapters.zerodha.translate import is_order_update
from services.trading.store.brokers.credentials import Secrets

OPEN_SECONDS = 5.0
MOST_BYTES = 1_048_576
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
LOST = (OSError, TimeoutError, websockets.WebSocketException)
_MUTE = logging.getLogger("services.trading.adapters.zerodha.updates.websocket")
_MUTE.disabled = True
"""The library would log the address, which holds the credentials."""


def wait_before(attempt: int, first_s: float, draw: Callable[[], float]) -> float:
    """Seconds before the `attempt`-th try in a row (from 1): anything up to a bound that doubles ("full jitter"), so
    that the accounts that a broker dropped together do not all come back to it at once. `draw` is from [0, 1).
    """
    return draw() * float(min(first_s * 2 ** min(attempt - 1, 16), LONGEST_PAUSE_S))


async def listen(
    url: str,
    secrets: Secrets,
    hear: Callable[[], None],
    first_pause_s: float = FIRST_PAUSE_S,
    draw: Callable[[], float] = random.random,
) -> None:
    """Until cancelled, `hear` of each order update of the user. Lost or refused, it is made anew: the book is read
    all the same, only later. What was missed meanwhile is heard of once, when it is connected.
    """
    address = f"{url}?{urlencode({'api_key': secrets.api_key, 'access_token': secrets.access_token})}"
    attempt = 1
    while True:
        try:
            async with connect(
                address,
                open_timeout=OPEN_SECONDS,
                max_size=MOST_BYTES,
                proxy=None,
                logger=_MUTE,
                local_addr=(secrets.source_address, 0) if secrets.source_address else None,
            ) as socket:
                hear()
                async for frame in socket:
                    attempt = 1  # it says something: Kite beats once a second. One that only connects is no success
                    if isinstance(frame, str) and is_order_update(frame):
                        hear()
        except LOST as error:
            log.info("order_updates_lost", error=type(error).__name__, attempt=attempt)
        pause = wait_before(attempt, first_pause_s, draw)
        attempt += 1
        await asyncio.sleep(pause)
