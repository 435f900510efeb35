"""The tables keep what the domain decided, for two instances at once."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.common import database, ids
from libs.common.clock import SystemClock
from libs.common.contracts.base import Message
from libs.common.contracts.enums import OrderStatus, OrderType, Product, RiskLevel, Side
from libs.common.contracts.ids import OrderId, RiskLimitId
from libs.common.contracts.orders import (
    OrderCancelled,
    OrderCleared,
    OrderModified,
    OrderModifyCleared,
    OrderModifyRequested,
    OrderRequested,
)
from libs.common.contracts.risk import RiskLimit, RiskLimitDeleteRequested, RiskLimitSaveRequested
from libs.common.database import Connection
from libs.common.service import Context
from libs.common.testing import Databases, deliver
from libs.common.testing.delivery import envelope_of
from services.risk import timers
from services.risk.app import app
from services.risk.store import RiskStore
from services.risk.store.exposures import NET
from tests.services.risk.scene import (
    ACCOUNT,
    CALL,
    FUTURE,
    INFY,
    NOW,
    OTHER_ACCOUNT,
    SBIN,
    STRATEGY,
    USER,
    Scene,
    account_saved,
    fact,
    market,
    order,
    position,
    state,
)
from tests.services.risk.test_handlers.saying import limit
from tests.services.risk.watched import Watched


async def totals_are_the_sum_of_the_rows(connection: Connection) -> None:
    """The totals on accounts and exposures, against what the reservations say."""
    store = RiskStore(connection)
    store.reservations.ask(store.reads, [row[0] for row in await connection.fetch("SELECT order_id FROM reservations")])
    await store.reads.send()
    reservations = [each for each in store.reservations.loaded() if each.open]
    for row in await connection.fetch("SELECT * FROM accounts"):
        own = [each for each in reservations if each.account_id == row["account_id"]]
        positions = await connection.fetch(
            "SELECT * FROM exposures WHERE account_id = $1 AND strategy_id = $2",
            row["account_id"],
            NET,
        )
        assert row["order_margin"] == sum(each.margin for each in own)
        assert row["position_margin"] == sum(each["margin"] for each in positions)
        in_use = [each for each in positions if each["quantity"] or each["pending_buy"] or each["pending_sell"]]
        assert row["open_positions"] == len(in_use)
        pending = sum(each["pending_buy"] + each["pending_sell"] for each in positions)
        assert pending == sum(each.outstanding for each in own)


steps = st.lists(
    st.tuples(
        st.sampled_from(("order", "fill", "cancel", "change", "changed")),
        st.integers(0, 30),
        st.integers(1, 60),
        st.sampled_from(Side),
    ),
    max_size=12,
)


class Story:
    """Turns drawn steps into messages that could have happened."""

    def __init__(self) -> None:
        self.orders: dict[OrderId, OrderRequested] = {}
        self.left: dict[OrderId, int] = {}
        self.changes: dict[OrderId, OrderModifyCleared] = {}
        self.net: dict[tuple[str, object], int] = {}
        self.version = 0

    def message(self, what: str, n: int, quantity: int, side: Side) -> Message | None:
        if what == "order":
            wanted = {"instrument": INFY, "price": Decimal(1500)} if n % 3 == 0 else {}
            strategy = STRATEGY if n % 2 else None
            return order(side=side, quantity=quantity, strategy_id=strategy, **wanted)
        live = [each for each, left in self.left.items() if left > 0]
        if not live:
            return None
        request = self.orders[live[n % len(live)]]
        match what:
            case "fill":
                return self.fill(request, min(quantity, self.left[request.order_id]))
            case "cancel":
                self.left[request.order_id] = 0
                return OrderCancelled(**fact(request, OrderStatus.CANCELLED), reason="asked")
            case "change":
                return OrderModifyRequested(
                    order_id=request.order_id,
                    account_id=ACCOUNT,
                    user_id=USER,
                    quantity=quantity,
                    expires_at=NOW,
                )
            case _:
                return self.changed(request)

    def fill(self, request: OrderRequested, units: int) -> Message:
        self.left[request.order_id] -= units
        self.version += 1
        net = self.net.get((request.instrument, None), 0) + units * request.side.sign
        book = self.net.get((request.instrument, request.strategy_id), 0) + units * request.side.sign
        self.net[request.instrument, request.strategy_id] = book
        self.net[request.instrument, None] = net
        return position(
            state(net, 100),
            book=state(book, 100),
            instrument=request.instrument,
            strategy_id=request.strategy_id,
            order_id=request.order_id,
            fill_quantity=units,
            version=self.version,
            margin=Decimal(abs(net)) * 7,
        )

    def changed(self, request: OrderRequested) -> Message | None:
        cleared = self.changes.pop(request.order_id, None)
        if cleared is None or cleared.quantity <= request.quantity - self.left[request.order_id]:
            return None
        self.left[request.order_id] += cleared.quantity - request.quantity
        self.orders[request.order_id] = request.model_copy(update={"quantity": cleared.quantity})
        return OrderModified(
            **fact(request, OrderStatus.ACCEPTED),
            quantity=cleared.quantity,
            order_type=OrderType.LIMIT,
            price=request.price,
            trigger_price=None,
        )

    def hear(self, asked: Message, said: list[Message]) -> None:
        match asked, said:
            case OrderRequested(), [OrderCleared()]:
                self.orders[asked.order_id] = asked
                self.left[asked.order_id] = asked.quantity
            case OrderModifyRequested(), [OrderModifyCleared() as cleared]:
                self.changes[asked.order_id] = cleared
            case _:
                pass


@given(drawn=steps)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_totals_are_right_for_any_interleaving(connection: Connection, drawn: list[Any]) -> None:
    outer = connection.transaction()
    await outer.start()
    scene = await Scene(connection).open()
    story = Story()
    for step in drawn:
        message = story.message(*step)
        if message is not None:
            story.hear(message, list(await scene.tell(message)))
    await totals_are_the_sum_of_the_rows(connection)
    await outer.rollback()


async def test_two_instances_that_decide_for_one_account_never_spend_its_margin_twice(
    pool: asyncpg.Pool,
) -> None:
    """Two topics of one key may sit on two instances; and a zombie may decide beside its successor."""

    async def decide() -> int:
        async with pool.acquire() as connection, connection.transaction():
            said = await deliver(app, connection, *(order(quantity=100) for _ in range(5)), memory=market(), now=NOW)
            return sum(isinstance(each, OrderCleared) for each in said)

    async with pool.acquire() as connection:
        await deliver(app, connection, account_saved(), memory=market(), now=NOW)
    counts = await asyncio.gather(*(decide() for _ in range(4)))
    assert sum(counts) == 6, "1,00,000 at 16,000 an order"
    async with pool.acquire() as connection:
        await totals_are_the_sum_of_the_rows(connection)


async def test_two_instances_never_exceed_a_users_open_positions(pool: asyncpg.Pool) -> None:
    limit_id = RiskLimitId(ids.new_id())
    limit = RiskLimit(limit_id=limit_id, user_id=USER, level=RiskLevel.USER, max_open_positions=1)
    saving = RiskLimitSaveRequested(limit_id=limit_id, user_id=USER, limit=limit, expected_version=0)

    async def decide(wish: OrderRequested) -> bool:
        async with pool.acquire() as connection, connection.transaction():
            [said] = await deliver(app, connection, wish, memory=market(), now=NOW)
            await asyncio.sleep(0.05)
            return isinstance(said, OrderCleared)

    async with pool.acquire() as connection:
        accounts = account_saved(), account_saved(OTHER_ACCOUNT)
        await deliver(app, connection, *accounts, saving, memory=market(), now=NOW)
    wishes = order(quantity=1), order(quantity=1, account_id=OTHER_ACCOUNT)
    assert sorted(await asyncio.gather(*(decide(each) for each in wishes))) == [False, True]


async def test_orders_are_forgotten_when_they_are_over_and_old(connection: Connection) -> None:
    scene = await Scene(connection).open()
    resting, cancelled = order(), order()
    await scene.tell(resting, cancelled)
    await scene.tell(OrderCancelled(**fact(cancelled, OrderStatus.CANCELLED), reason="asked"))
    later = max(NOW, SystemClock().now()) + timedelta(days=1)  # an order's id tells the machine's time
    await RiskStore(connection).reservations.forget(later)
    assert await connection.fetchval("SELECT array_agg(order_id) FROM reservations") == [resting.order_id]


async def test_however_many_orders_are_over_no_statement_takes_long_to_forget_them(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour's went in one statement: where that took longer than one may, as after an outage, it was tried for ever,
    risk was not ready, and all that was ever decided stayed.
    """
    await pool.execute(
        """
        INSERT INTO reservations (order_id, account_id, user_id, instrument, product, side, order_type, purpose, epoch,
                                  quantity, increasing, unit_margin, filled, closed, decided_at)
        SELECT ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, $1, $2, 'NSE:SBIN', 'MIS', 'BUY',
               'MARKET', 'ENTRY', 0, 1, 1, 0, 1, true, '2024-06-09'
        FROM generate_series(1, 600000) AS n
        """,
        ACCOUNT,
        USER,
        timeout=120,
    )
    await pool.execute("ANALYZE reservations", timeout=60)
    monkeypatch.setattr(database, "STATEMENT_S", 0.4)
    hasty = await database.open_pool(await Databases.url("risk"), "risk", size=1)
    left = [600_000]
    async with hasty.acquire() as connection:
        for _ in range(3):
            async with connection.transaction():
                store = RiskStore(connection)
                await timers.forget(Context(store, market(), NOW, envelope_of(account_saved(), now=NOW)))
            left.append(await pool.fetchval("SELECT count(*) FROM reservations"))
    await hasty.close()
    assert left == sorted(left, reverse=True)
    assert left[-1] < left[-2] < left[-3] < 600_000


async def test_what_orders_said_is_forgotten_without_reading_all_that_they_said_in_a_week(
    connection: Connection,
) -> None:
    """All of it was, each minute: once that took longer than a statement may, no order would be forgotten either."""
    now = SystemClock().now()
    for age, number in ((6, 20_000), (8, 30)):
        await connection.execute(
            "INSERT INTO recent_orders SELECT $1, $2::text || n, $3 FROM generate_series(1, $4) AS n",
            ACCOUNT,
            str(age),
            now - timedelta(days=age),
            number,
        )
    await connection.execute("ANALYZE recent_orders")
    read = (
        "SELECT seq_tup_read + COALESCE(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables "
        "WHERE relid = 'recent_orders'::regclass"
    )
    before = await connection.fetchval(read)
    await timers.forget(Context(RiskStore(connection), market(), now, envelope_of(account_saved(), now=now)))
    assert await connection.fetchval(read) - before < 1000
    assert await connection.fetchval("SELECT count(*) FROM recent_orders") == 20_000


async def test_what_was_closed_a_week_ago_is_forgotten_by_night(connection: Connection) -> None:
    """Each stayed for ever, 20,000 a day of 1,000 accounts that trade ten options each; and every ten seconds all of
    them were read for what its session's end has come for.
    """
    scene = await Watched(connection).open()
    closed, reopened = position(state(0, 0, 50), instrument=CALL, strategy_id=STRATEGY), position(state(0, 0, -20))
    held = position(state(35, 24_000), instrument=FUTURE, strategy_id=STRATEGY)
    resting = order(instrument=INFY, price=Decimal(1500), strategy_id=STRATEGY)
    await scene.tell(closed, reopened, held, resting)

    async def known() -> list[str]:
        rows = await connection.fetch("SELECT instrument FROM exposures WHERE instrument <> '' ORDER BY 1")
        return [row[0] for row in rows]

    await scene.night()
    assert await known() == [FUTURE, FUTURE, INFY, INFY]
    await totals_are_the_sum_of_the_rows(connection)
    await scene.tell(position(state(10, 800), version=2))
    assert await known() == [FUTURE, FUTURE, INFY, INFY, SBIN]
    await totals_are_the_sum_of_the_rows(connection)
    await scene.tell(position(state(0, 0, 7), version=3))
    await scene.night()
    assert await known() == [FUTURE, FUTURE, INFY, INFY]


async def test_a_rebuild_comes_to_the_same_without_what_was_forgotten(connection: Connection) -> None:
    scene = await Watched(connection).open()
    await scene.tell(
        position(state(0, 0, 50), instrument=CALL, strategy_id=STRATEGY, version=2),
        position(state(0, 0, -20), strategy_id=STRATEGY),
        position(state(35, 24_000), instrument=FUTURE, strategy_id=STRATEGY),
    )

    async def known() -> list[tuple[Any, ...]]:
        what = "strategy_id, instrument, product, quantity, realised_before, realised_pnl, version"
        rows = await connection.fetch(f"SELECT {what} FROM exposures ORDER BY 1, 2")  # noqa: S608 - of our own
        return [tuple(row) for row in rows]

    await scene.night()
    await scene.tell(position(state(0, 0, 7), instrument=INFY, strategy_id=STRATEGY))
    before = await known()
    assert [row[1] for row in before] == [FUTURE, INFY, "", FUTURE, INFY]
    await scene.build_anew()
    await timers.forget_old(connection, scene.now)
    assert await known() == before


async def test_by_day_it_forgets_what_no_night_forgot(connection: Connection) -> None:
    """Where the stack is stopped each evening."""
    scene = await Watched(connection).open()
    await scene.tell(position(state(0, 0, 50)))
    await connection.execute("UPDATE exposures SET moved_at = least($1, now()) - interval '1 hour'", scene.now)
    for days, left in ((8, 1), (2, 0)):
        scene.later(days=days)
        await scene.forget()
        assert await connection.fetchval("SELECT count(*) FROM exposures") == left


async def test_what_is_at_work_is_not_forgotten_meanwhile(pool: asyncpg.Pool) -> None:
    """What an order adds to a position that was closed a week ago is added to what that was."""
    async with pool.acquire() as working, pool.acquire() as connection:
        scene = await Watched(working).open()
        await scene.tell(position(state(0, 0, 50), strategy_id=STRATEGY))
        async with working.transaction():
            await working.execute("UPDATE exposures SET moved_at = $1", scene.now)
            await working.execute("SELECT FROM accounts FOR UPDATE")
            elsewhere = Watched(connection)
            elsewhere.later(days=8, hours=14)
            await elsewhere.forget()
        assert await pool.fetchval("SELECT count(*) FROM exposures") == 2
        await elsewhere.forget()
        assert await pool.fetchval("SELECT count(*) FROM exposures WHERE instrument <> ''") == 0


async def test_what_was_saved_is_what_is_loaded(connection: Connection) -> None:
    scene = await Scene(connection).open()
    request = order(
        order_type=OrderType.SL,
        trigger_price=Decimal("799.95"),
        strategy_id=STRATEGY,
        product=Product.CNC,
        quantity=7,
    )
    await scene.tell(request)
    store = RiskStore(connection)
    await store.prefetch([request])
    kept = store.reservations.get(request.order_id)
    assert kept is not None
    assert (kept.side, kept.order_type, kept.product) == (Side.BUY, OrderType.SL, Product.CNC)
    assert (kept.price, kept.trigger_price, kept.strategy_id) == (request.price, request.trigger_price, STRATEGY)
    assert (kept.margin, kept.outstanding, kept.decided_at) == (Decimal(5600), 7, NOW)
    ledger = store.ledger_of(request)
    assert ledger.book is not None
    assert (ledger.net.pending_buy, ledger.book.pending_buy, ledger.account.order_margin) == (7, 7, Decimal(5600))


async def test_what_is_asked_every_second_does_not_read_all_that_was_ever_held(connection: Connection) -> None:
    """A closed position stays: a year of new contracts each week took a sixth of a second to read, each second."""
    await connection.execute(
        "INSERT INTO exposures (account_id, strategy_id, instrument, product, user_id, quantity, average_price, "
        "realised_pnl, margin, version, pending_buy, pending_sell, moved_at, moved_by) "
        "SELECT $1, $2, 'NFO:' || n, 'NRML', $3, 0, 0, 0, 0, 1, 0, 0, now() - interval '1 day', $3 "
        "FROM generate_series(1, 20000) n",
        ACCOUNT,
        NET,
        USER,
    )
    await connection.execute("ANALYZE exposures")
    exposures = RiskStore(connection).exposures
    async with connection.transaction():
        asked = await connection.fetchval("SELECT now()")
        whole = "SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relid = 'exposures'::regclass"
        before = await connection.fetchval(whole)
        assert await exposures.moved_elsewhere(asked - timedelta(seconds=15)) == []
        assert await exposures.moved_of(USER, asked - timedelta(seconds=15)) == []
        assert await exposures.instruments_held() == ()
        assert await connection.fetchval(whole) == before


async def test_limits_that_were_deleted_are_not_read_and_are_forgotten(connection: Connection) -> None:
    """Each stayed for ever: who made and deleted limits all day slowed down every batch that held an order of his, and
    with it everybody's, and the look of each second at what is watched.
    """
    scene = await Scene(connection).open()
    kept, gone = limit(stop_loss=Decimal(500)), limit(stop_loss=Decimal(600))
    await scene.tell(kept, gone)
    await scene.tell(RiskLimitDeleteRequested(limit_id=gone.limit_id, user_id=USER))
    await connection.execute(
        "INSERT INTO limits (limit_id, user_id, level, active, deleted, version, changed_at) "
        "SELECT gen_random_uuid(), $1, 'USER', false, true, 2, now() - interval '1 day' FROM generate_series(1, 19000)",
        USER,
    )
    await connection.execute("ANALYZE limits")
    async with connection.transaction():
        store, asked = RiskStore(connection), await connection.fetchval("SELECT now()")
        read = (
            "SELECT seq_tup_read + COALESCE(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables "
            "WHERE relid = 'limits'::regclass"
        )
        before = await connection.fetchval(read)
        await store.prefetch([order(), position(state(0, 100))])
        assert set(await store.watches.changed(asked - timedelta(seconds=15))) == {kept.limit_id, gone.limit_id}
        assert await connection.fetchval(read) - before < 20
    left = []
    for days in (5, 9):
        now = SystemClock().now() + timedelta(days=days)
        await timers.forget(Context(RiskStore(connection), market(), now, envelope_of(kept, now=now)))
        left.append(await connection.fetchval("SELECT count(*) FROM limits"))
    assert left == [19_002, 1]
