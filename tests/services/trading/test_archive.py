"""What ended long ago leaves the order path's tables, and is as good as there when somebody asks after all."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import count
from uuid import UUID

import pytest

from libs.common.contracts.base import Message
from libs.common.contracts.enums import DenialRule, OrderStatus, Side
from libs.common.contracts.ids import AccountId, InstrumentId, OrderId, SquareOffId
from libs.common.contracts.orders import FillReported, OrderCleared, OrderDenied, OrderSubmitted
from libs.common.database import Connection
from libs.common.ids import first_of, new_id
from libs.common.messaging.work import Work, origin
from libs.common.testing import NOON, deliver
from libs.common.trading_calendar import IST
from services.trading.app import app
from services.trading.handlers import archive as handlers
from services.trading.handlers import funds
from services.trading.memory import TradingMemory
from services.trading.store import KEPT
from tests.services.trading.broker_world import World
from tests.services.trading.making import (
    ACCOUNT,
    ALPHA,
    BETA,
    CALL,
    INFY,
    SBIN,
    accepted,
    account_save,
    cancelled,
    cleared,
    execution,
    filled,
    square_off,
)

LONG_AGO = NOON - KEPT - timedelta(hours=1)
NIGHT = NOON + timedelta(hours=14)
"""02:00 in India."""
_numbers = count(1)


def an_order(at: datetime = LONG_AGO, account_id: AccountId = ACCOUNT) -> OrderCleared:
    own = UUID(int=first_of(at).int | 0x7 << 76 | 0x2 << 62 | next(_numbers))
    return cleared(order=OrderId(own), account_id=account_id)


async def archive(
    connection: Connection, now: datetime = NIGHT, memory: TradingMemory | None = None
) -> Sequence[Message]:
    work = Work(app, memory or TradingMemory(), connection, now)
    return await handlers.archive(work.context(origin(app, now)))


async def begin_day(connection: Connection, now: datetime) -> None:
    work = Work(app, TradingMemory(), connection, now)
    await funds.begin_days(work.context(origin(app, now)))
    await work.store.write()


async def hot(connection: Connection) -> list[tuple[OrderId, str]]:
    return [tuple(row) for row in await connection.fetch("SELECT order_id, status FROM orders ORDER BY order_id")]


async def counts(connection: Connection) -> dict[str, int]:
    tables = ("orders", "executions", "archived_orders", "archived_executions")
    return {table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in tables}  # noqa: S608


@pytest.fixture
async def ended(connection: Connection) -> OrderCleared:
    """An old order that was filled whole, by two executions."""
    order = an_order()
    await deliver(app, connection, account_save(), now=LONG_AGO)
    await deliver(app, connection, order, accepted(order), filled(order, 10, name="fill-1"), now=LONG_AGO)
    return order


async def test_what_ended_long_ago_is_put_away_with_its_executions_and_the_rest_stays(
    connection: Connection, ended: OrderCleared
) -> None:
    still_open, young = an_order(), an_order(NOON)
    await deliver(app, connection, still_open, accepted(still_open), young, cancelled(young))
    assert await archive(connection) == []
    kept = {order_id for order_id, _ in await hot(connection)}
    assert kept == {still_open.order_id, young.order_id}
    assert await counts(connection) == {"orders": 2, "executions": 2, "archived_orders": 1, "archived_executions": 2}
    assert await archive(connection) == []
    assert (await counts(connection))["archived_orders"] == 1


async def test_it_waits_for_the_night(connection: Connection, ended: OrderCleared) -> None:
    await archive(connection, NOON)
    assert (await counts(connection))["archived_orders"] == 0


async def test_by_day_it_takes_what_no_night_took(connection: Connection, ended: OrderCleared) -> None:
    """Where the stack is stopped each evening nothing was ever put away."""
    await archive(connection, NOON + timedelta(days=2))
    assert await counts(connection) == {"orders": 0, "executions": 0, "archived_orders": 1, "archived_executions": 2}


async def test_an_archived_order_that_is_cleared_again_is_not_sent_again(
    connection: Connection, ended: OrderCleared
) -> None:
    await archive(connection)
    assert await deliver(app, connection, ended) == []
    assert await hot(connection) == [(ended.order_id, OrderStatus.FILLED)]
    young = an_order(NOON)
    assert any(isinstance(each, OrderSubmitted) for each in await deliver(app, connection, young))


async def test_a_fill_that_was_booked_before_the_archive_is_not_booked_again(
    connection: Connection, ended: OrderCleared
) -> None:
    await archive(connection)
    assert await deliver(app, connection, filled(ended, 10, name="fill-1")) == []
    held = await connection.fetchval("SELECT sum(quantity) FROM positions")
    assert held == 10


async def test_a_fill_that_comes_after_the_archive_is_booked_all_the_same(connection: Connection) -> None:
    order = an_order()
    await deliver(app, connection, account_save(), now=LONG_AGO)
    await deliver(app, connection, order, accepted(order), cancelled(order), now=LONG_AGO)
    await archive(connection)
    said = await deliver(app, connection, filled(order, 4, name="late"), filled(order, 4, name="late"))
    assert [each.quantity for each in said if isinstance(each, FillReported)] == [4]
    assert await connection.fetchval("SELECT sum(quantity) FROM positions") == 4
    assert await counts(connection) == {"orders": 1, "executions": 3, "archived_orders": 0, "archived_executions": 0}


async def test_a_young_order_costs_no_look_into_the_archive(connection: Connection) -> None:
    await deliver(app, connection, account_save())
    await connection.execute("ALTER TABLE archived_orders RENAME TO gone")
    young = an_order(NOON)
    said = await deliver(app, connection, young, accepted(young), filled(young, 10))
    assert any(isinstance(each, FillReported) for each in said)
    assert await deliver(app, connection, execution(an_order(NOON), accepted(young).kind)) == []


async def test_what_was_asked_of_a_broker_is_forgotten_with_its_orders(the_world: World) -> None:
    """All calls there had ever been, and all orders that ever went to a broker, stayed for ever."""
    account_id = await the_world.account()
    number = the_world.start()
    over, open_still = the_world.market(account_id), the_world.order(account_id)
    await the_world.tell(over, open_still)
    await the_world.becomes(over, OrderStatus.FILLED)
    await the_world.becomes(open_still, OrderStatus.ACCEPTED)
    the_world.kill(number)
    night = the_world.runtime.clock.now().astimezone(IST).replace(hour=2)
    for days, left in ((1, [over.order_id, open_still.order_id]), (9, [open_still.order_id])):
        for _ in range(2):
            async with the_world.pool.acquire() as connection, connection.transaction():
                await archive(connection, night + timedelta(days=days))
        known = await the_world.pool.fetch("SELECT order_id FROM broker_orders ORDER BY order_id")
        assert [row[0] for row in known] == left
        assert await the_world.pool.fetchval("SELECT count(*) FROM broker_calls") == (2 if days == 1 else 0)


async def held(connection: Connection, table: str = "positions") -> list[str]:
    return [row[0] for row in await connection.fetch(f"SELECT instrument FROM {table} ORDER BY 1")]  # noqa: S608


@pytest.mark.parametrize("at_once", [1, 100])
async def test_what_was_held_of_a_contract_is_forgotten_a_month_after_it_expired(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Each stayed for ever, 10,000 a day of 1,000 accounts that trade ten options each; every ten seconds, and by a
    panic while nothing else moved, all of them were read for what is still held.
    """
    monkeypatch.setattr(handlers, "POSITIONS_AT_ONCE", at_once)
    still_held, waits, offset = (InstrumentId(f"NFO:NIFTY23NOV26{strike}CE") for strike in (24100, 24200, 24300))
    await deliver(app, connection, account_save())
    for instrument in (CALL, SBIN, still_held, waits):
        bought, sold = cleared(instrument=instrument), cleared(Side.SELL, instrument=instrument)
        await deliver(app, connection, bought, filled(bought, 10), sold, filled(sold, 10))
    bought, resting = cleared(instrument=still_held), cleared(instrument=waits)
    of_alpha, of_beta = cleared(instrument=offset, strategy=ALPHA), cleared(Side.SELL, instrument=offset, strategy=BETA)
    await deliver(app, connection, bought, filled(bought, 10), resting, accepted(resting))
    await deliver(app, connection, of_alpha, filled(of_alpha, 10), of_beta, filled(of_beta, 10))
    months_last = NIGHT + timedelta(days=29)
    await begin_day(connection, months_last)
    every = await held(connection)
    for night, left in ((0, every), (1, [each for each in every if each != CALL])):
        memory = TradingMemory()
        for _ in range(len(every) + 1):
            await archive(connection, months_last + timedelta(days=night), memory)
        assert await held(connection) == left
    assert CALL not in await held(connection, "books")
    assert len(await held(connection, "books")) == len(every), "two of the offset one, none of the forgotten one"


async def test_the_largest_order_of_a_contract_is_forgotten_when_it_has_expired(connection: Connection) -> None:
    """Each that an exit had ever learned stayed, and every look of a square-off read all of them."""
    await deliver(app, connection, account_save())
    for instrument in (CALL, SBIN):
        exit_of_all = cleared(instrument=instrument).model_copy(
            update={"square_off_id": SquareOffId(new_id()), "quantity": 5_000}
        )
        denied = OrderDenied(**vars(exit_of_all), rule=DenialRule.FREEZE_QUANTITY, reason="too large", limit="1800")
        await deliver(app, connection, denied)
    await archive(connection, NIGHT - timedelta(days=1))
    assert await learned(connection) == [CALL, SBIN]
    await archive(connection)
    assert await learned(connection) == [SBIN]


async def learned(connection: Connection) -> list[str]:
    return [row[0] for row in await connection.fetch("SELECT instrument FROM largest_orders ORDER BY instrument")]


async def test_square_offs_that_are_over_are_forgotten(connection: Connection) -> None:
    """Each stayed for ever."""
    await deliver(app, connection, account_save(), now=LONG_AGO)
    over, at_work = (
        square_off(instrument=each).model_copy(update={"square_off_id": SquareOffId(own)})
        for own, each in ((an_order().order_id, INFY), (an_order().order_id, SBIN))
    )
    bought = cleared()
    await deliver(app, connection, bought, filled(bought, 10), now=LONG_AGO)
    await deliver(app, connection, over, at_work, now=LONG_AGO)
    await archive(connection, NIGHT - timedelta(days=1))
    assert await connection.fetchval("SELECT count(*) FROM square_offs") == 2
    await archive(connection)
    assert await connection.fetchval("SELECT array_agg(square_off_id) FROM square_offs") == [at_work.square_off_id]
