"""Kite's binary ticker frames (kite.trade/docs/connect/v3/websocket): big-endian, prices as integers.

A frame is a count of packets, each with its length before it; a single byte is a heartbeat. The length tells what a
packet holds: 8 last price, 28 and 32 an index, 44 a quote, 184 a quote with open interest, time and five levels.
"""

import struct
from collections.abc import Sequence
from datetime import UTC, datetime

from libs.common.contracts.market import DepthLevel
from services.marketdata.adapters.live.dialect import Packet, TickerError, day_range

LTP, INDEX_QUOTE, INDEX_FULL, QUOTE, FULL = 8, 28, 32, 44, 184

CURRENCY_SEGMENTS = {3: 10_000_000.0, 6: 10_000.0, 12: 10_000.0}
"""NSE and BSE currency and NSE commodity: what an integer price is divided by. Everything else is in paise."""
PAISE = 100.0

_LENGTH = struct.Struct(">H")
_LTP = struct.Struct(">II")
_INDEX = struct.Struct(">IIIIIII")
_QUOTE = struct.Struct(">11I")
_EXTRA = struct.Struct(">5I")
_LEVELS = struct.Struct(">" + "IIHxx" * 10)
_TIME = struct.Struct(">I")


def read_frame(frame: bytes) -> Sequence[Packet]:
    """Every packet of a frame; a heartbeat has none. Raises TickerError when the frame ends too early."""
    if len(frame) < 2:
        return ()
    try:
        (count,) = _LENGTH.unpack_from(frame, 0)
        packets = []
        offset = 2
        for _ in range(count):
            (length,) = _LENGTH.unpack_from(frame, offset)
            offset += 2
            packets.append(read_packet(memoryview(frame)[offset : offset + length]))
            offset += length
    except struct.error as error:
        raise TickerError(f"a frame of {len(frame)} bytes ends within a packet") from error
    return packets


def read_packet(body: bytes | memoryview) -> Packet:
    """Raises TickerError for a length that no packet has."""
    match len(body):
        case 8:
            token, last = _LTP.unpack(body)
            return Packet(token, last / divisor_of(token))
        case 28 | 32:
            return _index(body)
        case 44 | 184:
            return _quote(body)
        case length:
            raise TickerError(f"no packet has {length} bytes")


def divisor_of(token: int) -> float:
    """By the segment in the token's lowest byte."""
    return CURRENCY_SEGMENTS.get(token & 0xFF, PAISE)


def _index(body: bytes | memoryview) -> Packet:
    token, last, high, low, opened, close, _change = _INDEX.unpack_from(body)
    divisor = divisor_of(token)
    at = _time(_TIME.unpack_from(body, 28)[0]) if len(body) == INDEX_FULL else None
    day = day_range(last / divisor, opened / divisor, high / divisor, low / divisor)
    return Packet(token, last / divisor, previous_close=close / divisor, at=at, day=day)


def _quote(body: bytes | memoryview) -> Packet:
    token, last, ltq, _average, volume, _buying, _selling, opened, high, low, close = _QUOTE.unpack_from(body)
    divisor = divisor_of(token)
    day = day_range(last / divisor, opened / divisor, high / divisor, low / divisor) if volume else None
    if len(body) == QUOTE:
        return Packet(token, last / divisor, ltq, volume, previous_close=close / divisor, day=day)
    _traded_at, oi, _oi_high, _oi_low, at = _EXTRA.unpack_from(body, 44)
    fields = _LEVELS.unpack_from(body, 64)
    levels = [
        DepthLevel(price=fields[n + 1] / divisor, quantity=fields[n], orders=fields[n + 2])
        for n in range(0, len(fields), 3)
    ]
    return Packet(
        token,
        last / divisor,
        ltq,
        volume,
        oi,
        tuple(level for level in levels[:5] if level.quantity),
        tuple(level for level in levels[5:] if level.quantity),
        close / divisor,
        _time(at),
        day=day,
    )


def _time(seconds: int) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
