"""A token bucket: bursts up to a minute's worth, then evenly."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Bucket:
    """`tokens` were left at `at` (seconds of any clock)."""

    tokens: float
    at: float


def take(bucket: Bucket | None, per_minute: int, now: float) -> tuple[Bucket, float]:
    """Take one token; the seconds to wait when there is none, else 0."""
    before = bucket or Bucket(per_minute, now)
    earned = max(0.0, now - before.at) * per_minute / 60
    filled = Bucket(min(float(per_minute), before.tokens + earned), max(now, before.at))
    if filled.tokens >= 1:
        return replace(filled, tokens=filled.tokens - 1), 0.0
    return filled, (1 - filled.tokens) * 60 / per_minute
