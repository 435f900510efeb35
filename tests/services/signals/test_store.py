"""The log of arrivals, and which of them are alike, on a real database."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from libs.common.contracts.enums import Side, SignalType
from libs.common.contracts.ids import SignalGroupId, UserId
from libs.common.database import Connection
from libs.common.ids import new_id
from libs.common.testing import NOON
from services.signals.domain.alerts import Alert
from services.signals.domain.fates import Fate
from services.signals.store import SignalsStore
from tests.services.signals.making import a_group, an_arrival


def alert(alert_id: str | None) -> Alert:
    return Alert(SignalType.ENTRY, Side.BUY, alert_id=alert_id)


async def test_the_log_pages_newest_first_without_gap_or_repetition(connection: Connection) -> None:
    group, store = a_group(), SignalsStore(connection)
    ids = [new_id() for _ in range(7)]
    for arrival_id in ids:
        await store.keep(arrival_id, an_arrival(group))
    seen: list[UUID] = []
    before: UUID | None = None
    while page := await store.arrivals(group.user_id, None, before, 3):
        seen.extend(UUID(str(row["id"])) for row in page)
        before = seen[-1]
        assert len(page) <= 3
    assert seen == sorted(ids, reverse=True)


async def test_the_log_shows_a_user_only_their_own(connection: Connection) -> None:
    group, other, store = a_group(), a_group(), SignalsStore(connection)
    await store.keep(new_id(), an_arrival(group))
    await store.keep(new_id(), an_arrival(other))
    assert [row["group_id"] for row in await store.arrivals(group.user_id, None, None, 10)] == [group.group_id]
    assert await store.arrivals(group.user_id, other.group_id, None, 10) == []
    assert await store.arrivals(UserId(new_id()), None, None, 10) == []


async def test_alike_is_the_same_content_or_alert_id_within_the_window(connection: Connection) -> None:
    group, store = a_group(duplicate_window_s=60), SignalsStore(connection)
    arrival = an_arrival(group)
    await store.keep(new_id(), arrival)
    soon, late = NOON + timedelta(seconds=59), NOON + timedelta(seconds=60)
    assert await store.alike(group, b"one", alert(None), soon) == arrival.signal_id
    assert await store.alike(group, b"two", alert("a-1"), soon) == arrival.signal_id
    assert await store.alike(group, b"two", alert("a-2"), soon) is None
    assert await store.alike(group, b"two", alert(None), soon) is None
    assert await store.alike(group, b"one", alert("a-1"), late) is None
    assert await store.alike(a_group(duplicate_window_s=60), b"one", alert("a-1"), soon) is None
    assert await store.alike(group.model_copy(update={"duplicate_window_s": 0}), b"one", alert("a-1"), soon) is None


async def test_an_alert_of_before_the_clock_was_set_back_is_repeated_by_none(connection: Connection) -> None:
    """Seen: until it had caught up every alert of the same words was a duplicate, whatever the window."""
    group, store = a_group(duplicate_window_s=60), SignalsStore(connection)
    await store.keep(new_id(), an_arrival(group))
    for early, repeats in ((NOON - timedelta(seconds=59), True), (NOON - timedelta(hours=1), False)):
        for content, named in ((b"one", alert(None)), (b"two", alert("a-1"))):
            assert (await store.alike(group, content, named, early) is not None) is repeats


async def test_what_was_refused_is_not_repeated_by_what_comes_after(connection: Connection) -> None:
    group, store = a_group(duplicate_window_s=60), SignalsStore(connection)
    await store.keep(new_id(), replace(an_arrival(group, fate=Fate.MARKET_CLOSED)))
    assert await store.alike(group, b"one", alert("a-1"), NOON) is None


async def test_an_unknown_group_is_not_found(connection: Connection) -> None:
    assert await SignalsStore(connection).find(SignalGroupId(new_id())) is None
    assert await SignalsStore(connection).lock(SignalGroupId(new_id())) is None
