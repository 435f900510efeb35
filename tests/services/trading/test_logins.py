"""A broker's access token ends each morning, whatever rests there."""

import asyncio

from libs.common.clock import stopwatch
from libs.common.contracts.enums import OrderPurpose, OrderStatus, Side
from libs.common.contracts.ids import SquareOffId
from libs.common.contracts.orders import OrderRejected
from libs.common.ids import new_id
from tests.services.trading.broker_world import TOKEN, World


async def test_lean_zerodha_4_openalgo_146_with_a_token_that_ended_nothing_is_repeated_and_nothing_lost(
    the_world: World,
) -> None:
    """Others connected with it again and again, showed empty books, and had to be started anew after the login."""
    account_id = await the_world.account()
    the_world.start()
    resting, refused, afterwards = (the_world.order(account_id) for _ in range(3))
    await the_world.tell(resting)
    await the_world.becomes(resting, OrderStatus.ACCEPTED)
    the_world.stub.expired.add(TOKEN)
    the_world.stub.exchange.fill(the_world.placed(resting)[0], resting.quantity)
    await the_world.tell(refused)
    await the_world.becomes(refused, OrderStatus.REJECTED)
    [told] = the_world.events(refused, OrderRejected)
    assert "TokenException" in told.reason
    asked, since = len(the_world.stub.calls), stopwatch()
    await asyncio.sleep(2.0)
    await the_world.pump()
    again, seconds = the_world.stub.calls[asked:], stopwatch() - since
    assert {method for method, _ in again} <= {"GET"}, "no order is sent again"
    most = seconds / 0.8 + 2
    assert again.count(("GET", "/orders")) <= most, "a book that cannot be read is read ten times more rarely: in 0.8 s"
    assert await the_world.status(resting) is OrderStatus.ACCEPTED, "a book that nobody may read proves nothing"
    await the_world.log_in(account_id, "the token of today")
    await the_world.becomes(resting, OrderStatus.FILLED)
    await the_world.tell(afterwards)
    await the_world.becomes(afterwards, OrderStatus.ACCEPTED)
    await the_world.agrees([resting, refused, afterwards])
    assert await the_world.held(account_id) == resting.quantity


async def test_an_exit_after_the_login_is_not_sent_when_a_stop_had_closed_the_position_before(the_world: World) -> None:
    account_id = await the_world.account()
    the_world.start()
    entry, stop = the_world.market(account_id), the_world.order(account_id, side=Side.SELL)
    await the_world.tell(entry, stop)
    await the_world.becomes(entry, OrderStatus.FILLED)
    await the_world.becomes(stop, OrderStatus.ACCEPTED)
    the_world.stub.expired.add(TOKEN)
    the_world.stub.exchange.fill(the_world.placed(stop)[0], stop.quantity)
    refused, again = (
        the_world.market(
            account_id, side=Side.SELL, purpose=OrderPurpose.SQUARE_OFF, square_off_id=SquareOffId(new_id())
        )
        for _ in range(2)
    )
    await the_world.tell(refused)
    await the_world.becomes(refused, OrderStatus.REJECTED)
    await asyncio.sleep(0.2)
    await the_world.log_in(account_id, "the token of today")
    await the_world.tell(again)
    assert await the_world.becomes(again, OrderStatus.CANCELLED, OrderStatus.FILLED) is OrderStatus.CANCELLED
    assert (the_world.arrived(again), await the_world.held(account_id)) == (0, 0)
