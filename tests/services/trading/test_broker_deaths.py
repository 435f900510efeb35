"""Deaths in the middle of a cancel or a change at a broker, and what the broker did while nobody of ours was there."""

import asyncio

import pytest

from libs.common import database
from libs.common.contracts.brokers import BrokerOrderRequested
from libs.common.contracts.enums import OrderStatus
from libs.common.contracts.orders import (
    FillReported,
    OrderCancelRequested,
    OrderCleared,
    OrderModified,
    OrderModifyRefused,
)
from libs.common.contracts.venue import VenueOrderRequested
from libs.common.testing import Databases
from services.trading.effects.steps import Step
from tests.common.unheard import road_to
from tests.services.trading.broker_world import World
from tests.services.trading.making import USER, account_save, change_to
from tests.services.trading.test_effects import STEPS_OF_A_CALL
from tools.stub_broker.faults import Fault

S = OrderStatus
CASES = [(step, Fault.NONE) for step in STEPS_OF_A_CALL] + [
    (step, Fault.ERROR_BEFORE) for step in (Step.CALLING, Step.ANSWERED, Step.JUDGED)
]


async def resting(the_world: World) -> OrderCleared:
    """An order that rests at the broker, and nobody who would work on it."""
    order = the_world.order(await the_world.account())
    number = the_world.start()
    await the_world.tell(order)
    await the_world.becomes(order, S.ACCEPTED)
    the_world.kill(number)
    return order


async def dies_at(the_world: World, step: Step) -> None:
    the_world.crash_at(step)
    office = the_world.offices[max(the_world.offices)][1]

    async def dead() -> bool:
        return office.done()

    await the_world.until(dead, f"a death at {step}")


@pytest.mark.parametrize(("step", "fault"), CASES)
async def test_a_cancel_outlives_a_death_at_any_step(the_world: World, step: Step, fault: Fault) -> None:
    order = await resting(the_world)
    the_world.stub.plan.script.append(fault)
    await the_world.tell(
        OrderCancelRequested(order_id=order.order_id, account_id=order.account_id, user_id=USER),
    )
    await dies_at(the_world, step)
    the_world.stub.plan.script.clear()
    the_world.start()
    if fault is Fault.NONE:
        await the_world.becomes(order, S.CANCELLED)
    else:
        await settled(the_world)
    await the_world.agrees([order])


@pytest.mark.parametrize(("step", "fault"), CASES)
async def test_a_change_outlives_a_death_at_any_step(the_world: World, step: Step, fault: Fault) -> None:
    order = await resting(the_world)
    the_world.stub.plan.script.append(fault)
    await the_world.tell(change_to(order, 12))
    await dies_at(the_world, step)
    the_world.stub.plan.script.clear()
    the_world.start()

    async def answered() -> bool:
        return bool(the_world.events(order, OrderModified, OrderModifyRefused))

    await the_world.until(answered, "what became of the change")
    theirs = the_world.stub.exchange.orders[the_world.placed(order)[0]].fields["quantity"]
    ours = await the_world.pool.fetchval("SELECT quantity FROM orders WHERE order_id = $1", order.order_id)
    assert ours == theirs
    assert bool(the_world.events(order, OrderModified)) == (theirs == 12), "what is told is what the broker has"
    await the_world.agrees([order])


async def settled(the_world: World) -> None:
    """The broker was asked for nothing more for some readings of its book."""

    async def done() -> bool:
        calls = len([call for call in the_world.stub.calls if call[0] != "GET"])
        await asyncio.sleep(0.6)
        return calls == len([call for call in the_world.stub.calls if call[0] != "GET"])

    await the_world.until(done, "an end of the calls")


async def test_lean_ib_249_fill_during_disconnect(the_world: World) -> None:
    """Also test_nautilus_3046: what the broker shows again after a restart is not booked again."""
    order = await resting(the_world)
    broker_order_id = the_world.placed(order)[0]
    the_world.stub.exchange.fill(broker_order_id, 4)
    the_world.stub.exchange.fill(broker_order_id, 6)
    for _ in range(2):
        number = the_world.start()
        await the_world.becomes(order, S.FILLED)
        await asyncio.sleep(0.3)
        await the_world.pump()
        the_world.kill(number)
    assert [fill.quantity for fill in the_world.events(order, FillReported)] == [4, 6]
    assert await the_world.held(order.account_id) == 10


async def test_hummingbot_3001_an_order_filled_in_part_and_cancelled_meanwhile_is_no_ghost(the_world: World) -> None:
    order = await resting(the_world)
    broker_order_id = the_world.placed(order)[0]
    the_world.stub.exchange.fill(broker_order_id, 4)
    the_world.stub.exchange.cancel(broker_order_id)
    the_world.start()
    await the_world.becomes(order, S.CANCELLED)
    await the_world.agrees([order])
    assert await the_world.held(order.account_id) == 4


async def test_nautilus_3104_position_older_than_history(the_world: World) -> None:
    """A broker's book has one day. What was bought before is known from our own log, and stays."""
    order = the_world.market(await the_world.account())
    number = the_world.start()
    await the_world.tell(order)
    await the_world.becomes(order, S.FILLED)
    the_world.kill(number)
    the_world.stub.exchange.orders.clear()
    the_world.stub.exchange.trades.clear()
    the_world.said.clear()
    the_world.start()
    await asyncio.sleep(1.0)
    await the_world.pump()
    assert the_world.said == [], "an empty book says nothing of what is over"
    assert await the_world.status(order) is S.FILLED
    assert await the_world.held(order.account_id) == 10


async def test_openalgo_1055_an_order_of_a_paper_account_never_reaches_a_broker(the_world: World) -> None:
    """The account says where its orders go, not a switch of the whole platform; also while others trade for real."""
    paper = account_save()
    await the_world.tell(paper)
    real = the_world.market(await the_world.account())
    order = the_world.market(paper.account_id)
    the_world.start()
    await the_world.tell(order, real)
    await the_world.becomes(real, S.FILLED)
    assert the_world.arrived(order) == 0
    assert [m.order_id for m in the_world.said if isinstance(m, BrokerOrderRequested)] == [real.order_id]
    assert [m.order_id for m in the_world.said if isinstance(m, VenueOrderRequested)] == [order.order_id]


async def test_an_order_whose_call_was_recorded_without_our_hearing_of_it_does_not_wait_for_ever(
    the_world: World,
) -> None:
    """The commit was made and its answer lost: nothing was sent, and nobody works on what is CALLING."""
    order = the_world.order(await the_world.account())
    async with road_to(await Databases.url("trading")) as road:
        the_world.runtime.pool = await database.open_pool(road.url, "trading")

        def passed(step: Step) -> None:
            if step is Step.CHOSEN and not road.lost.is_set():
                road.lose_next()

        number = the_world.start(passed)
        await the_world.tell(order)
        await the_world.becomes(order, S.REJECTED)
        assert road.lost.is_set()
        the_world.kill(number)
        await the_world.runtime.pool.close()
    await the_world.agrees([order])
