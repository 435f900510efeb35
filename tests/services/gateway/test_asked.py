"""What requests asked for: held for a while, and not without end."""

from datetime import UTC, datetime, timedelta

from services.gateway.memory.asked import HOLDS, MOST, Asked

NOW = datetime(2026, 11, 23, 4, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_what_is_asked_for_again_holds_on_and_keeps_when_it_began() -> None:
    asked = Asked()
    assert asked.note("asked", ["NSE:SBIN", "NSE:INFY"], NOW)
    assert not asked.note("asked", ["NSE:SBIN"], NOW + HOLDS - SECOND)
    assert set(asked.names(NOW + HOLDS - SECOND)) == {("asked", "NSE:SBIN"), ("asked", "NSE:INFY")}
    assert set(asked.names(NOW + HOLDS)) == {("asked", "NSE:SBIN")}
    assert asked.since("asked", "NSE:SBIN") == NOW
    assert asked.since("asked", "NSE:INFY") is None
    assert asked.note("asked", ["NSE:INFY"], NOW + HOLDS), "it was forgotten, and begins anew"
    assert asked.since("asked", "NSE:INFY") == NOW + HOLDS


def test_of_more_than_may_be_asked_for_at_once_the_newest_are_held() -> None:
    asked = Asked()
    chains = [f"NFO:S{n}:2026-11-24" for n in range(MOST["asked_chains"] + 5)]
    for chain in chains:
        asked.note("asked_chains", [chain], NOW)
    assert [name for _, name in asked.names(NOW)] == chains[5:]
    asked.note("asked", [f"NSE:S{n}" for n in range(MOST["asked"] + 1)], NOW)
    assert asked.since("asked", "NSE:S0") is None
