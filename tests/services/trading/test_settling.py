"""Orders that nobody answered for, settled by hand when their day is over: as if the broker had told, and once."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from libs.common.contracts.base import Message, RequestRefused
from libs.common.contracts.enums import Broker, SettledAs, Side
from libs.common.contracts.enums import OrderStatus as S
from libs.common.contracts.ids import AccountId, CallId, CorrelationId, UserId
from libs.common.contracts.orders import (
    FillReported,
    OrderAccepted,
    OrderCancelled,
    OrderCancelRequested,
    OrderCleared,
    OrderRejected,
    OrderSettled,
    OrderSettleRequested,
)
from libs.common.testing.delivery import envelope_of
from libs.common.trading_calendar import IST
from services.trading.domain import orders, settling
from services.trading.domain.book import Terms, Watch, Watched
from services.trading.domain.orders import Order
from services.trading.domain.settling import SettledByHand
from tests.services.trading.broker_world import World
from tests.services.trading.making import ACCOUNT, USER, cleared
from tools.stub_broker.faults import Fault

ADMIN = UserId(UUID("01975d3e-0000-7000-8000-0000000000ad"))
WHY = "the contract note of that day"


async def unknown(world: World, account_id: AccountId, *, days_ago: int = 2, side: Side = Side.BUY) -> OrderCleared:
    """An order whose broker never answered, and whose day is over."""
    world.stub.plan.script.append(Fault.SILENT_BEFORE)
    world.stub.book_faults = [Fault.ERROR_BEFORE] * 10_000
    order = world.market(account_id, side=side)
    await world.tell(order)
    await world.becomes(order, S.OUTCOME_UNKNOWN)
    await world.pool.execute(
        "UPDATE broker_orders SET day = day - $2::integer WHERE order_id = $1", order.order_id, days_ago
    )
    return order


def wish(order: OrderCleared, outcome: SettledAs, quantity: int = 0, price: str | None = None) -> OrderSettleRequested:
    return OrderSettleRequested(
        order_id=order.order_id,
        account_id=order.account_id,
        user_id=ADMIN,
        outcome=outcome,
        quantity=quantity,
        price=price and Decimal(price),
        reason=WHY,
    )


def refused(said: Sequence[Message]) -> Sequence[RequestRefused]:
    return [message for message in said if isinstance(message, RequestRefused)]


async def funds(world: World, account_id: AccountId) -> tuple[int, int]:
    """Margin in use, and today's profit."""
    row = await world.pool.fetchrow("SELECT used_margin, realised_pnl FROM accounts WHERE account_id = $1", account_id)
    assert row is not None
    return int(row["used_margin"]), int(row["realised_pnl"])


async def is_left_alone(world: World) -> None:
    """No desk looks for it any more."""

    async def holds() -> bool:
        return not any(office.desks for office, _ in world.offices.values())

    await world.until(holds, "the end of the watch")


async def test_openalgo_1991_what_never_reached_the_broker_frees_its_margin_and_says_who_told(
    the_world: World,
) -> None:
    account_id = await the_world.account()
    the_world.start(broker_leave_s=60.0)
    order = await unknown(the_world, account_id)
    assert await funds(the_world, account_id) == (1000, 0)
    await the_world.tell(wish(order, SettledAs.NOT_TAKEN))
    assert await the_world.status(order) is S.REJECTED
    [settled] = the_world.events(order, OrderSettled)
    [rejected] = the_world.events(order, OrderRejected)
    assert (settled.settled_by, settled.user_id, settled.version) == (ADMIN, USER, 3)
    assert WHY in settled.reason
    assert WHY in rejected.reason
    assert await funds(the_world, account_id) == (0, 0)
    await is_left_alone(the_world)


async def test_what_was_filled_is_booked_with_its_position_and_margin(the_world: World) -> None:
    account_id = await the_world.account()
    the_world.start(broker_leave_s=60.0)
    order = await unknown(the_world, account_id)
    named = wish(order, SettledAs.FILLED, 10, "101.5").model_copy(update={"broker_order_id": "261123000000017"})
    await the_world.tell(named)
    assert await the_world.status(order) is S.FILLED
    [accepted] = the_world.events(order, OrderAccepted)
    [fill] = the_world.events(order, FillReported)
    assert accepted.broker_order_id == "261123000000017"
    assert (fill.quantity, fill.price) == (10, Decimal("101.5"))
    assert await the_world.held(account_id) == 10
    assert await funds(the_world, account_id) == (1000, 0)
    await is_left_alone(the_world)


async def test_what_was_filled_in_part_and_cancelled_is_both_and_a_closing_fill_realises(the_world: World) -> None:
    account_id = await the_world.account()
    the_world.start(broker_leave_s=60.0)
    bought = the_world.market(account_id)
    await the_world.tell(bought)
    await the_world.becomes(bought, S.FILLED)
    sold = await unknown(the_world, account_id, side=Side.SELL)
    await the_world.tell(wish(sold, SettledAs.CANCELLED, 4, "103"))
    assert await the_world.status(sold) is S.CANCELLED
    names = [
        type(m).__name__ for m in the_world.events(sold, OrderSettled, OrderAccepted, FillReported, OrderCancelled)
    ]
    assert names == ["OrderSettled", "OrderAccepted", "FillReported", "OrderCancelled"]
    assert await the_world.held(account_id) == 6
    assert (await funds(the_world, account_id))[1] == 12


async def test_an_order_whose_end_nobody_saw_may_have_filled_and_is_settled_with_what_it_traded_unseen(
    the_world: World,
) -> None:
    """Trading was away from the afternoon until the next day. The order was told to be expired, its fill was lost, and
    an exit that had filled so was sent a second time.
    """
    account_id = await the_world.account()
    number = the_world.start()
    order = the_world.order(account_id)
    await the_world.tell(order)
    await the_world.becomes(order, S.ACCEPTED)
    the_world.stub.exchange.fill(the_world.placed(order)[0], 4)
    await the_world.becomes(order, S.PARTIALLY_FILLED)
    the_world.kill(number)
    the_world.stub.exchange.orders.clear()
    the_world.stub.exchange.trades.clear()
    await the_world.pool.execute("UPDATE broker_orders SET day = day - 2 WHERE order_id = $1", order.order_id)
    the_world.start()
    await the_world.becomes(order, S.OUTCOME_UNKNOWN)
    wrong = [
        wish(order, SettledAs.FILLED, 10, "101"),
        wish(order, SettledAs.NOT_TAKEN),
        wish(order, SettledAs.REJECTED),
    ]
    await the_world.tell(*wrong)
    assert [each.code for each in refused(the_world.said)] == ["invalid"] * 3
    await the_world.tell(wish(order, SettledAs.FILLED, 6, "101"))
    assert await the_world.status(order) is S.FILLED
    assert [(each.quantity, each.price) for each in the_world.events(order, FillReported)] == [(4, 100), (6, 101)]
    assert await the_world.held(account_id) == 10
    assert await funds(the_world, account_id) == (1000, 0)
    await is_left_alone(the_world)


async def test_a_second_word_is_refused_be_it_the_same_or_another_before_the_first_has_come_back(
    the_world: World,
) -> None:
    account_id = await the_world.account()
    the_world.start(broker_leave_s=60.0)
    order = await unknown(the_world, account_id)
    first = wish(order, SettledAs.FILLED, 10, "100")
    envelope = envelope_of(first, now=the_world.runtime.clock.now())
    await the_world._handle(first, envelope)
    await the_world._handle(first, envelope)
    await the_world._handle(wish(order, SettledAs.NOT_TAKEN), envelope_of(first, now=the_world.runtime.clock.now()))
    await the_world.pump()
    assert [each.code for each in refused(the_world.said)] == ["conflict", "conflict"]
    assert all("settled already" in each.reason for each in refused(the_world.said))
    await the_world.tell(wish(order, SettledAs.NOT_TAKEN))
    assert "FILLED" in refused(the_world.said)[-1].reason
    assert len(the_world.events(order, OrderSettled)) == len(the_world.events(order, FillReported)) == 1
    assert await the_world.held(account_id) == 10


async def test_settling_many_while_their_account_trades_ends_all_of_them(the_world: World) -> None:
    """The desk locks orders at the broker before their account, and so does the settling: neither waits for ever."""
    account_id = await the_world.account()
    the_world.start(broker_leave_s=60.0)
    stale = [await unknown(the_world, account_id) for _ in range(3)]
    for order in stale:
        fresh = the_world.market(account_id)
        await the_world.tell(fresh, wish(order, SettledAs.NOT_TAKEN))
        the_world.stub.book_faults = []
        await the_world.becomes(fresh, S.FILLED)
        assert await the_world.status(order) is S.REJECTED
    assert await the_world.held(account_id) == 30


async def test_a_cancel_that_waits_for_it_goes_nowhere_afterwards(the_world: World) -> None:
    account_id = await the_world.account()
    the_world.start(broker_leave_s=60.0)
    order = await unknown(the_world, account_id)
    await the_world.tell(OrderCancelRequested(order_id=order.order_id, account_id=account_id, user_id=USER))
    await the_world.tell(wish(order, SettledAs.NOT_TAKEN))
    await is_left_alone(the_world)
    assert not [method for method, _ in the_world.stub.calls if method == "DELETE"]


async def test_while_the_brokers_book_may_tell_nobody_else_does(the_world: World) -> None:
    account_id = await the_world.account()
    the_world.start(broker_leave_s=60.0)
    order = await unknown(the_world, account_id, days_ago=0)
    await the_world.tell(wish(order, SettledAs.NOT_TAKEN))
    [refusal] = refused(the_world.said)
    assert (refusal.code, "may still tell" in refusal.reason) == ("conflict", True)
    the_world.stub.book_faults = []
    await the_world.becomes(order, S.REJECTED)
    assert not the_world.events(order, OrderSettled)


DAY = date(2026, 11, 23)


def lost(**changes: object) -> tuple[Order, Watched]:
    order, _ = orders.submit(cleared(quantity=10))
    watched = Watched(
        order_id=order.order_id,
        call_id=CallId(order.order_id),
        account_id=ACCOUNT,
        user_id=USER,
        correlation_id=CorrelationId(order.order_id),
        broker=Broker.ZERODHA,
        instrument=order.instrument,
        tag=order.tag,
        day=DAY,
        state=Watch.UNKNOWN,
        answer_due=at(10),
        terms=Terms(10, order.order_type, order.price, None),
    )
    return replace(order, **{"status": S.OUTCOME_UNKNOWN, "version": 2, **changes}), watched  # type: ignore[arg-type]


def at(hour: int, days: int = 0) -> datetime:
    return datetime(DAY.year, DAY.month, DAY.day, hour, tzinfo=IST) + timedelta(days=days)


@pytest.mark.parametrize(
    ("now", "is_over"),
    [(at(15), False), (at(0, 1), False), (at(7, 1), False), (at(8, 1), True), (at(9, 3), True)],
    ids=["same_day", "midnight", "night", "morning", "later"],
)
def test_its_day_is_over_when_the_brokers_book_of_it_is_gone(now: datetime, is_over: bool) -> None:
    order, watched = lost()
    done = settling.settle(order, watched, wish(cleared(order=order.order_id), SettledAs.NOT_TAKEN), now)
    assert isinstance(done, SettledByHand) == is_over


@pytest.mark.parametrize("status", [each for each in S if each is not S.OUTCOME_UNKNOWN])
def test_only_what_is_unknown_is_settled(status: S) -> None:
    order, watched = lost(status=status)
    done = settling.settle(order, watched, wish(cleared(order=order.order_id), SettledAs.NOT_TAKEN), at(9, 1))
    assert isinstance(done, RequestRefused)
    assert done.code == "conflict"


@pytest.mark.parametrize(
    ("outcome", "quantity", "price"),
    [
        (SettledAs.NOT_TAKEN, 1, "100"),
        (SettledAs.REJECTED, 10, "100"),
        (SettledAs.REJECTED, 0, "100"),
        (SettledAs.FILLED, 0, None),
        (SettledAs.FILLED, 9, "100"),
        (SettledAs.FILLED, 11, "100"),
        (SettledAs.FILLED, 10, None),
        (SettledAs.FILLED, 10, "0"),
        (SettledAs.CANCELLED, 10, "100"),
        (SettledAs.CANCELLED, -1, "100"),
        (SettledAs.CANCELLED, 4, None),
    ],
)
def test_what_does_not_fit_the_order_is_refused(outcome: SettledAs, quantity: int, price: str | None) -> None:
    order, watched = lost()
    done = settling.settle(order, watched, wish(cleared(order=order.order_id), outcome, quantity, price), at(9, 1))
    assert isinstance(done, RequestRefused)
    assert done.code == "invalid"


def test_another_accounts_order_and_one_that_is_at_no_broker_are_refused() -> None:
    order, watched = lost()
    other = wish(cleared(order=order.order_id), SettledAs.NOT_TAKEN)
    foreign = settling.settle(order, watched, other.model_copy(update={"account_id": AccountId(USER)}), at(9, 1))
    assert isinstance(foreign, RequestRefused)
    assert foreign.code == "not_found"
    paper = settling.settle(order, None, other, at(9, 1))
    assert isinstance(paper, RequestRefused)
    assert paper.code == "conflict"
