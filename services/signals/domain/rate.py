"""How much one webhook may ask: a token bucket (a minute's worth at once, then evenly), and its share of the room."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Bucket:
    """`tokens` were left at `at` (seconds of any clock)."""

    tokens: float
    at: float


def take(bucket: Bucket | None, per_minute: int, now: float) -> tuple[Bucket, float]:
    """Take one token; the seconds to wait when there is none, else 0. A bucket of more than a minute ahead was made by
    a clock that has been set back since: it is full again, as any is in a minute.
    """
    before = bucket if bucket and bucket.at <= now + 60 else Bucket(per_minute, now)
    earned = max(0.0, now - before.at) * per_minute / 60
    filled = Bucket(min(float(per_minute), before.tokens + earned), max(now, before.at))
    if filled.tokens >= 1:
        return replace(filled, tokens=filled.tokens - 1), 0.0
    return filled, (1 - filled.tokens) * 60 / per_minute


def has_room(own: int, of_user: int, taken: int, most: int) -> bool:
    """Whether a webhook that has `own` alerts under way, `of_user` with the others of its user, gets one more of the
    `most` places, `taken` of them by anybody.

    As many as are left free, and its user twice as many: one that floods gets half of the room, with as many others of
    its user as there may be two thirds. So n that flood come to have most / (n + 1) each.
    """
    return max(own, of_user // 2) < most - taken
