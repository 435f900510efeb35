"""Kite's order updates: a text frame on its WebSocket for each. A hint that the order book has news, and no more."""

import asyncio
import logging
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


async def listen(url: str, secrets: Secrets, hear: Callable[[], None], first_pause_s: float = FIRST_PAUSE_S) -> None:
    """Until cancelled, `hear` of each order update of the user. Lost or refused, it is made anew: the book is read
    all the same, only later. What was missed meanwhile is heard of once, when it is connected.
    """
    address = f"{url}?{urlencode({'api_key': secrets.api_key, 'access_token': secrets.access_token})}"
    pause = first_pause_s
    while True:
        try:
            async with connect(
                address, open_timeout=OPEN_SECONDS, max_size=MOST_BYTES, proxy=None, logger=_MUTE
            ) as socket:
                pause = first_pause_s
                hear()
                async for frame in socket:
                    if isinstance(frame, str) and is_order_update(frame):
                        hear()
        except LOST as error:
            log.info("order_updates_lost", error=type(error).__name__, again_in_s=pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_S)
