"""Ids: UUIDv7 everywhere, drawn fresh at the edges and derived from the cause everywhere else."""

from datetime import datetime
from hashlib import blake2b
from uuid import UUID

import uuid_utils

_VERSION_7 = 0x7 << 76
_VARIANT = 0x2 << 62
_RANDOM_BITS = (1 << 76) - 1
_TIME_BITS = ((1 << 48) - 1) << 80


def new_id() -> UUID:
    """A fresh UUIDv7 (RFC 9562): sorts by time of creation."""
    return UUID(int=uuid_utils.uuid7().int)


def new_text() -> str:
    """A fresh one as text, for who makes tens of thousands a second."""
    return str(uuid_utils.uuid7())


def derive(cause: UUID, *names: object) -> UUID:
    """The UUIDv7 that always follows from `cause` and `names`: the cause's time, and a hash where randomness was."""
    digest = blake2b(cause.bytes + "\x1f".join(map(str, names)).encode(), digest_size=16)
    noise = int.from_bytes(digest.digest()) & _RANDOM_BITS
    noise &= ~(0xF << 76) & ~(0x3 << 62)
    return UUID(int=(cause.int & _TIME_BITS) | _VERSION_7 | _VARIANT | noise)


def unix_time(uuid7: UUID) -> float:
    """When a UUIDv7 was drawn, in seconds since 1970, to the millisecond."""
    return (uuid7.int >> 80) / 1000


def first_of(moment: datetime) -> UUID:
    """No UUIDv7 that was drawn at the moment or later is smaller."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)
