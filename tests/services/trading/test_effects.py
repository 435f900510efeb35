"""Orders at a broker that misbehaves, by processes that die: nothing is sent twice, nothing is lost."""

import asyncio
import threading
import time
from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.common import database
from libs.common.contracts.enums import ExecutionKind, OrderPurpose, OrderType, Side
from libs.common.contracts.enums import OrderStatus as S
from libs.common.contracts.orders import (
    FillReported,
    OrderAccepted,
    OrderCancelled,
    OrderOutcomeUnknown,
    OrderRejected,
    OrderReopened,
)
from libs.common.contracts.venue import ExecutionReported
from libs.common.settings import ServiceSettings
from libs.common.testing import Databases
from libs.common.testing.delivery import envelope_of
from services.trading.effects.steps import Step
from tests.common.forwarding import forwarding, until_silent
from tests.services.trading.broker_world import World
from tests.services.trading.making import panic
from tools.stub_broker.faults import NOT_TAKEN, SAFE, Fault


@pytest.mark.parametrize("fault", Fault)
async def test_openalgo_1991_whatever_the_answer_the_book_decides_and_nothing_is_sent_twice(
    the_world: World, fault: Fault
) -> None:
    account_id = await the_world.account()
    the_world.stub.take_late_s = 0.2
    the_world.stub.plan.script.append(fault)
    is_plain = fault in {*SAFE, Fault.TOO_MANY, Fault.REFUSED}
    if is_plain:  # a slow machine's answer is none that was not given
        the_world.start(broker_call_s=10.0, broker_lease_s=20.0)
    else:
        the_world.start()
    order = the_world.market(account_id)
    await the_world.tell(order)
    await the_world.becomes(order, S.FILLED, S.REJECTED)
    await the_world.agrees([order])
    assert the_world.arrived(order) == (2 if fault is Fault.TOO_MANY else 1)
    assert bool(the_world.events(order, OrderOutcomeUnknown)) is not is_plain
    is_refused = fault in NOT_TAKEN - {Fault.TOO_MANY}
    assert (await the_world.status(order) is S.REJECTED) == is_refused


async def test_openalgo_1618_success_without_an_order_id_is_no_success(the_world: World) -> None:
    """It was shown as placed, and the broker had nothing. The broker's book says which, and nobody assumes."""
    account_id = await the_world.account()
    the_world.stub.plan.script.append(Fault.NAMELESS)
    the_world.start()
    order = the_world.order(account_id)
    await the_world.tell(order)
    await the_world.becomes(order, S.OUTCOME_UNKNOWN)
    await the_world.becomes(order, S.REJECTED)
    assert the_world.events(order, OrderAccepted) == []
    await the_world.agrees([order])


FOREIGN = {
    "exchange": "NSE",
    "tradingsymbol": "INFY",
    "transaction_type": "BUY",
    "quantity": "1",
    "product": "MIS",
    "order_type": "LIMIT",
    "price": "1500",
    "validity": "DAY",
}

STEPS_OF_A_CALL = (
    Step.CHOSEN,
    Step.CALLING,
    Step.ANSWERED,
    Step.JUDGED,
    Step.STORED,
    Step.READ,
    Step.COMPARED,
    Step.TOLD,
)


@pytest.mark.parametrize("fault", [Fault.NONE, Fault.ERROR_AFTER, Fault.ERROR_BEFORE])
@pytest.mark.parametrize("step", STEPS_OF_A_CALL)
async def test_hummingbot_366_a_process_that_dies_at_any_step_leaves_an_order_that_another_resolves(
    the_world: World, step: Step, fault: Fault
) -> None:
    account_id = await the_world.account()
    the_world.stub.plan.script.append(fault)
    the_world.crash_at(step)
    order = the_world.market(account_id)
    await the_world.tell(order)

    async def dead() -> bool:
        return the_world.offices[0][1].done()

    await the_world.until(dead, f"a death at {step}")
    the_world.start()
    await the_world.becomes(order, S.FILLED, S.REJECTED)
    await the_world.agrees([order])
    assert the_world.arrived(order) <= 1
    if step is Step.CALLING:
        assert await the_world.status(order) is S.REJECTED, "it never left"
    assert await the_world.held(account_id) == (10 if the_world.placed(order) else 0)


@pytest.mark.parametrize("fault", [Fault.SILENT_AFTER, Fault.SILENT_BEFORE, Fault.LATE])
async def test_a_process_killed_while_the_broker_thinks_leaves_an_order_of_unknown_outcome(
    the_world: World, fault: Fault
) -> None:
    account_id = await the_world.account()
    the_world.stub.plan.script.append(fault)
    the_world.stub.late_s = 0.35  # in time, and yet not before a slow machine has killed it
    number = the_world.start()
    order = the_world.market(account_id)
    await the_world.tell(order)
    await asyncio.wait_for(the_world.stub.received.wait(), 15)
    the_world.kill(number)
    the_world.start()
    await the_world.becomes(order, S.FILLED, S.REJECTED)
    assert the_world.events(order, OrderOutcomeUnknown)
    await the_world.agrees([order])
    assert the_world.arrived(order) == 1


async def test_hummingbot_8457_an_order_the_broker_forgot_and_remembered_is_open_again_and_its_fill_booked(
    the_world: World,
) -> None:
    account_id = await the_world.account()
    the_world.stub.plan.script.append(Fault.FORGET)
    the_world.stub.forget_reads = 12
    the_world.start()
    order = the_world.market(account_id)
    await the_world.tell(order)
    await the_world.becomes(order, S.REJECTED)
    assert the_world.placed(order)
    await the_world.becomes(order, S.FILLED)
    await the_world.agrees([order])
    told = (OrderOutcomeUnknown, OrderRejected, OrderAccepted, OrderReopened, FillReported)
    names = [type(m) for m in the_world.events(order, *told)]
    assert names == [OrderOutcomeUnknown, OrderRejected, OrderReopened, FillReported]
    assert ExecutionKind.FOUND in [m.kind for m in the_world.events(order, ExecutionReported)]
    assert await the_world.held(account_id) == 10


async def test_a_broker_whose_words_no_table_can_hold_stops_nobody(the_world: World) -> None:
    """PostgreSQL keeps no zero byte, Kafka no megabytes: the account's orders, and its panic, waited behind them."""
    account_id = await the_world.account()
    the_world.start()
    order = the_world.order(account_id)
    await the_world.tell(order)
    await the_world.becomes(order, S.ACCEPTED)
    foreign = the_world.stub.exchange.place({**FOREIGN, "tag": "AN\0OTHERS"}, account_id.hex)
    the_world.stub.exchange.reject(foreign.order_id, "\0" * 7)
    [placed] = the_world.placed(order)
    the_world.stub.exchange.reject(placed, f"RMS:\0 no margin {'and no end ' * 200_000}")
    await the_world.becomes(order, S.REJECTED)
    [rejected] = the_world.events(order, OrderRejected)
    assert rejected.reason.startswith("RMS: no margin")
    assert len(rejected.reason) < 1000
    another = the_world.market(account_id)
    await the_world.tell(another)
    await the_world.becomes(another, S.FILLED)


async def test_hummingbot_8457_dns_outage_after_accept_a_book_that_cannot_be_read_proves_nothing(
    the_world: World,
) -> None:
    account_id = await the_world.account()
    the_world.stub.plan.script.append(Fault.SILENT_AFTER)
    the_world.stub.book_faults = [Fault.ERROR_BEFORE, Fault.DROP_BEFORE] * 3
    the_world.start(broker_poll_s=0.02)
    order = the_world.market(account_id)
    await the_world.tell(order)
    await the_world.becomes(order, S.FILLED)
    assert not the_world.events(order, OrderRejected)


async def test_a_call_that_finds_nobody_is_safe_to_repeat_until_its_owner_would_not_expect_it(
    the_world: World,
) -> None:
    account_id = await the_world.account()
    the_world.start(zerodha_url="http://127.0.0.1:9", broker_leave_s=0.6)
    order = the_world.market(account_id)
    await the_world.tell(order)
    await the_world.becomes(order, S.REJECTED)
    [rejected] = the_world.events(order, OrderRejected)
    assert "nothing was sent" in rejected.reason
    assert not the_world.events(order, OrderOutcomeUnknown)
    assert the_world.arrived(order) == 0


async def test_an_order_leaves_at_once_again_soon_after_the_way_to_postgresql_was_cut_and_nobody_told(
    the_world: World,
) -> None:
    """Whoever listened there heard of no order any more: each left when its account's book was next looked at, a second
    late, or ten while the book could not be read, until trading was started anew.
    """
    silent, server = asyncio.Event(), urlsplit(the_world.runtime.own_settings.database_url)
    async with forwarding(server.hostname or "", server.port or 0, join=until_silent(silent)) as port:
        through = server._replace(netloc=f"{server.username}:{server.password}@127.0.0.1:{port}").geturl()
        the_world.runtime.own_settings = ServiceSettings(database_url=through, port=1)
        account_id = await the_world.account()
        number = the_world.start(broker_poll_s=100.0)
        before, order = the_world.market(account_id), the_world.market(account_id)
        await the_world.tell(before)
        await the_world.becomes(before, S.FILLED)
        await asyncio.sleep(1)
        silent.set()
        await the_world.tell(order)

        async def has_left() -> bool:
            return the_world.arrived(order) == 1

        await the_world.until(has_left, "the order", seconds=8)
        the_world.kill(number)


async def test_an_order_that_waited_out_an_outage_of_ours_is_not_sent_to_its_broker(the_world: World) -> None:
    account_id = await the_world.account()
    the_world.start()
    wished = the_world.runtime.clock.now() - timedelta(seconds=61)
    late = the_world.market(account_id, requested_at=wished)
    closing = the_world.market(account_id, side=Side.SELL, purpose=OrderPurpose.SQUARE_OFF, requested_at=wished)
    await the_world.tell(late, closing)
    await the_world.becomes(late, S.REJECTED)
    await the_world.becomes(closing, S.FILLED)
    [rejected] = the_world.events(late, OrderRejected)
    assert "nothing was sent" in rejected.reason
    assert (the_world.arrived(late), the_world.arrived(closing)) == (0, 1)


async def test_lean_alpaca_41_fills_shown_twice_and_out_of_order_are_booked_once(the_world: World) -> None:
    account_id = await the_world.account()
    the_world.stub.shuffles = the_world.stub.repeats_trades = True
    the_world.start()
    orders = [the_world.order(account_id) for _ in range(4)]
    await the_world.tell(*orders)
    for order in orders:
        await the_world.becomes(order, S.ACCEPTED)
    for n in (3, 4, 3):
        for order in orders:
            the_world.stub.exchange.fill(the_world.placed(order)[0], n)
        await asyncio.sleep(0.05)
    for order in orders:
        await the_world.becomes(order, S.FILLED)
        assert [fill.quantity for fill in the_world.events(order, FillReported)] == [3, 4, 3]
    assert await the_world.held(account_id) == 40
    await asyncio.sleep(0.3)
    await the_world.pump()
    assert await the_world.held(account_id) == 40


async def test_a_process_that_was_paused_after_its_last_look_sends_nothing_when_it_wakes_after_a_panic(
    the_world: World,
) -> None:
    """The loop itself stands still, as under SIGSTOP, between the commit of CALLING and the first byte, while another
    process takes the panic.
    """
    account_id = await the_world.account()
    url, panicked = await Databases.url("trading"), threading.Event()

    def pause(step: Step) -> None:
        if step is Step.CALLING and not panicked.is_set():
            another = threading.Thread(target=asyncio.run, args=(panics_elsewhere(the_world, url),))
            another.start()
            another.join(30)
            assert not another.is_alive()
            panicked.set()
            time.sleep(0.5)

    order = the_world.market(account_id)
    await the_world.tell(order)
    the_world.start(pause)
    await the_world.becomes(order, S.CANCELLED)
    assert panicked.is_set()
    assert the_world.arrived(order) == 0
    assert "panic" in the_world.events(order, OrderCancelled)[0].reason or "stopped" in (
        the_world.events(order, OrderCancelled)[0].reason
    )


async def panics_elsewhere(world: World, url: str) -> None:
    """On a loop of its own."""
    async with await database.open_pool(url, "trading") as pool:
        wish = panic()
        await replace(world, pool=pool)._handle(wish, envelope_of(wish, now=world.runtime.clock.now()))


async def test_a_zombies_late_answer_changes_nothing_that_its_successor_found(the_world: World) -> None:
    account_id = await the_world.account()
    the_world.stub.plan.script.append(Fault.LATE)
    the_world.stub.late_s = 1.6
    the_world.start(broker_call_s=3.0, broker_lease_s=0.3)
    order = the_world.market(account_id)
    await the_world.tell(order)
    await asyncio.wait_for(the_world.stub.received.wait(), 5)
    the_world.start()
    await the_world.becomes(order, S.FILLED)
    await asyncio.sleep(1.8)
    await the_world.pump()
    await the_world.agrees([order])
    assert len(the_world.events(order, OrderAccepted)) == len(the_world.events(order, FillReported)) == 1
    assert the_world.arrived(order) == 1


stories = st.lists(
    st.tuples(st.sampled_from(Fault), st.booleans(), st.sampled_from([None, *STEPS_OF_A_CALL])), min_size=1, max_size=4
)


@given(stories)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
async def test_junta_30_for_any_sequence_of_misbehaviour_and_deaths_we_end_with_what_the_broker_has(
    the_world: World, story: list[tuple[Fault, bool, Step | None]]
) -> None:
    account_id = await the_world.account()
    the_world.stub.plan.script.clear()
    the_world.stub.take_late_s, the_world.stub.forget_reads = 0.2, 2
    orders = []
    for fault, is_market, step in story:
        for number in list(the_world.offices):
            the_world.kill(number)
        the_world.stub.plan.script.append(fault)
        if step is None:
            the_world.start()
        else:
            the_world.crash_at(step)
        order = the_world.market(account_id) if is_market else the_world.order(account_id)
        orders.append(order)
        await the_world.tell(order)
        await asyncio.sleep(0.1)
    for number in list(the_world.offices):
        the_world.kill(number)
    the_world.stub.plan.script.clear()
    the_world.start()
    for order in orders:
        rests = order.order_type is OrderType.LIMIT and not the_world.was_filled(order)
        await the_world.becomes(order, S.REJECTED, S.ACCEPTED if rests else S.FILLED)
        assert not (the_world.placed(order) and the_world.events(order, OrderRejected)), "a wrong refusal"
        assert the_world.arrived(order) <= 2
    await the_world.agrees(orders)


async def test_a_zombies_silence_takes_nothing_back_that_its_successor_found(the_world: World) -> None:
    account_id = await the_world.account()
    the_world.stub.plan.script.append(Fault.SILENT_AFTER)
    the_world.start(broker_call_s=2.0, broker_lease_s=0.3)
    order = the_world.order(account_id)
    await the_world.tell(order)
    await asyncio.wait_for(the_world.stub.received.wait(), 5)
    the_world.start()
    await the_world.becomes(order, S.ACCEPTED)
    watch = "SELECT state FROM broker_orders WHERE order_id = $1"
    for _ in range(100):
        await asyncio.sleep(0.02)
        assert await the_world.pool.fetchval(watch, order.order_id) == "LIVE"
    await the_world.pump()
    assert len(the_world.events(order, OrderAccepted, OrderOutcomeUnknown)) == 2


async def test_a_fill_is_told_while_orders_wait_for_a_broker_that_does_not_answer_them(the_world: World) -> None:
    """The book was read when nothing waited any more: behind ten calls without an answer, a minute later."""
    account_id = await the_world.account()
    the_world.start()
    resting, others = the_world.order(account_id), [the_world.order(account_id) for _ in range(8)]
    await the_world.tell(resting)
    await the_world.becomes(resting, S.ACCEPTED)
    the_world.stub.plan.script.extend([Fault.SILENT_AFTER] * len(others))
    await the_world.tell(*others)
    the_world.stub.exchange.fill(the_world.placed(resting)[0], 10)
    await the_world.becomes(resting, S.FILLED)
    assert [c[0] for c in the_world.stub.calls].count("POST") < 1 + len(others)


async def test_the_book_is_read_seldom_for_an_order_that_only_a_person_can_settle(the_world: World) -> None:
    """It was read each second, day and night, until somebody did."""
    account_id = await the_world.account()
    the_world.stub.plan.script.append(Fault.SILENT_BEFORE)
    the_world.start(broker_absent_s=600.0)
    order = the_world.order(account_id)
    await the_world.tell(order)
    await the_world.becomes(order, S.OUTCOME_UNKNOWN)
    await the_world.pool.execute("UPDATE broker_orders SET day = day - 1 WHERE order_id = $1", order.order_id)
    await asyncio.sleep(0.3)
    before = the_world.stub.calls.count(("GET", "/orders"))
    await asyncio.sleep(1.2)
    assert the_world.stub.calls.count(("GET", "/orders")) - before <= 3
