"""What leaves for a broker, when, how fast, and with whose credentials."""

import asyncio
import time

import pytest
from prometheus_client import REGISTRY

from libs.common.contracts.brokers import BrokerOrderRequested
from libs.common.contracts.enums import OrderPurpose, Side
from libs.common.contracts.enums import OrderStatus as S
from libs.common.contracts.ids import SquareOffId
from libs.common.contracts.orders import (
    FillReported,
    OrderAccepted,
    OrderCancelRequested,
    OrderModifyRefused,
    OrderRejected,
)
from libs.common.ids import new_id
from services.trading.effects import work_for_brokers
from tests.services.trading.broker_world import SECRET, TOKEN, World
from tests.services.trading.making import INFY, USER, change_to, panic
from tools.stub_broker.faults import Fault


async def test_an_order_is_placed_by_its_tag_accepted_filled_and_booked(the_world: World) -> None:
    account_id = await the_world.account()
    the_world.start()
    order = the_world.market(account_id)
    await the_world.tell(order)
    await the_world.becomes(order, S.FILLED)
    assert await the_world.held(account_id) == 10
    assert len(the_world.placed(order)) == the_world.arrived(order) == 1
    [accepted] = the_world.events(order, OrderAccepted)
    assert accepted.broker_order_id == the_world.placed(order)[0]
    assert len(the_world.events(order, FillReported)) == 1


async def test_after_a_panic_nothing_that_waits_leaves(the_world: World) -> None:
    account_id = await the_world.account()
    orders = [the_world.market(account_id) for _ in range(5)]
    await the_world.tell(*orders)
    await the_world.tell(panic())
    the_world.start()
    for order in orders:
        await the_world.becomes(order, S.CANCELLED)
        assert the_world.arrived(order) == 0


async def test_a_broker_that_keeps_silent_for_one_account_keeps_no_other_waiting(the_world: World) -> None:
    slow, quick = await the_world.account(), await the_world.account()
    the_world.stub.plan.script.append(Fault.SILENT_AFTER)
    the_world.start(broker_call_s=5.0, broker_lease_s=20.0)
    waiting, going = the_world.market(slow), the_world.market(quick)
    await the_world.tell(waiting)
    await asyncio.wait_for(the_world.stub.received.wait(), 5)
    await the_world.tell(going)
    await the_world.becomes(going, S.FILLED)
    assert await the_world.status(waiting) is S.SUBMITTED


async def test_openalgo_1816_the_calls_of_an_account_keep_within_the_brokers_rate(the_world: World) -> None:
    account_id = await the_world.account()
    orders = [the_world.order(account_id) for _ in range(7)]
    await the_world.tell(*orders)
    the_world.start(broker_calls_per_s=3, broker_leave_s=20.0)
    began = time.monotonic()
    for order in orders:
        await the_world.becomes(order, S.ACCEPTED)
    assert time.monotonic() - began >= 1.9
    assert [tag for tag in the_world.stub.exchange.placed] == [
        m.tag for m in the_world.said if isinstance(m, BrokerOrderRequested)
    ]


async def test_a_minute_that_is_full_of_entries_keeps_no_exit(the_world: World) -> None:
    """At Zerodha all that is placed beyond its minute is refused, exits too."""
    account_id = await the_world.account()
    entries = [the_world.market(account_id) for _ in range(12)]
    await the_world.tell(*entries)
    the_world.start(broker_orders_per_minute=10)
    await the_world.becomes(entries[8], S.FILLED)
    resting = the_world.order(account_id)
    out = the_world.market(account_id, side=Side.SELL, purpose=OrderPurpose.EXIT)
    await the_world.tell(resting, out)
    await the_world.becomes(out, S.FILLED)
    late = [the_world.market(account_id, side=Side.SELL, purpose=OrderPurpose.EXIT) for _ in range(2)]
    await the_world.tell(*late)
    await asyncio.sleep(1)
    await the_world.pump()
    unsent = [*entries[9:], resting, *late]
    assert [(await the_world.status(each), the_world.arrived(each)) for each in unsent] == [(S.SUBMITTED, 0)] * 6
    await the_world.tell(OrderCancelRequested(order_id=resting.order_id, account_id=account_id, user_id=USER))
    await the_world.becomes(resting, S.CANCELLED)
    assert the_world.arrived(resting) == 0


async def test_accounts_that_nobody_has_room_for_are_counted(the_world: World) -> None:
    """Nothing of theirs is sent, and nothing told that."""
    first, second = await the_world.account(), await the_world.account()
    the_world.start(broker_accounts=1)
    resting, waiting = the_world.order(first), the_world.order(second)
    await the_world.tell(resting)
    await the_world.becomes(resting, S.ACCEPTED)
    await the_world.tell(waiting)
    await the_world.until(lambda: counted(1), "that it is counted")
    assert await the_world.status(waiting) is S.SUBMITTED
    the_world.stub.exchange.cancel(the_world.placed(resting)[0])
    await the_world.becomes(waiting, S.ACCEPTED)
    await the_world.until(lambda: counted(0), "that it is counted no more")


async def counted(accounts: int) -> bool:
    return REGISTRY.get_sample_value("broker_accounts_waiting") == accounts


async def test_an_order_cancelled_before_it_left_never_leaves(the_world: World) -> None:
    account_id = await the_world.account()
    order = the_world.order(account_id)
    await the_world.tell(order)
    await the_world.tell(OrderCancelRequested(order_id=order.order_id, account_id=account_id, user_id=USER))
    the_world.start()
    await the_world.becomes(order, S.CANCELLED)
    assert the_world.arrived(order) == 0


async def test_an_account_without_credentials_has_its_orders_refused_with_the_reason(the_world: World) -> None:
    account_id = await the_world.account()
    await the_world.pool.execute("DELETE FROM broker_credentials")
    the_world.start()
    order = the_world.order(account_id)
    await the_world.tell(order)
    await the_world.becomes(order, S.REJECTED)
    assert "credentials" in the_world.events(order, OrderRejected)[0].reason


async def test_no_message_and_no_table_shows_a_credential(the_world: World, capsys: pytest.CaptureFixture[str]) -> None:
    account_id = await the_world.account()
    the_world.stub.plan.script.extend([Fault.ERROR_AFTER, Fault.REFUSED])
    the_world.start()
    orders = [the_world.market(account_id) for _ in range(3)]
    await the_world.tell(*orders)
    for order in orders:
        await the_world.becomes(order, S.FILLED, S.REJECTED)
    shown = " ".join(m.model_dump_json() for m in the_world.said) + repr(the_world.offices)
    for table in ("broker_calls", "broker_orders", "broker_credentials", "executions", "orders"):
        shown += str([tuple(row) for row in await the_world.pool.fetch(f"SELECT * FROM {table}")])  # noqa: S608
    captured = capsys.readouterr()
    assert TOKEN not in shown + captured.out + captured.err


async def test_the_service_s_own_background_calls_by_its_environment_and_finishes_a_call_before_it_stops(
    the_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    account_id = await the_world.account()
    monkeypatch.setenv("TRADING_VAULT_SECRET", SECRET)
    monkeypatch.setenv("TRADING_ZERODHA_URL", the_world.settings.zerodha_url)
    the_world.stub.plan.script.append(Fault.LATE)
    the_world.stub.late_s = 0.5
    order = the_world.order(account_id)
    await the_world.tell(order)
    working = asyncio.create_task(work_for_brokers(the_world.runtime))
    await asyncio.wait_for(the_world.stub.received.wait(), 5)
    working.cancel()
    await asyncio.wait([working])
    await the_world.pump()
    assert await the_world.status(order) is S.ACCEPTED
    assert await the_world.pool.fetchval("SELECT count(*) FROM broker_leases") == 0


def asked(world: World, since: int) -> list[str]:
    """What was asked of the broker, but for its book."""
    return [method for method, _ in world.stub.calls[since:] if method != "GET"]


async def test_an_exit_waits_for_one_try_of_each_cancel_and_not_for_their_end(the_world: World) -> None:
    """A broker that answered no cancel kept the exits of an account waiting for five tries of each, 25 s for one."""
    account_id = await the_world.account()
    number = the_world.start()
    resting = [the_world.order(account_id) for _ in range(2)]
    await the_world.tell(*resting)
    for order in resting:
        await the_world.becomes(order, S.ACCEPTED)
    the_world.kill(number)
    before = len(the_world.stub.calls)
    the_world.stub.plan.script.extend([Fault.SILENT_BEFORE] * 2)
    closing = the_world.market(account_id, side=Side.SELL, instrument=INFY, purpose=OrderPurpose.SQUARE_OFF)
    cancels = [OrderCancelRequested(order_id=o.order_id, account_id=account_id, user_id=USER) for o in resting]
    await the_world.tell(*cancels, closing)
    the_world.start()
    await the_world.becomes(closing, S.FILLED)
    assert asked(the_world, before)[:3] == ["DELETE", "DELETE", "POST"]


async def test_an_exit_that_waited_for_its_broker_is_not_sent_when_a_stop_there_closed_the_position(
    the_world: World,
) -> None:
    """It left before the book was read that told of the stop, and sold once more what was sold."""
    account_id = await the_world.account()
    number = the_world.start()
    entry, stop = the_world.market(account_id), the_world.order(account_id, side=Side.SELL)
    await the_world.tell(entry, stop)
    await the_world.becomes(entry, S.FILLED)
    await the_world.becomes(stop, S.ACCEPTED)
    the_world.kill(number)
    the_world.stub.exchange.fill(the_world.placed(stop)[0], 10)
    closing = the_world.market(
        account_id, side=Side.SELL, purpose=OrderPurpose.SQUARE_OFF, square_off_id=SquareOffId(new_id())
    )
    await the_world.tell(closing)
    the_world.start()
    await the_world.becomes(closing, S.CANCELLED, S.FILLED)
    assert await the_world.status(closing) is S.CANCELLED
    assert (the_world.arrived(closing), await the_world.held(account_id)) == (0, 0)


async def test_a_cancel_does_not_wait_for_a_change_that_the_broker_does_not_answer(the_world: World) -> None:
    """It went when the change had been asked for five times, half a minute later; the order could fill meanwhile."""
    account_id = await the_world.account()
    the_world.stub.plan.script.extend([Fault.NONE, Fault.SILENT_BEFORE])
    the_world.start()
    order = the_world.order(account_id)
    await the_world.tell(order)
    await the_world.becomes(order, S.ACCEPTED)
    before = len(the_world.stub.calls)
    the_world.stub.received.clear()
    await the_world.tell(change_to(order, 12))
    await asyncio.wait_for(the_world.stub.received.wait(), 5)
    await the_world.tell(OrderCancelRequested(order_id=order.order_id, account_id=account_id, user_id=USER))
    await the_world.becomes(order, S.CANCELLED)

    async def answered() -> bool:
        return bool(the_world.events(order, OrderModifyRefused))

    await the_world.until(answered, "an answer to the change")
    assert asked(the_world, before) == ["PUT", "DELETE"]
