"""Latencies as percentiles, from an HdrHistogram of microseconds."""

from collections.abc import Iterable

from hdrh.histogram import HdrHistogram

LONGEST = 120_000_000
QUANTILES = {"p50_ms": 50.0, "p95_ms": 95.0, "p99_ms": 99.0, "p999_ms": 99.9}


def percentiles(seconds: Iterable[float]) -> dict[str, float]:
    """p50, p95, p99 and p99.9 in milliseconds; zeros when nothing was measured."""
    histogram = HdrHistogram(1, LONGEST, 3)
    for each in seconds:
        histogram.record_value(min(LONGEST, max(1, int(each * 1e6))))
    return {name: round(histogram.get_value_at_percentile(at) / 1000, 2) for name, at in QUANTILES.items()}
