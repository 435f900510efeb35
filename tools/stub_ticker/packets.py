"""Kite's packets, written: the other side of what services read."""

import struct
from collections.abc import Sequence
from datetime import datetime

Level = tuple[int, float, int]
"""Quantity, price, orders."""


def frame(*packets: bytes) -> bytes:
    return struct.pack(">H", len(packets)) + b"".join(struct.pack(">H", len(each)) + each for each in packets)


def ltp(token: int, price: float) -> bytes:
    return struct.pack(">II", token, _paise(price))


def full(
    token: int,
    price: float,
    at: datetime,
    *,
    volume: int = 0,
    oi: int = 0,
    close: float = 0.0,
    day: tuple[float, float, float] | None = None,
    bids: Sequence[Level] = (),
    asks: Sequence[Level] = (),
) -> bytes:
    """A quote with open interest, the exchange's time and five levels a side. `day` is its open, high and low."""
    told = [_paise(each) for each in (*(day or (price,) * 3), close)]
    head = struct.pack(">11I", token, _paise(price), 1, _paise(price), volume, 0, 0, *told)
    seconds = int(at.timestamp())
    extra = struct.pack(">5I", seconds, oi, oi, oi, seconds)
    return head + extra + _levels(bids) + _levels(asks)


def _levels(levels: Sequence[Level]) -> bytes:
    padded = [*levels, *[(0, 0.0, 0)] * 5][:5]
    return b"".join(struct.pack(">IIHxx", quantity, _paise(price), orders) for quantity, price, orders in padded)


def _paise(price: float) -> int:
    return round(price * 100)
