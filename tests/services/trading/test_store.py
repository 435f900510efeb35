"""What must hold on a real PostgreSQL: identities of the books for every interleaving, and the panic's fence."""

import asyncio
from collections import Counter, defaultdict
from decimal import Decimal
from uuid import UUID

import asyncpg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.common.contracts.base import Message
from libs.common.contracts.enums import ExecutionKind, Side
from libs.common.contracts.ids import AccountId, OrderId
from libs.common.contracts.orders import (
    FillReported,
    OrderCancelRequested,
    OrderCleared,
    OrderFact,
    OrderSubmitted,
)
from libs.common.contracts.portfolio import FundsChanged, PositionChanged
from libs.common.database import Connection
from libs.common.ids import new_id
from libs.common.testing import deliver
from services.trading.app import app
from services.trading.store import TradingStore
from services.trading.store.brokers.watched import SELECT_IN_BOOK
from tests.services.trading.hearing import names
from tests.services.trading.making import (
    ALPHA,
    BETA,
    INFY,
    SBIN,
    USER,
    account_save,
    cancelled,
    change_to,
    cleared,
    execution,
    filled,
    modified,
    panic,
    square_off,
)

orders_of_a_day = st.lists(
    st.tuples(
        st.sampled_from(Side),
        st.integers(1, 12),
        st.sampled_from([SBIN, INFY]),
        st.sampled_from([None, ALPHA, BETA]),
        st.lists(st.tuples(st.integers(1, 5), st.integers(9_000, 11_000)), max_size=4),
        st.sampled_from([None, ExecutionKind.CANCELLED, ExecutionKind.REJECTED, ExecutionKind.EXPIRED]),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


def story(account_id: AccountId, drawn: st.DataObject) -> tuple[list[OrderCleared], list[Message]]:
    """Orders, and everything a venue may say of them, in any order, some of it twice."""
    submitted: list[OrderCleared] = []
    said: list[Message] = []
    for side, quantity, instrument, strategy, fills, ending, changes in drawn.draw(orders_of_a_day):
        order = cleared(
            side,
            quantity,
            order=OrderId(new_id()),
            strategy=strategy,
            instrument=instrument,
            account_id=account_id,
            margin=f"{quantity * 7}.33",
        )
        submitted.append(order)
        said += [execution(order, ExecutionKind.ACCEPTED)]
        said += [filled(order, units, f"{price / 100:.2f}", leaves=units % 3) for units, price in fills]
        said += [execution(order, ending)] if ending else []
        said += [change_to(order, quantity + 3, margin="99.99"), modified(order, quantity + 3)] if changes else []
        cancel = OrderCancelRequested(order_id=order.order_id, account_id=account_id, user_id=USER)
        said += [cancel, execution(order, ExecutionKind.CANCEL_REJECTED), order] if changes else []
    repeated = said + drawn.draw(st.lists(st.sampled_from(said), max_size=5))
    return submitted, drawn.draw(st.permutations(repeated))


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
async def test_position_is_the_sum_of_fills_for_every_interleaving(connection: Connection, data: st.DataObject) -> None:
    account_id = AccountId(new_id())
    await deliver(app, connection, account_save(account_id=account_id))
    submitted, reports = story(account_id, data)
    said: list[Message] = await deliver(app, connection, *submitted)
    while reports:
        size = data.draw(st.integers(1, len(reports)))
        said += await deliver(app, connection, *reports[:size])
        reports = reports[size:]
    await assert_books_balance(connection, account_id, submitted, said)


async def assert_books_balance(
    connection: Connection, account_id: AccountId, submitted: list[OrderCleared], said: list[Message]
) -> None:
    terms = {order.order_id: order for order in submitted}
    fills = {m.broker_fill_id: m for m in said if isinstance(m, FillReported)}
    assert len(fills) == len([m for m in said if isinstance(m, FillReported)])
    held: Counter[tuple[str, str]] = Counter()
    cash: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for fill in fills.values():
        key = (fill.instrument, terms[fill.order_id].product)
        held[key] += fill.side.sign * fill.quantity
        cash[key] -= fill.side.sign * fill.quantity * fill.price
    nets = await connection.fetch("SELECT * FROM positions WHERE account_id = $1", account_id)
    assert {(row["instrument"], row["product"]): row["quantity"] for row in nets} == dict(held)
    assert {(r["instrument"], r["product"]): r["realised_pnl"] - r["cost"] for r in nets} == dict(cash)
    booked = await connection.fetch(
        "SELECT instrument, product, sum(quantity)::int AS quantity FROM books WHERE account_id = $1 GROUP BY 1, 2",
        account_id,
    )
    assert {(row["instrument"], row["product"]): row["quantity"] for row in booked} == dict(held)
    await assert_funds_balance(connection, account_id, said)
    for order in submitted:
        versions = [
            m.version for m in said if isinstance(m, OrderFact | OrderSubmitted) and m.order_id == order.order_id
        ]
        assert versions == list(range(1, len(versions) + 1))


async def assert_funds_balance(connection: Connection, account_id: AccountId, said: list[Message]) -> None:
    """used_margin = open orders' + positions'; the last FundsChanged is what is stored."""
    blocked = await connection.fetchval(
        "SELECT coalesce(sum(greatest(margin, coalesce((change::json->>'margin')::numeric, 0))), 0)"
        "  FROM orders WHERE account_id = $1 AND is_open",
        account_id,
    )
    positions = await connection.fetchrow(
        "SELECT coalesce(sum(margin), 0) AS margin, coalesce(sum(realised_pnl), 0) AS realised"
        "  FROM positions WHERE account_id = $1",
        account_id,
    )
    account = await connection.fetchrow("SELECT * FROM accounts WHERE account_id = $1", account_id)
    assert account is not None
    assert positions is not None
    assert account["used_margin"] == blocked + positions["margin"]
    assert account["realised_pnl"] == positions["realised"]
    funds = [m for m in said if isinstance(m, FundsChanged)]
    assert [m.version for m in funds] == list(range(2, len(funds) + 2))
    if funds:
        assert funds[-1].used_margin == account["used_margin"]
        assert funds[-1].available == account["opening_balance"] + account["realised_pnl"] - account["used_margin"]
    wrong = await connection.fetchval(
        "SELECT count(*) FROM positions WHERE account_id = $1 AND (quantity = 0) <> (margin = 0)", account_id
    )
    assert wrong == 0, "what is open blocks margin, and nothing else does"


async def test_an_order_read_back_is_the_order_that_was_written(connection: Connection) -> None:
    order = cleared(strategy=ALPHA)
    await deliver(app, connection, account_save())
    [*_, change] = await deliver(app, connection, order, change_to(order, 12, margin="1200.50"))
    assert type(change).__name__ == "VenueModifyRequested"
    said = await deliver(app, connection, modified(order, 12), filled(order, 5, "100.05", leaves=7))
    fill = next(m for m in said if isinstance(m, FillReported))
    assert (fill.strategy_id, fill.average_price, fill.filled_quantity) == (ALPHA, Decimal("100.05"), 5)
    moved = next(m for m in said if isinstance(m, PositionChanged))
    assert moved.margin == Decimal("500.21")


async def test_a_panic_waits_for_what_is_being_recorded_and_then_cancels_it(pool: asyncpg.Pool) -> None:
    await committed(pool, account_save())
    order = cleared()
    async with pool.acquire() as first, first.transaction():
        assert names(await deliver(app, first, order))[0] == "OrderSubmitted"
        panicking = asyncio.create_task(committed(pool, panic()))
        await blocked_on_the_gate(pool)
        assert not panicking.done()
    assert names(await panicking) == ["PanicRaised", "SquareOffStarted", "VenueCancelRequested"]


async def test_once_a_panic_is_recorded_nothing_cleared_before_it_leaves(pool: asyncpg.Pool) -> None:
    await committed(pool, account_save())
    async with pool.acquire() as first, first.transaction():
        assert names(await deliver(app, first, panic())) == ["PanicRaised"]
        sending = asyncio.create_task(committed(pool, cleared(epoch=0)))
        await blocked_on_the_gate(pool)
        assert not sending.done()
    assert names(await sending) == ["OrderDenied"]


async def test_two_instances_with_the_same_account_lose_no_fill(pool: asyncpg.Pool) -> None:
    await committed(pool, account_save())
    first, second = cleared(), cleared()
    await committed(pool, first, second)
    fills = [filled(order, 1, leaves=9) for order in (first, second) for _ in range(10)]
    await asyncio.gather(*(committed(pool, fill) for fill in fills))
    assert await pool.fetchval("SELECT quantity FROM positions") == 20
    assert await pool.fetchval("SELECT version FROM positions") == 20


async def test_a_panic_of_all_squares_off_every_account_in_one_go(pool: asyncpg.Pool) -> None:
    account_ids = [AccountId(new_id()) for _ in range(20)]
    orders = [cleared(account_id=account_id, order=OrderId(new_id())) for account_id in account_ids]
    await committed(pool, *[account_save(account_id=account_id) for account_id in account_ids])
    await committed(pool, *orders)
    said = await committed(pool, *[filled(order, 10) for order in orders[:10]], cancelled(orders[10]))
    assert len([m for m in said if isinstance(m, PositionChanged)]) == 10
    said = await committed(pool, panic())
    counted = Counter(names(said))
    assert counted == {"PanicRaised": 1, "SquareOffStarted": 19, "OrderRequested": 10, "VenueCancelRequested": 9}


async def committed(pool: asyncpg.Pool, *messages: Message) -> list[Message]:
    async with pool.acquire() as connection, connection.transaction():
        return await deliver(app, connection, *messages)


async def blocked_on_the_gate(pool: asyncpg.Pool) -> None:
    """Until somebody waits for the panic's lock."""
    for _ in range(200):
        if await pool.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
            return
        await asyncio.sleep(0.01)
    raise TimeoutError("nobody waits for the gate")


async def test_accounts_that_cannot_be_squared_off_keep_no_others_waiting(connection: Connection) -> None:
    """The sweep looks at some at a time, and those that are stuck come back for ever."""
    account_ids = {AccountId(new_id()) for _ in range(3)}
    for account_id in account_ids:
        entry = cleared(account_id=account_id)
        stop = square_off().model_copy(update={"square_off_id": new_id(), "account_id": account_id})
        await deliver(app, connection, account_save(account_id=account_id), entry, filled(entry, 10), stop)
    looked_at = {
        account.account_id for _ in range(60) for account in await TradingStore(connection).accounts.squaring_off(1)
    }
    assert looked_at == account_ids


async def test_a_look_at_a_brokers_book_does_not_read_all_that_ever_went_there(connection: Connection) -> None:
    """Each second, of each account: with a million orders of the past a third of a second of the database's time."""
    await connection.execute(
        """
        INSERT INTO broker_orders
        SELECT gen_random_uuid(), gen_random_uuid(), ('{' || lpad((n % 10)::text, 32, '0') || '}')::uuid, NULL,
               gen_random_uuid(), 'zerodha', 'NSE:SBIN', md5(n::text), '2026-11-20', 'ENDED', now(), NULL, 10, 'LIMIT',
               100, NULL, false, 10, '{}', 0, NULL
          FROM generate_series(1, 20000) AS n
        """
    )
    await connection.execute("ANALYZE broker_orders")
    tags = [f"TAG{n}" for n in range(200)]
    plan = await connection.fetch(f"EXPLAIN {SELECT_IN_BOOK}", AccountId(UUID(int=1)), tags)
    assert not any("Seq Scan" in row[0] for row in plan)
