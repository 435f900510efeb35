"""Each limit provably fires and flattens, once, however many instances watch.

Cooper787_Helios_x_23, shobhit727_trade_49, richkuo_go_trader_1269: limits that only blocked entries, could not be
cleared, or were called by nobody.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer

from libs.common import ids
from libs.common.clock import FixedClock
from libs.common.contracts import topics
from libs.common.contracts.base import Message
from libs.common.contracts.enums import BreachKind, DenialRule, OrderPurpose, RiskLevel, Side, SquareOffReason
from libs.common.contracts.ids import RiskLimitId, UserId
from libs.common.contracts.orders import OrderCleared, OrderDenied, SquareOffRequested
from libs.common.contracts.risk import MTMBreached, RiskLimit, RiskLimitDeleteRequested, RiskLimitSaveRequested
from libs.common.messaging.envelope import decode, type_of
from libs.common.messaging.work import Work, origin
from libs.common.runtime import Runtime, Unit
from libs.common.service import Connection, Delivery
from libs.common.testing import deliver
from libs.common.testing.apps import opened
from libs.common.testing.delivery import envelope_of
from services.risk import timers
from services.risk.app import app
from services.risk.domain.watches import Watch
from services.risk.memory import RiskMemory
from services.risk.projections.watch import positions_of
from services.risk.store import RiskStore
from tests.services.risk.scene import (
    ACCOUNT,
    NOW,
    OTHER_ACCOUNT,
    SBIN,
    STRATEGY,
    TODAY,
    USER,
    Scene,
    account_saved,
    conflated,
    market,
    order,
    position,
    quote,
    state,
)

SCOPES: dict[RiskLevel, dict[str, Any]] = {
    RiskLevel.INSTRUMENT: {"account_id": ACCOUNT, "instrument": SBIN},
    RiskLevel.STRATEGY: {"strategy_id": STRATEGY},
    RiskLevel.ACCOUNT: {"account_id": ACCOUNT},
    RiskLevel.USER: {},
}
AMOUNTS = {
    BreachKind.STOP_LOSS: ("stop_loss", 750.0),
    BreachKind.TARGET: ("target", 850.0),
    BreachKind.TRAILING_STOP: ("trailing_stop", 750.0),
    BreachKind.DAILY_LOSS: ("max_daily_loss", 750.0),
}


def limit(level: RiskLevel = RiskLevel.ACCOUNT, **amounts: Any) -> RiskLimitSaveRequested:
    limit_id = RiskLimitId(ids.new_id())
    own = RiskLimit(limit_id=limit_id, user_id=USER, level=level, **{**SCOPES[level], **amounts})
    return RiskLimitSaveRequested(limit_id=limit_id, user_id=USER, limit=own, expected_version=0)


class Watched(Scene):
    """A scene whose memory follows the database, as a process does."""

    async def tell(self, *messages: Message, story: UUID | None = None) -> Sequence[Message]:
        said = await super().tell(*messages, story=story)
        store = RiskStore(self.connection)
        for message in messages:
            self.memory.hold(positions_of(Delivery(message, envelope_of(message, now=self.now))))
        self.memory.rewatch(await store.limits.all_watches())
        return said

    async def restart(self) -> None:
        """Another process takes over, and knows what the database does."""
        self.memory = RiskMemory()
        self.memory.clock = FixedClock(self.now)
        await self.memory.follow(RiskStore(self.connection))

    async def price(self, last: float, close: float = 0) -> Sequence[Message]:
        """A new price, and what risk says of itself because of it."""
        self.memory.take([conflated(quote(SBIN, last, self.now, close))])
        self.memory.revalue()
        said: list[Message] = []
        for crossing in self.memory.crossed.values():
            said += await self._act(lambda unit, each=crossing: timers.fire(unit, each))
        for watch in self.memory.flat.values():
            await self._act(lambda unit, each=watch: timers.rearm(unit, each))
        self.memory.crossed.clear()
        self.memory.flat.clear()
        self.memory.rewatch(await RiskStore(self.connection).limits.all_watches())
        return said

    async def _act(self, step: Any) -> list[Message]:
        work = Work(app, self.memory, self.connection, self.now)
        await step(Unit(work, origin(app, self.now, USER)))
        await work.store.write()
        types = {message.__name__: message for message in app.topics}
        return [decode(types[record.envelope.type], record.value) for record in work.records]


@pytest.fixture
async def scene(connection: Connection) -> Watched:
    watched = Watched(connection)
    await watched.open()
    return watched


def long(quantity: int = 10, average: int = 800, **terms: Any) -> Message:
    held = state(quantity, average)
    return position(held, strategy_id=STRATEGY, **terms)


@pytest.mark.parametrize("level", list(SCOPES))
@pytest.mark.parametrize("kind", list(AMOUNTS))
async def test_helios_x_23_openalgo_1871_every_limit_of_every_level_fires_once_and_asks_to_flatten_its_scope(
    scene: Watched, level: RiskLevel, kind: BreachKind
) -> None:
    name, firing = AMOUNTS[kind]
    request = limit(level, **{name: Decimal(500)})
    await scene.tell(request, long())
    assert await scene.price(800.0) == []
    breach, square_off = await scene.price(firing)
    assert isinstance(breach, MTMBreached)
    assert (breach.limit_id, breach.level, breach.kind, breach.limit) == (request.limit_id, level, kind, Decimal(500))
    assert abs(breach.mtm) == 500
    assert isinstance(square_off, SquareOffRequested)
    assert square_off.account_id == ACCOUNT
    assert square_off.reason is SquareOffReason.MTM_BREACH
    assert square_off.strategy_id == SCOPES[level].get("strategy_id")
    assert square_off.instrument == SCOPES[level].get("instrument")
    assert await scene.price(firing) == [], "said once"


async def test_a_user_limit_flattens_every_account_and_nobody_elses(scene: Watched) -> None:
    stranger = UserId(ids.new_id())
    theirs = ids.new_id()
    await scene.tell(account_saved(OTHER_ACCOUNT), account_saved(theirs, user_id=stranger))  # type: ignore[arg-type]
    await scene.tell(limit(RiskLevel.USER, stop_loss=Decimal(500)), long())
    _, *square_offs = await scene.price(750.0)
    accounts = [each.account_id for each in square_offs if isinstance(each, SquareOffRequested)]
    assert accounts == [ACCOUNT, OTHER_ACCOUNT]
    assert len({each.square_off_id for each in square_offs if isinstance(each, SquareOffRequested)}) == 2


async def test_a_strategy_limit_reaches_accounts_where_its_orders_are_still_pending(scene: Watched) -> None:
    await scene.tell(account_saved(OTHER_ACCOUNT), limit(RiskLevel.STRATEGY, stop_loss=Decimal(500)), long())
    await scene.tell(order(account_id=OTHER_ACCOUNT, strategy_id=STRATEGY))
    _, *square_offs = await scene.price(750.0)
    assert len(square_offs) == 2


async def test_after_a_square_off_the_limit_is_armed_for_the_next_position_only(scene: Watched) -> None:
    await scene.tell(limit(stop_loss=Decimal(500)), long())
    assert len(await scene.price(750.0)) == 2
    await scene.tell(position(state(0, 0, -520), strategy_id=STRATEGY, version=2))
    assert await scene.price(748.0) == [], "flat: armed anew"
    await scene.tell(position(state(10, 748, -520), strategy_id=STRATEGY, version=3))
    assert await scene.price(740.0) == [], "the loss that was cut does not cut the next position"
    assert len(await scene.price(698.0)) == 2


async def test_hummingbot_3550_after_an_accounts_target_it_trades_on_and_the_next_one_counts_from_there(
    scene: Watched,
) -> None:
    """Only a kill switch was offered, where the profit was to be taken and the trading to go on by itself."""
    await scene.tell(limit(target=Decimal(500)), position(state(10, 800)))
    breach, square_off = await scene.price(850.0)
    assert isinstance(breach, MTMBreached)
    assert isinstance(square_off, SquareOffRequested)
    assert square_off.account_id == ACCOUNT
    await scene.tell(position(state(0, 0, 500), version=2))
    assert await scene.price(850.0) == [], "flat: armed anew"
    [entry] = await scene.tell(order(price=Decimal(850)))
    assert isinstance(entry, OrderCleared), "nobody has to let the account trade again"
    await scene.tell(position(state(10, 850, 500), version=3))
    assert await scene.price(899.0) == [], "the profit that was taken is no part of the next target"
    assert len(await scene.price(900.0)) == 2


async def test_a_limit_that_fired_waits_while_its_scope_is_open(scene: Watched) -> None:
    await scene.tell(limit(stop_loss=Decimal(500)), long())
    await scene.price(750.0)
    await scene.tell(position(state(5, 800, -250), strategy_id=STRATEGY, version=2))
    assert await scene.price(700.0) == []


async def test_a_limit_that_was_changed_is_armed_again(scene: Watched) -> None:
    request = limit(stop_loss=Decimal(500))
    await scene.tell(request, long())
    await scene.price(750.0)
    wider = request.limit.model_copy(update={"stop_loss": Decimal(800)})
    await scene.tell(request.model_copy(update={"limit": wider, "expected_version": 1}))
    assert await scene.price(730.0) == []
    assert len(await scene.price(720.0)) == 2


async def test_a_deleted_limit_fires_no_more(scene: Watched) -> None:
    request = limit(stop_loss=Decimal(500))
    await scene.tell(request, long())
    await scene.tell(RiskLimitDeleteRequested(limit_id=request.limit_id, user_id=USER))
    assert await scene.price(700.0) == []


async def test_openalgo_1052_a_daily_loss_denies_entries_until_the_next_day_and_lets_exits_out(scene: Watched) -> None:
    await scene.tell(limit(max_daily_loss=Decimal(500)), position(state(10, 800)))
    assert len(await scene.price(750.0)) == 2
    [denied, cleared] = await scene.tell(
        order(price=Decimal(750)), order(side=Side.SELL, price=Decimal(750), purpose=OrderPurpose.EXIT)
    )
    assert isinstance(denied, OrderDenied)
    assert denied.rule is DenialRule.DAILY_LOSS
    assert isinstance(cleared, OrderCleared)
    await scene.tell(position(state(0, 0, -500), version=2))
    for _ in range(2):
        assert await scene.price(750.0) == [], "flat again, but not armed again today"
    scene.later(days=1)
    [event] = await scene.tell(order(expires_at=scene.now, price=Decimal(750)))
    assert isinstance(event, OrderCleared)


@pytest.mark.parametrize("restarts", [False, True])
async def test_what_a_position_lost_on_other_days_is_no_daily_loss_however_it_is_traded(
    scene: Watched, restarts: bool
) -> None:
    """Shares that lay 8 % below their price were sold each morning at 9:15, by the limit on what a day may cost."""
    await scene.tell(limit(max_daily_loss=Decimal(600)), position(state(10, 800)))
    assert await scene.price(745.0) == []
    scene.later(days=1)
    assert await scene.price(740.0, close=745.0) == []
    await scene.tell(position(state(5, 800, -300), version=2))
    if restarts:
        await scene.restart()
    assert await scene.price(740.0, close=745.0) == []
    assert await scene.price(631.0, close=745.0) == []
    breach, square_off = await scene.price(630.0, close=745.0)
    assert isinstance(breach, MTMBreached)
    assert (breach.kind, breach.mtm) == (BreachKind.DAILY_LOSS, Decimal(-600))
    assert isinstance(square_off, SquareOffRequested)


async def test_a_breach_is_whoever_claims_it_first(scene: Watched) -> None:
    request = limit(stop_loss=Decimal(500))
    await scene.tell(request, long())
    scene.memory.take([conflated(quote(SBIN, 700.0, NOW))])
    scene.memory.revalue()
    [crossing] = scene.memory.crossed.values()
    limits = RiskStore(scene.connection).limits
    assert await limits.claim(crossing.watch, TODAY, NOW)
    assert not await limits.claim(crossing.watch, TODAY, NOW)
    assert await limits.claim(crossing.watch, TODAY + timedelta(days=1), NOW), "a day later it may fire again"


async def test_a_watch_is_not_armed_again_while_the_database_knows_of_an_open_position(scene: Watched) -> None:
    await scene.tell(limit(stop_loss=Decimal(500)), long())
    await scene.price(750.0)
    limits = RiskStore(scene.connection).limits
    [[fired]] = (await limits.all_watches()).values()
    assert not await limits.rearm(fired, TODAY)
    await scene.tell(position(state(0, 0, -500), strategy_id=STRATEGY, version=2))
    assert await limits.rearm(fired, TODAY)


async def test_a_claim_on_a_limit_that_changed_meanwhile_is_void(scene: Watched) -> None:
    request = limit(stop_loss=Decimal(500))
    await scene.tell(request, long())
    [[stale]] = (await RiskStore(scene.connection).limits.all_watches()).values()
    await scene.tell(request.model_copy(update={"expected_version": 1}))
    assert not await RiskStore(scene.connection).limits.claim(stale, TODAY, NOW)


async def test_a_peak_outlives_the_process(scene: Watched) -> None:
    await scene.tell(limit(trailing_stop=Decimal(500)), long())
    await scene.price(900.0)
    store = RiskStore(scene.connection)
    await store.limits.keep_peaks(scene.memory.watches.raised_peaks())
    scene.memory = RiskMemory()
    scene.memory.clock = FixedClock(NOW)
    await scene.memory.follow(store)
    [breach, _] = await scene.price(850.0)
    assert isinstance(breach, MTMBreached)
    assert (breach.peak_mtm, breach.mtm) == (Decimal(1000), Decimal(500))


async def test_a_peak_is_never_lowered_by_an_instance_that_saw_less(scene: Watched) -> None:
    await scene.tell(limit(trailing_stop=Decimal(500)), long())
    limits = RiskStore(scene.connection).limits

    async def kept() -> Watch:
        [[watch]] = (await limits.all_watches()).values()
        return watch

    watch = await kept()
    await limits.keep_peaks([(watch, Decimal(1000))])
    await limits.keep_peaks([(watch, Decimal(700))])
    assert (await kept()).peak == 1000


async def test_nautilus_4736_a_restarted_process_knows_what_is_open(scene: Watched) -> None:
    await scene.tell(limit(stop_loss=Decimal(500)), long())
    scene.memory = RiskMemory()
    scene.memory.clock = FixedClock(NOW)
    await scene.memory.follow(RiskStore(scene.connection))
    assert len(await scene.price(750.0)) == 2


@asynccontextmanager
async def instances(count: int) -> AsyncIterator[list[Runtime[RiskStore, RiskMemory]]]:
    """Running instances of risk, each acting on its watches."""
    async with AsyncExitStack() as stack:
        found = [await stack.enter_async_context(opened(app, clock=FixedClock(NOW))) for _ in range(count)]
        tasks = [asyncio.create_task(timers.act_on_watches(each)) for each in found]
        try:
            yield found
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def test_two_instances_that_see_the_same_breach_say_it_once(pool: asyncpg.Pool) -> None:
    request = limit(stop_loss=Decimal(500))
    async with pool.acquire() as connection:
        await deliver(app, connection, account_saved(), request, long(), now=NOW)
    topic, requests = topics.RISK_BREACHES.name, topics.TRADING_REQUESTS.name
    async with instances(2) as running:
        reader = AIOKafkaConsumer(topic, requests, bootstrap_servers=running[0].settings.kafka_bootstrap)
        await reader.start()
        await reader.seek_to_end()
        for partition in reader.assignment():
            await reader.position(partition)
        for instance in running:
            instance.memory.take([conflated(quote(SBIN, 700.0, NOW))])
            instance.memory.revalue()
        said: list[str] = []
        async with asyncio.timeout(20):
            while len(said) < 2:
                polled = await reader.getmany(timeout_ms=100)
                said += [type_of(record.headers) for records in polled.values() for record in records]
        polled = await reader.getmany(timeout_ms=500)
        said += [type_of(record.headers) for records in polled.values() for record in records]
        await reader.stop()
        assert sorted(said) == ["MTMBreached", "SquareOffRequested"]
        for instance in running:
            assert instance.memory.crossed == {}
            instance.memory.revalue()
            assert instance.memory.crossed == {}, "both know that it fired"


async def test_a_breach_that_recovered_while_the_database_was_away_does_not_fire_when_it_is_back(
    pool: asyncpg.Pool,
) -> None:
    """Each of many waits in turn for a connection that does not come; the last was reached minutes ago."""
    async with pool.acquire() as connection:
        await deliver(app, connection, account_saved(), limit(stop_loss=Decimal(500)), long(), now=NOW)
    clock = FixedClock(NOW)
    async with opened(app, clock=clock) as instance:
        memory = instance.memory
        memory.take([conflated(quote(SBIN, 700.0, NOW))])
        memory.revalue()
        assert len(memory.crossed) == 1
        clock.at += timedelta(seconds=60)
        memory.take([conflated(quote(SBIN, 800.0, clock.at))])
        memory.revalue()
        task = asyncio.create_task(timers.act_on_watches(instance))
        try:
            async with asyncio.timeout(20):
                while memory.crossed or memory.found.is_set():
                    await asyncio.sleep(0.01)
            memory.take([conflated(quote(SBIN, 700.0, clock.at))])
            memory.revalue()
            [crossing] = memory.crossed.values()
            assert crossing.watch.armed, "it waits for the next loss"
            async with asyncio.timeout(20):
                while await pool.fetchval("SELECT armed FROM watches"):
                    await asyncio.sleep(0.01)
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_an_instance_learns_what_another_did(pool: asyncpg.Pool) -> None:
    memory = RiskMemory()
    memory.clock = FixedClock(NOW)
    async with pool.acquire() as connection:
        store = RiskStore(connection)
        await memory.follow(store)
        await deliver(app, connection, account_saved(), limit(stop_loss=Decimal(500)), long(), now=NOW)
        await connection.execute("UPDATE exposures SET moved_by = $1", ids.new_id())
        await deliver(app, connection, order(strategy_id=STRATEGY), memory=market(), now=NOW)
        await memory.follow(store)
    memory.take([conflated(quote(SBIN, 700.0, NOW))])
    memory.revalue()
    assert len(memory.crossed) == 1
