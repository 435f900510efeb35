"""The book of orders in PostgreSQL."""

from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest

from libs.common.contracts.enums import OrderStatus, OrderType, Side, Validity
from libs.common.database import Connection
from services.walkforward.domain.orders import Order
from services.walkforward.store import WalkforwardStore
from tests.services.walkforward.venue import EVENING, NOON, later, order


async def write(connection: Connection, *orders: Order) -> None:
    store = WalkforwardStore(connection)
    await store.lock(each.order_id for each in orders)
    for each in orders:
        store.save(each)
    await store.write()


async def read(connection: Connection, of: Order) -> Order | None:
    found = await WalkforwardStore(connection).lock([of.order_id])
    return found[0] if found else None


async def test_an_order_is_read_as_it_was_written(connection: Connection) -> None:
    new = order(Side.SELL, 75, OrderType.SL, "98.50", "99.00", validity=Validity.IOC, seen=NOON)
    bare = order()
    await write(connection, new, bare)
    assert await read(connection, new) == new
    assert await read(connection, bare) == bare


async def test_what_may_change_is_updated(connection: Connection) -> None:
    resting = order(Side.BUY, 100, OrderType.LIMIT, "99.00")
    await write(connection, resting)
    changed = replace(
        resting,
        quantity=90,
        order_type=OrderType.SL,
        trigger_price=resting.price,
        status=OrderStatus.PARTIALLY_FILLED,
        priority_at=later(1),
        filled=40,
        triggered=True,
        seen=later(2),
        executions=4,
    )
    await write(connection, changed)
    assert await read(connection, resting) == changed


async def test_a_row_that_fills_more_than_its_quantity_cannot_be_written(connection: Connection) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await write(connection, replace(order(quantity=10), filled=11))


async def test_orders_are_due_when_their_session_is_over(connection: Connection) -> None:
    open_order = order()
    await write(connection, open_order, replace(order(), status=OrderStatus.CANCELLED))
    store = WalkforwardStore(connection)
    assert open_order not in await store.lock_due(EVENING - timedelta(seconds=1), 100)
    assert open_order in await store.lock_due(EVENING, 100)
    assert all(due.is_open for due in await store.lock_due(EVENING, 100))


async def test_open_orders_are_known_again_after_a_restart(connection: Connection) -> None:
    resting, over = order(), replace(order(), status=OrderStatus.FILLED, filled=100)
    await write(connection, resting, over)
    known = await WalkforwardStore(connection).open_orders()
    assert resting in known
    assert over not in known


async def test_orders_that_another_instance_took_are_found_while_they_are_new(connection: Connection) -> None:
    resting, over = order(), replace(order(), status=OrderStatus.FILLED, filled=100)
    await write(connection, resting, over)
    store = WalkforwardStore(connection)
    recent = await store.recently_changed(timedelta(seconds=15))
    assert (resting.order_id, resting.instrument, resting.executions) in recent
    assert over.order_id not in {order_id for order_id, _, _ in recent}
    assert await store.recently_changed(timedelta(seconds=-15)) == []
    assert await store.read([resting.order_id]) == [resting]


async def test_finished_orders_are_forgotten_and_open_ones_never(connection: Connection) -> None:
    resting, over = order(), replace(order(), status=OrderStatus.EXPIRED)
    await write(connection, resting, over)
    await WalkforwardStore(connection).forget_finished(-timedelta(days=1), 1_000_000)
    assert await read(connection, over) is None
    assert await read(connection, resting) == resting


async def test_an_order_due_that_somebody_decides_on_is_left_to_them(pool: asyncpg.Pool) -> None:
    due = order()
    async with pool.acquire() as one, pool.acquire() as other:
        async with one.transaction():
            await write(one, due)
        async with one.transaction(), other.transaction():
            await WalkforwardStore(one).lock([due.order_id])
            assert await WalkforwardStore(other).lock_due(EVENING, 10) == []
