from datetime import timedelta

import pytest

from libs.common.contracts.base import Message, RequestRefused
from libs.common.contracts.ids import UserId
from libs.common.contracts.signals import SignalGroupDeleted, SignalGroupDeleteRequested, SignalGroupSaved
from libs.common.database import Connection
from libs.common.ids import derive, first_of, new_id
from libs.common.messaging.work import Work
from libs.common.settings import SettingsError
from libs.common.testing import NOON, deliver
from libs.common.testing.delivery import envelope_of
from services.signals import handlers
from services.signals.app import app
from services.signals.memory import SignalsMemory
from services.signals.store import SignalsStore
from tests.services.signals.making import a_group, an_arrival, save


def kinds(said: list[Message]) -> list[type[Message]]:
    return [type(message) for message in said]


async def test_a_group_is_created_changed_and_deleted(connection: Connection) -> None:
    group = a_group()
    changed = group.model_copy(update={"name": "RSI", "rotation": 1})
    [created] = await deliver(app, connection, save(group))
    assert created == SignalGroupSaved(group_id=group.group_id, user_id=group.user_id, group=group, version=1)
    [saved] = await deliver(app, connection, save(changed, 1))
    assert saved == SignalGroupSaved(group_id=group.group_id, user_id=group.user_id, group=changed, version=2)
    found = await SignalsStore(connection).find(group.group_id)
    assert found is not None
    assert (found.group, found.version) == (changed, 2)
    delete = SignalGroupDeleteRequested(group_id=group.group_id, user_id=group.user_id)
    assert await deliver(app, connection, delete) == [
        SignalGroupDeleted(group_id=group.group_id, user_id=group.user_id)
    ]
    assert await SignalsStore(connection).find(group.group_id) is None


async def test_requests_of_one_batch_see_each_other(connection: Connection) -> None:
    group = a_group()
    delete = SignalGroupDeleteRequested(group_id=group.group_id, user_id=group.user_id)
    said = await deliver(app, connection, save(group), save(group), delete, delete, save(group))
    assert kinds(said) == [SignalGroupSaved, RequestRefused, SignalGroupDeleted, RequestRefused, SignalGroupSaved]
    found = await SignalsStore(connection).find(group.group_id)
    assert found is not None
    assert found.version == 1


async def test_a_refusal_names_the_entity_and_the_request(connection: Connection) -> None:
    group = a_group()
    [refused] = await deliver(app, connection, save(group, 4))
    assert refused == RequestRefused(
        entity_id=str(group.group_id),
        request="SignalGroupSaveRequested",
        code="not_found",
        reason=f"there is no signal group {group.group_id}",
    )


async def test_a_change_does_not_reset_the_days_count(connection: Connection) -> None:
    group = a_group()
    await deliver(app, connection, save(group))
    store = SignalsStore(connection)
    receiver = await store.lock(group.group_id)
    assert receiver is not None
    await store.accept(new_id(), an_arrival(group), receiver.counting(NOON.date()))
    await deliver(app, connection, save(group.model_copy(update={"max_signals_per_day": 2}), 1))
    found = await SignalsStore(connection).find(group.group_id)
    assert found is not None
    assert found.accepted_on(NOON.date()) == 1


def test_the_log_is_kept_for_as_long_as_it_is_asked_for_alike_alerts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen: with 0 days a repetition was traded, however long the group's window."""
    monkeypatch.setenv("SIGNALS_KEPT_DAYS", "0")
    with pytest.raises(SettingsError, match="SIGNALS_KEPT_DAYS"):
        SignalsMemory()


async def test_all_that_is_old_is_forgotten_however_much_it_is(connection: Connection) -> None:
    """Seen: ten thousand in ten minutes went, and of a busier log all the others stayed."""
    group, memory, store = a_group(), SignalsMemory(), SignalsStore(connection)
    old = NOON - timedelta(days=memory.settings.kept_days, seconds=1)
    await store.keep(first_of(old), an_arrival(group, received_at=old))
    await connection.execute(
        """
        INSERT INTO webhook_log
        SELECT fresh.id, group_id, user_id, received_at, source_ip, content_hash, alert_id, payload, fate, reason,
               signal_id, processing_ms
        FROM webhook_log, unnest($1::uuid[]) AS fresh (id)
        """,
        [derive(first_of(old), n) for n in range(20_000)],
    )
    await handlers.forget_old_arrivals(Work(app, memory, connection, NOON).context(envelope_of(save(group))))
    assert await connection.fetchval("SELECT count(*) FROM webhook_log") == 0


async def test_the_log_is_forgotten_after_its_time(connection: Connection) -> None:
    group, memory = a_group(user_id=UserId(new_id())), SignalsMemory()
    old = NOON - timedelta(days=memory.settings.kept_days, seconds=1)
    store = SignalsStore(connection)
    await store.keep(first_of(old), an_arrival(group, received_at=old))
    await store.keep(first_of(NOON), an_arrival(group, received_at=NOON))
    work = Work(app, memory, connection, NOON)
    await handlers.forget_old_arrivals(work.context(envelope_of(save(group))))
    [kept] = await store.arrivals(group.user_id, None, None, 10)
    assert kept["received_at"] == NOON
