"""Changes and cancels at a broker, ours and those of others."""

import asyncio

import pytest

from libs.common.contracts.enums import Broker, OrderType
from libs.common.contracts.enums import OrderStatus as S
from libs.common.contracts.orders import (
    OrderCancelled,
    OrderCancelRefused,
    OrderCancelRequested,
    OrderModified,
    OrderModifyRefused,
)
from services.trading.adapters.called import CalledBroker
from services.trading.domain import orders
from tests.services.trading.broker_world import World
from tests.services.trading.making import USER, change_to
from tools.stub_broker.faults import Fault

CUT_OFF = "state = 'CALLING', attempts = 1, called_at = created_at, created_at = created_at - interval '61 s'"


async def test_a_change_and_a_cancel_are_told_when_the_book_shows_them(the_world: World) -> None:
    account_id = await the_world.account()
    the_world.stub.plan.script.extend([Fault.NONE, Fault.SILENT_BEFORE, Fault.NONE, Fault.ERROR_AFTER])
    the_world.start()
    order = the_world.order(account_id)
    await the_world.tell(order)
    await the_world.becomes(order, S.ACCEPTED)
    await the_world.tell(change_to(order, 12, "101.5"))

    async def changed() -> bool:
        return bool(the_world.events(order, OrderModified))

    await the_world.until(changed, "the change")
    [modified] = the_world.events(order, OrderModified)
    assert (modified.quantity, str(modified.price)) == (12, "101.5")
    await the_world.tell(OrderCancelRequested(order_id=order.order_id, account_id=account_id, user_id=USER))
    await the_world.becomes(order, S.CANCELLED)
    await the_world.agrees([order])
    assert [c[0] for c in the_world.stub.calls].count("PUT") == 2


async def test_a_change_that_the_broker_refuses_leaves_the_order_as_it_was(the_world: World) -> None:
    account_id = await the_world.account()
    the_world.stub.plan.script.extend([Fault.NONE, Fault.REFUSED])
    the_world.start()
    order = the_world.order(account_id)
    await the_world.tell(order)
    await the_world.becomes(order, S.ACCEPTED)
    await the_world.tell(change_to(order, 12))

    async def refused() -> bool:
        return bool(the_world.events(order, OrderModifyRefused))

    await the_world.until(refused, "the refusal")
    assert "insufficient funds" in the_world.events(order, OrderModifyRefused)[0].reason
    assert await the_world.status(order) is S.ACCEPTED


async def test_what_somebody_changes_at_the_brokers_own_screen_is_told(the_world: World) -> None:
    account_id = await the_world.account()
    the_world.start()
    order = the_world.order(account_id)
    await the_world.tell(order)
    await the_world.becomes(order, S.ACCEPTED)
    form = {"quantity": "7", "order_type": OrderType.LIMIT, "price": "99.5"}
    the_world.stub.exchange.change(the_world.placed(order)[0], form)

    async def told() -> bool:
        return bool(the_world.events(order, OrderModified))

    await the_world.until(told, "the change")
    assert the_world.events(order, OrderModified)[0].quantity == 7


async def test_a_cancel_of_an_order_of_unknown_outcome_waits_until_the_order_is_found(the_world: World) -> None:
    account_id = await the_world.account()
    the_world.stub.plan.script.append(Fault.ERROR_AFTER)
    the_world.stub.book_faults = [Fault.ERROR_BEFORE]
    the_world.start()
    order = the_world.order(account_id)
    await the_world.tell(order)
    await the_world.becomes(order, S.OUTCOME_UNKNOWN)
    await the_world.tell(OrderCancelRequested(order_id=order.order_id, account_id=account_id, user_id=USER))
    await the_world.becomes(order, S.CANCELLED)
    await the_world.agrees([order])


async def test_a_cancel_that_the_broker_took_and_the_exchange_did_not_carry_out_is_told_and_may_be_asked_again(
    the_world: World,
) -> None:
    """The order stayed open, without a word, and a square-off that had asked for the cancel waited for it for ever."""
    account_id = await the_world.account()
    the_world.stub.plan.script.extend([Fault.NONE, Fault.NOT_DONE])
    the_world.start()
    order = the_world.order(account_id)
    await the_world.tell(order)
    await the_world.becomes(order, S.ACCEPTED)
    cancel = OrderCancelRequested(order_id=order.order_id, account_id=account_id, user_id=USER)
    await the_world.tell(cancel)

    async def refused() -> bool:
        return bool(the_world.events(order, OrderCancelRefused))

    await the_world.until(refused, "the refusal")
    assert the_world.events(order, OrderCancelRefused)[0].reason == "the exchange keeps the order open"
    await the_world.tell(cancel)
    await the_world.becomes(order, S.CANCELLED)
    await the_world.agrees([order])


async def test_an_order_that_comes_after_its_cancel_is_not_sent(the_world: World) -> None:
    """Whoever submitted it was stopped before Kafka had it, and another instance's square-off cancelled it meanwhile.
    The cancel found nothing, the order was sent eight seconds later, and the square-off waited for its end for ever.
    """
    account_id = await the_world.account()
    order = the_world.order(account_id)
    await the_world.handle(order)
    await the_world.pool.execute("DELETE FROM message_outbox WHERE type = 'BrokerOrderRequested'")
    await the_world.tell(OrderCancelRequested(order_id=order.order_id, account_id=account_id, user_id=USER))
    the_world.start()
    await asyncio.sleep(0.5)
    await the_world.tell(*CalledBroker(Broker.ZERODHA).submit(orders.submit(order)[0], order))
    await the_world.becomes(order, S.CANCELLED)
    assert the_world.placed(order) == []
    assert await the_world.pool.fetchval("SELECT count(*) FROM broker_calls WHERE state <> 'DONE'") == 0


@pytest.mark.parametrize(
    "found", ["created_at = created_at - interval '21 s'", CUT_OFF], ids=["it never left", "it was cut off"]
)
async def test_a_change_that_waited_out_an_outage_of_ours_is_not_sent_to_its_broker(
    the_world: World, found: str
) -> None:
    account_id = await the_world.account()
    number = the_world.start()
    order = the_world.order(account_id)
    await the_world.tell(order)
    await the_world.becomes(order, S.ACCEPTED)
    the_world.kill(number)
    await the_world.tell(change_to(order, 12))
    await the_world.pool.execute(f"UPDATE broker_calls SET {found} WHERE state = 'WAITING'")  # noqa: S608 - ours
    the_world.start()

    async def refused() -> bool:
        return bool(the_world.events(order, OrderModifyRefused))

    await the_world.until(refused, "the refusal")
    assert ("PUT", f"/orders/regular/{the_world.placed(order)[0]}") not in the_world.stub.calls
    assert await the_world.status(order) is S.ACCEPTED


@pytest.mark.parametrize("what", ["a change", "a cancel"])
async def test_a_repeat_that_is_refused_says_nothing_of_what_was_taken_and_not_answered(
    the_world: World, what: str
) -> None:
    """Its owner heard that it was refused, and a moment later the order had the new terms, or was cancelled."""
    account_id = await the_world.account()
    the_world.stub.plan.script.extend([Fault.NONE, Fault.ERROR_AFTER, Fault.REFUSED])
    the_world.start()
    order = the_world.order(account_id)
    await the_world.tell(order)
    await the_world.becomes(order, S.ACCEPTED)
    the_world.stub.book_faults = [Fault.ERROR_BEFORE] * 1000
    is_change = what == "a change"
    cancel = OrderCancelRequested(order_id=order.order_id, account_id=account_id, user_id=USER)
    await the_world.tell(change_to(order, 12) if is_change else cancel)

    async def was_asked_twice() -> bool:
        return not the_world.stub.plan.script

    await the_world.until(was_asked_twice, "the repeat")
    the_world.stub.book_faults = []

    async def told() -> bool:
        return bool(the_world.events(order, OrderModified, OrderCancelled))

    await the_world.until(told, "what became of it")
    await asyncio.sleep(0.2)
    await the_world.pump()
    answers = the_world.events(order, OrderModified, OrderCancelled, OrderModifyRefused, OrderCancelRefused)
    assert [type(m) for m in answers] == [OrderModified if is_change else OrderCancelled]
