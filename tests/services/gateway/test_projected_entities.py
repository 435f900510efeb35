"""What owners save and delete, as the gateway keeps it: the same however its events came together."""

import pytest

from libs.common import ids
from libs.common.contracts.ids import AccountId, UserId
from libs.common.database import Connection
from libs.common.testing import deliver
from services.gateway.app import app
from services.gateway.store import entities
from services.gateway.store.entities import Kind
from tests.services.gateway import said

USER, ACCOUNT = UserId(ids.new_id()), AccountId(ids.new_id())


async def test_a_deleted_account_is_gone_and_may_not_come_back_by_an_old_event(connection: Connection) -> None:
    await deliver(app, connection, said.account_saved(USER, ACCOUNT, 1))
    assert [r["version"] for r in await _accounts(connection)] == [1]
    await deliver(app, connection, said.account_deleted(USER, ACCOUNT))
    assert await _accounts(connection) == []
    await deliver(app, connection, said.account_saved(USER, ACCOUNT, 1))
    assert await _accounts(connection) == []


@pytest.mark.parametrize("batches", [(1, 1, 1, 1), (4,), (1, 3), (2, 2), (3, 1)])
async def test_what_is_left_of_a_deleted_account_is_the_same_however_its_events_came_together(
    connection: Connection, batches: tuple[int, ...]
) -> None:
    """A rebuild reads the log in other batches, and must end where the live service did."""
    events = iter(
        (
            said.account_saved(USER, ACCOUNT, 1),
            said.account_saved(USER, ACCOUNT, 2),
            said.account_deleted(USER, ACCOUNT),
            said.account_saved(USER, ACCOUNT, 2),
        )
    )
    for size in batches:
        await deliver(app, connection, *(next(events) for _ in range(size)))
    (left,) = await connection.fetch("SELECT version, deleted, body->>'name' AS name FROM entities")
    assert dict(left) == {"version": 2, "deleted": True, "name": "Main"}


async def _accounts(connection: Connection) -> list[dict[str, object]]:
    return await entities.of_user(connection, Kind.ACCOUNT, USER)
