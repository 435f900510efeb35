"""How many alerts a group may send in a while."""

from hypothesis import given
from hypothesis import strategies as st

from services.signals.domain import rate


@given(per_minute=st.integers(1, 600), gaps=st.lists(st.floats(0, 30), max_size=60))
def test_no_minute_passes_more_than_a_burst_and_what_is_earned(per_minute: int, gaps: list[float]) -> None:
    bucket, now, taken = None, 0.0, 0
    for gap in gaps:
        now += gap
        bucket, wait = rate.take(bucket, per_minute, now)
        taken += wait == 0
        if wait:
            assert rate.take(bucket, per_minute, now + wait + 0.001)[1] == 0
    assert taken <= per_minute + now * per_minute / 60 + 1e-6


def test_a_clock_that_was_set_back_keeps_nobody_out() -> None:
    later, _ = rate.take(None, 1, 3600.0)
    assert rate.take(later, 1, 3600.0)[1] == 60
    assert rate.take(later, 1, 0.0)[1] == 0
