"""What a repeated request means, after the IETF draft (Idempotency-Key header)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

KEPT = timedelta(hours=24)
FORGOTTEN_AT_ONCE = 20_000
"""Every minute: more than a day's in a day, and at no time more than a statement may take."""
MAX_KEY = 255


class Fate(Enum):
    RUN = "ours to carry out"
    IN_FLIGHT = "another request with the key is being carried out"
    OTHER_BODY = "the key was used for another request"
    REPLAY = "done: answer as before"


@dataclass(frozen=True, slots=True)
class Claim:
    """What is known of a key that was there before."""

    fingerprint: bytes
    leased_until: datetime
    status: int | None
    owner: int | None = None
    """The process that carries it out, as its outbox is known."""
    body: bytes | None = None
    """Of the answer with that status."""


def fate(claim: Claim, fingerprint: bytes, now: datetime) -> Fate:
    """A claim whose lease ran out (its instance died, or its outcome was not known in time) is carried out again,
    under the same message id, which every service recognises.
    """
    if claim.fingerprint != fingerprint:
        return Fate.OTHER_BODY
    if claim.status is not None:
        return Fate.REPLAY
    return Fate.IN_FLIGHT if claim.leased_until > now else Fate.RUN


def may_be_under_way(asked_at: float, now: datetime) -> bool:
    """Whether what was asked for then (in seconds since 1970), and has no known end, may still be heard of: ends
    are kept no longer than keys. What is a little in the future is of a clock that was set back since.
    """
    return abs(now.timestamp() - asked_at) <= KEPT.total_seconds()


def is_final(status: int) -> bool:
    """202 says that the outcome is open, 5xx that we failed: neither may be replayed for a day."""
    return status != 202 and status < 500
