"""Projections on real PostgreSQL: by the batch, once, in order."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import asyncpg
import pytest

from libs.common import ids
from libs.common.clock import stopwatch
from libs.common.contracts.algos import SignalSkipped
from libs.common.contracts.base import RequestRefused
from libs.common.contracts.enums import (
    OrderStatus,
    RiskLevel,
    Side,
    SignalType,
)
from libs.common.contracts.ids import (
    AccountId,
    AlgoId,
    PanicId,
    SignalGroupId,
    SignalId,
    UserId,
)
from libs.common.contracts.orders import OrderOutcomeUnknown, OrderRejected, OrderReopened
from libs.common.contracts.risk import PanicRaised, PanicReset
from libs.common.contracts.signals import SignalReceived
from libs.common.database import Connection
from libs.common.testing import NOON, deliver
from services.gateway.app import app
from services.gateway.memory import GatewayMemory
from services.gateway.store import queries, rebuild, scenes
from services.gateway.store.changes import Changes, Channel
from services.gateway.store.queries import Filter
from tests.services.gateway import said

USER, ACCOUNT = UserId(ids.new_id()), AccountId(ids.new_id())


@contextmanager
def counted(connection: Connection) -> Iterator[list[str]]:
    """The statements that are sent meanwhile."""
    seen: list[str] = []

    def remember(record: asyncpg.connection.LoggedQuery) -> None:
        seen.append(record.query)

    with connection.query_logger(remember):
        yield seen


def changes_of(memory: GatewayMemory) -> Changes:
    changes = memory.take_changes()
    assert changes is not None
    return changes


async def test_a_batch_of_any_size_is_written_by_the_same_few_statements(connection: Connection) -> None:
    sent = []
    for size in (1, 2, 60):
        orders = [said.terms(USER, ACCOUNT) for _ in range(size)]
        messages = []
        for n, order in enumerate(orders, 1):
            messages += [said.submitted(order), said.accepted(order), said.filled(order)]
            messages += [said.position(order, version=n), said.funds(order, version=n)]
        with counted(connection) as seen:
            await deliver(app, connection, *messages)
        sent.append(len(seen))
    assert sent[1] == sent[2] <= 6


async def test_an_order_that_its_venue_has_after_its_rejection_is_shown_open(connection: Connection) -> None:
    order = said.terms(USER, ACCOUNT)
    found = OrderReopened(
        **said.fact(order, OrderStatus.ACCEPTED, 3),
        broker_order_id="2611",
        purpose=order.purpose,
        quantity=order.quantity,
    )
    rejected = OrderRejected(**said.fact(order, OrderStatus.REJECTED, 2), reason="no book shows it")
    await deliver(app, connection, said.submitted(order), rejected)
    await deliver(app, connection, found)
    row = await queries.order(connection, order.order_id)
    assert row is not None
    assert (row["status"], row["broker_order_id"], row["version"]) == ("ACCEPTED", "2611", 3)


async def test_an_order_told_in_pieces_reads_as_if_told_at_once(connection: Connection) -> None:
    """Whatever batches the events come in, the row and its history are the same."""
    rows = []
    for cuts in ([5], [1, 4], [2, 3], [1, 1, 1, 1, 1]):
        order = said.terms(USER, ACCOUNT)
        events = [
            said.submitted(order),
            said.accepted(order),
            said.modified(order, 20, version=3),
            said.filled(order, 4, version=4),
            said.cancelled(order, version=5),
        ]
        for cut in cuts:
            batch, events = events[:cut], events[cut:]
            await deliver(app, connection, *batch)
        row = await queries.order(connection, order.order_id)
        history = await queries.order_history(connection, order.order_id)
        assert row is not None
        rows.append({k: v for k, v in row.items() if k not in ("order_id", "seq")})
        assert [entry["event"] for entry in history] == [
            "OrderSubmitted",
            "OrderAccepted",
            "OrderModified",
            "FillReported",
            "OrderCancelled",
        ]
    assert all(row == rows[0] for row in rows)
    assert (rows[0]["quantity"], rows[0]["price"], rows[0]["status"]) == (20, Decimal("813"), "CANCELLED")


async def test_nautilus_3046_an_event_that_comes_again_changes_nothing(connection: Connection) -> None:
    """nautilus#3046: fills replayed on restart."""
    order = said.terms(USER, ACCOUNT)
    fill = said.filled(order)
    first = [said.submitted(order), said.accepted(order), fill, said.position(order), said.funds(order)]
    await deliver(app, connection, *first)
    before = await queries.order(connection, order.order_id)
    positions = await queries.positions(connection, USER)
    await deliver(app, connection, *first)
    await deliver(app, connection, said.accepted(order), fill)
    assert await queries.order(connection, order.order_id) == before
    assert len(await queries.fills_page(connection, Filter(user_id=USER), None, 10)) == 1
    assert [p["quantity"] for p in await queries.positions(connection, USER)] == [p["quantity"] for p in positions]


async def test_a_settlement_stands_in_the_tradebook_once_and_has_no_order(connection: Connection) -> None:
    order = said.terms(USER, ACCOUNT)
    settled = said.settled(order)
    await deliver(app, connection, said.submitted(order), said.filled(order), settled, said.position(order, 0))
    await deliver(app, connection, settled)
    [row, fill] = sorted(
        await queries.fills_page(connection, Filter(user_id=USER), None, 10),
        key=lambda row: row["order_id"] is not None,
    )
    assert (row["order_id"], fill["order_id"]) == (None, order.order_id)
    assert (row["fill_id"], row["side"], row["quantity"], row["price"]) == (settled.fill_id, "SELL", 10, settled.price)
    assert row["broker_fill_id"] == f"settlement of {settled.expiry}"
    known = await queries.order(connection, order.order_id)
    assert known is not None
    assert known["filled_quantity"] == 10


async def test_what_was_closed_at_the_broker_stands_in_the_tradebook_as_that(connection: Connection) -> None:
    order = said.terms(USER, ACCOUNT)
    closed = said.settled(order).model_copy(update={"spot": order.instrument})
    await deliver(app, connection, closed)
    [row] = await queries.fills_page(connection, Filter(user_id=USER), None, 10)
    assert (row["order_id"], row["broker_fill_id"]) == (None, f"closed at the broker on {closed.expiry}")


async def test_an_older_position_or_fund_never_replaces_a_newer(connection: Connection) -> None:
    order = said.terms(USER, ACCOUNT)
    await deliver(app, connection, said.position(order, 30, version=3), said.funds(order, version=3))
    await deliver(app, connection, said.position(order, 10, version=2), said.funds(order, version=2))
    [position] = await queries.positions(connection, USER)
    [funds] = await queries.funds(connection, USER)
    assert (position["quantity"], position["version"], funds["version"]) == (30, 3, 3)


async def test_numbers_of_a_channel_follow_one_another_per_user(connection: Connection) -> None:
    memory = GatewayMemory()
    seen: dict[tuple[UUID, Channel], list[int]] = {}
    other = UserId(ids.new_id())
    for _ in range(4):
        mine, his = said.terms(USER, ACCOUNT), said.terms(other, ids.new_id())
        batch = [said.submitted(mine), said.filled(mine, version=2), said.submitted(his), said.funds(his)]
        await deliver(app, connection, *batch, memory=memory)
        for push in changes_of(memory).pushes:
            seen.setdefault((push.user_id, push.channel), []).append(push.seq)
    assert seen == {
        (USER, Channel.ORDERS): [1, 2, 3, 4],
        (USER, Channel.FILLS): [1, 2, 3, 4],
        (other, Channel.ORDERS): [1, 2, 3, 4],
        (other, Channel.FUNDS): [1, 2, 3, 4],
    }


async def test_what_a_batch_changed_is_told_once_and_only_after_it(connection: Connection) -> None:
    memory = GatewayMemory()
    order = said.terms(USER, ACCOUNT)
    await deliver(app, connection, said.submitted(order), memory=memory)
    changes = changes_of(memory)
    assert changes.orders[order.order_id]["status"] == "SUBMITTED"
    assert memory.take_changes() is None


async def test_hummingbot_8457_an_unknown_outcome_is_shown_as_such(connection: Connection) -> None:
    """hummingbot#8457: an order that the venue had taken was dropped as failed."""
    order = said.terms(USER, ACCOUNT)
    unknown = OrderOutcomeUnknown(**said.fact(order, OrderStatus.OUTCOME_UNKNOWN, 2), reason="no answer in 5 s")
    await deliver(app, connection, said.submitted(order), unknown)
    row = await queries.order(connection, order.order_id)
    assert row is not None
    assert (row["status"], row["reason"]) == ("OUTCOME_UNKNOWN", "no answer in 5 s")
    await deliver(app, connection, said.accepted(order, version=3))
    row = await queries.order(connection, order.order_id)
    assert row is not None
    assert row["status"] == "ACCEPTED"


async def test_openalgo_1694_each_strategy_has_a_book_of_its_own(connection: Connection) -> None:
    """openalgo#1694: the broker's netting hid the strategies."""
    strategies = [ids.new_id(), ids.new_id()]
    for n, strategy in enumerate(strategies, 1):
        order = said.terms(USER, ACCOUNT).model_copy(update={"strategy_id": strategy})
        await deliver(app, connection, said.position(order, 10 * n, version=n))
    assert [p["quantity"] for p in await queries.positions(connection, USER)] == [20]
    books = await queries.strategy_positions(connection, USER)
    assert {row["strategy_id"]: row["quantity"] for row in books} == dict(zip(strategies, (10, 20), strict=True))
    assert await queries.strategy_accounts(connection, USER, strategies[0]) == [ACCOUNT]


async def test_a_panic_is_in_force_until_it_is_reset_and_everybody_hears_of_it(connection: Connection) -> None:
    memory = GatewayMemory()
    await connection.execute(
        "INSERT INTO users (user_id, email, username, role, password_hash, created_at, updated_at) "
        "VALUES ($1, 'a@example.com', 'a', 'trader', '', $2, $2)",
        USER,
        NOON - timedelta(days=1),
    )
    scope = {"scope": "ALL", "level": RiskLevel.ALL, "epoch": 1}
    raised = PanicRaised(panic_id=PanicId(ids.new_id()), **scope, raised_by=USER, reason="fire")
    await deliver(app, connection, raised, memory=memory)
    assert [(p.user_id, p.channel, p.event) for p in changes_of(memory).pushes] == [(USER, Channel.RISK, "PanicRaised")]
    assert [row["scope"] for row in await queries.panics_in_force(connection)] == ["ALL"]
    reset = PanicReset(panic_id=PanicId(ids.new_id()), **scope, reset_by=USER)
    await deliver(app, connection, reset, memory=memory)
    assert await queries.panics_in_force(connection) == []


async def test_a_signals_decision_may_arrive_before_the_signal(connection: Connection) -> None:
    memory = GatewayMemory()
    signal_id = SignalId(ids.new_id())
    signal = SignalReceived(
        signal_id=signal_id,
        group_id=SignalGroupId(ids.new_id()),
        user_id=USER,
        signal_type=SignalType.ENTRY,
        action=Side.BUY,
        symbol="NIFTY",
        quantity=None,
        price=None,
        account_id=None,
        alert_name=None,
        received_at=said.NOW,
    )
    skipped = SignalSkipped(algo_id=AlgoId(ids.new_id()), user_id=USER, signal_id=signal_id, reason="inactive")
    await deliver(app, connection, skipped, memory=memory)
    await deliver(app, connection, signal, memory=memory)
    scene = await scenes.scene_in(connection, Channel.SIGNALS, USER, None, said.NOW + timedelta(minutes=1))
    [row] = scene.rows
    assert ("inactive" in row["decisions"], "NIFTY" in row["body"]) == (True, True)


async def test_a_refusal_is_kept_for_whoever_waits_for_it(connection: Connection) -> None:
    memory = GatewayMemory()
    refused = RequestRefused(entity_id="x", request="AccountSaveRequested", code="conflict", reason="version 2 by now")
    await deliver(app, connection, refused, memory=memory)
    assert list(changes_of(memory).outcomes.values()) == [refused]


async def test_a_page_of_ten_thousand_orders_takes_less_than_20_ms(connection: Connection) -> None:
    orders = [said.terms(USER, ACCOUNT, at=said.NOW + timedelta(milliseconds=7 * n)) for n in range(10_000)]
    for start in range(0, len(orders), 500):
        await deliver(app, connection, *(said.submitted(order) for order in orders[start : start + 500]))
    await connection.execute("ANALYZE orders")

    async def of_twenty_all_but_one_take(wanted: Filter, found: int) -> float:
        took = []
        for _ in range(20):
            began = stopwatch()
            assert len(await queries.orders_page(connection, wanted, None, 101)) == found
            took.append(stopwatch() - began)
        return sorted(took)[18]

    for wanted, found in (
        (Filter(account_id=ACCOUNT), 101),
        (Filter(user_id=USER), 101),
        (Filter(account_id=ACCOUNT, statuses=["FILLED"]), 0),
    ):
        rounds = [await of_twenty_all_but_one_take(wanted, found)]
        while rounds[-1] >= 0.02 and len(rounds) < 15:  # the machine does something else; a slow query stays slow
            rounds.append(await of_twenty_all_but_one_take(wanted, found))
        assert rounds[-1] < 0.02, rounds


@pytest.mark.parametrize("since", [-1, 99])
async def test_a_number_that_was_never_given_out_gets_a_whole_snapshot(connection: Connection, since: int) -> None:
    order = said.terms(USER, ACCOUNT)
    await deliver(app, connection, said.submitted(order))
    scene = await scenes.scene_in(connection, Channel.ORDERS, USER, since, said.NOW)
    assert (scene.since, len(scene.rows)) == (None, 1)


async def test_projections_are_rebuilt_from_the_log_and_numbers_go_on(connection: Connection) -> None:
    order = said.terms(USER, ACCOUNT)
    log = [said.account_saved(USER, ACCOUNT), said.submitted(order), said.accepted(order), said.filled(order)]
    await deliver(app, connection, *log)
    before = await scenes.scene_in(connection, Channel.ORDERS, USER, None, said.NOW)
    await rebuild.forget(connection, said.NOW)
    assert await queries.order(connection, order.order_id) is None
    await deliver(app, connection, *log)
    after = await scenes.scene_in(connection, Channel.ORDERS, USER, None, said.NOW)
    assert [{**row, "seq": 0} for row in after.rows] == [{**row, "seq": 0} for row in before.rows]
    assert after.seq > before.seq


async def test_every_projection_is_forgotten_by_a_rebuild_and_nothing_else(connection: Connection) -> None:
    tables = {row[0] for row in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'gateway'")}
    own = {table for table in tables if not table.startswith(("message_", "alembic"))}
    assert own - {*rebuild.PROJECTIONS, "orders"} == {
        "users",
        "sessions",
        "api_keys",
        "idempotency_keys",
        "channel_counters",
    }
