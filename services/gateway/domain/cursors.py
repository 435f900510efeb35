"""Where a page of a book ends: opaque to clients, stable while rows are added."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime

MICROSECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last row of a page: its time and, among rows of the same time, its id in hexadecimal."""

    at: datetime
    id: str


def encode(cursor: Cursor) -> str:
    micros = round(cursor.at.timestamp() * MICROSECOND)
    return urlsafe_b64encode(micros.to_bytes(8) + bytes.fromhex(cursor.id)).rstrip(b"=").decode()


def decode(text: str) -> Cursor | None:
    """None when it is no cursor of ours."""
    try:
        raw = urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4))
        seconds, micros = divmod(int.from_bytes(raw[:8]), MICROSECOND)
        at = datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)
    except (ValueError, OverflowError, OSError):
        return None
    return Cursor(at, raw[8:].hex()) if len(raw) == 24 else None
