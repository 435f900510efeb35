"""Trading with a broker behind HTTP: the real store and handlers, the real effects, and the stub over real HTTP.

Kafka's place is taken by the outbox table itself: `pump` hands what was committed to trading's own handlers, in order.
A process that dies between its commit and its publishing thus loses nothing here either.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

import asyncpg
from pydantic import SecretStr

from libs.common.clock import SystemClock, stopwatch
from libs.common.contracts import topics
from libs.common.contracts.base import Delivery, Envelope, Message, Topic
from libs.common.contracts.enums import Broker, OrderStatus, OrderType
from libs.common.contracts.ids import AccountId, OrderId
from libs.common.contracts.orders import OrderCleared
from libs.common.ids import new_id
from libs.common.messaging.envelope import decode
from libs.common.messaging.outbox import Commit
from libs.common.messaging.work import Work
from libs.common.runtime import Runtime
from libs.common.settings import CommonSettings, MarketHours, ServiceSettings
from libs.common.testing import Databases
from libs.common.testing.delivery import envelope_of
from libs.common.trading_calendar import TradingCalendar
from services.trading.adapters.zerodha.client import Kite
from services.trading.app import app
from services.trading.domain.orders import tag_of
from services.trading.effects import Office
from services.trading.effects.comparing import Comparer
from services.trading.effects.steps import Passed, Step
from services.trading.memory import TradingMemory
from services.trading.settings import TradingSettings
from services.trading.store import TradingStore
from services.trading.store.brokers.credentials import Secrets, Vault
from tests.services.trading.making import account_save, cleared
from tools.stub_broker.server import Stub

SECRET = "0" * 40
TOKEN = "a-token-that-must-never-be-seen"
CONSUMED = {(s.topic.name, s.message.__name__) for s in app.consumes}
TYPES = {m.__name__: m for t in vars(topics).values() if isinstance(t, Topic) for m in t.carries}


class Crash(BaseException):
    """The process is gone."""


class Kept:
    """An outbox that leaves everything in its table, for `pump`."""

    owner = 1

    async def publish(self, *_: object) -> None:
        """Later."""

    @contextlib.contextmanager
    def committing(self) -> Iterator[Commit]:
        """Nobody says anything beside it."""
        yield Commit()

    def relay_soon(self) -> None:
        """It stays where `pump` finds it."""


def nothing(_: Step) -> None:
    """Nobody listens."""


@dataclass
class World:
    pool: asyncpg.Pool
    stub: Stub
    settings: TradingSettings
    runtime: "Runtime[TradingStore, TradingMemory]"
    said: list[Message] = field(default_factory=list)
    offices: dict[int, tuple[Office, "asyncio.Task[None]"]] = field(default_factory=dict)
    comparers: list[tuple[Kite, "asyncio.Task[None]"]] = field(default_factory=list)

    async def account(self) -> AccountId:
        """At zerodha, with credentials."""
        account_id = AccountId(new_id())
        wish = account_save(account_id=account_id)
        wish = wish.model_copy(update={"account": wish.account.model_copy(update={"broker": Broker.ZERODHA})})
        await self.tell(wish)
        await self.log_in(account_id, TOKEN)
        return account_id

    async def log_in(self, account_id: AccountId, token: str) -> None:
        """Its owner has a new access token and set it."""
        sealed = Vault(SECRET).seal(account_id, Broker.ZERODHA, Secrets(account_id.hex, token))
        async with self.pool.acquire() as connection:
            await TradingStore(connection).credentials.save(
                account_id, Broker.ZERODHA, sealed, self.runtime.clock.now()
            )

    def order(self, account_id: AccountId, **changes: object) -> OrderCleared:
        order = cleared(account_id=account_id, order=OrderId(new_id()))
        return order.model_copy(update={"requested_at": self.runtime.clock.now(), **changes})

    def market(self, account_id: AccountId, **changes: object) -> OrderCleared:
        return self.order(account_id, order_type=OrderType.MARKET, price=None, **changes)

    async def tell(self, *messages: Message) -> None:
        """As if Kafka had brought them."""
        for message in messages:
            await self.handle(message)
        await self.pump()

    async def handle(self, message: Message) -> None:
        """What follows stays in the outbox, as of a process that was stopped at its commit."""
        await self._handle(message, envelope_of(message, now=self.runtime.clock.now()))

    async def _handle(self, message: Message, cause: Envelope) -> None:
        async with self.pool.acquire() as connection, connection.transaction():
            work = Work(app, TradingMemory(), connection, self.runtime.clock.now())
            await work.store.lock_for([message])
            await work.handle([Delivery(message, cause)])
            await work.keep(Kept.owner)

    async def pump(self) -> None:
        """Until nothing that was committed is left to hand on."""
        while rows := await self.pool.fetch("SELECT * FROM message_outbox ORDER BY seq"):
            for row in rows:
                message = decode(TYPES[row["type"]], row["value"])
                self.said.append(message)
                if (row["topic"], row["type"]) in CONSUMED:
                    envelope = envelope_of(message, now=row["said_at"], message_id=row["message_id"])
                    await self._handle(message, envelope)
                await self.pool.execute("DELETE FROM message_outbox WHERE seq = $1", row["seq"])

    def start(self, passed: Passed = nothing, **settings: object) -> int:
        """A process that works for brokers; its number."""
        chosen = self.settings.model_copy(update=settings)
        kite = Kite(chosen.zerodha_url, chosen.broker_connect_s, chosen.broker_call_s)
        office = Office(self.runtime, chosen, kite, passed)
        number = len(self.offices)
        self.offices[number] = (office, asyncio.create_task(office.run()))
        return number

    def compare(self, calendar: TradingCalendar | None = None, **settings: object) -> None:
        """A process that looks at positions, with time to do so; without a calendar markets are always open."""
        chosen = self.settings.model_copy(update=settings)
        kite = Kite(chosen.zerodha_url, 5.0, 5.0)
        comparer = Comparer(self.runtime, chosen, kite, calendar or TradingCalendar(MarketHours.CONTINUOUS))
        self.comparers.append((kite, asyncio.create_task(comparer.run())))

    def crash_at(self, step: Step) -> None:
        """A process that dies when it passes the step."""
        number = len(self.offices)

        def passed(at: Step) -> None:
            if at is step:
                _end(self.offices[number][1])
                raise Crash(step)

        assert self.start(passed) == number

    def kill(self, number: int) -> None:
        """No word, no drain."""
        office, task = self.offices[number]
        _end(task)
        for desk in office._tasks:
            _end(desk)

    async def until(self, holds: Callable[[], Awaitable[bool]], what: str, seconds: float = 15) -> None:
        began = stopwatch()
        while stopwatch() - began < seconds:
            await self.pump()
            if await holds():
                return
            await asyncio.sleep(0.01)
        raise TimeoutError(f"never came: {what}; {[type(m).__name__ for m in self.said]}")

    async def status(self, order: OrderCleared) -> OrderStatus:
        return OrderStatus(await self.pool.fetchval("SELECT status FROM orders WHERE order_id = $1", order.order_id))

    async def becomes(self, order: OrderCleared, *wanted: OrderStatus) -> OrderStatus:
        async def holds() -> bool:
            return await self.status(order) in wanted

        await self.until(holds, f"{wanted}, it is {await self.status(order)}")
        return await self.status(order)

    def placed(self, order: OrderCleared) -> Sequence[str]:
        """The broker's orders for this wish."""
        return self.stub.exchange.placed.get(tag_of(order.order_id), [])

    def arrived(self, order: OrderCleared) -> int:
        return self.stub.exchange.arrived.get(tag_of(order.order_id), 0)

    def events(self, order: OrderCleared, *kinds: type[Message]) -> Sequence[Any]:
        return [m for m in self.said if isinstance(m, kinds) and getattr(m, "order_id", None) == order.order_id]

    async def held(self, account_id: AccountId) -> int:
        found = await self.pool.fetchval("SELECT sum(quantity)::int FROM positions WHERE account_id = $1", account_id)
        return found or 0

    def was_filled(self, order: OrderCleared) -> bool:
        """Whether the broker has filled it, told us or not."""
        return any(self.stub.exchange.orders[each].fields["status"] == "COMPLETE" for each in self.placed(order))

    async def agrees(self, orders: Collection[OrderCleared]) -> None:
        """What we say of each order is what the broker has: never two for one wish, never a wrong refusal."""
        for order in orders:
            status, placed = await self.status(order), self.placed(order)
            assert len(placed) <= 1, f"{len(placed)} orders for one wish"
            if not placed:
                assert status in (OrderStatus.REJECTED, OrderStatus.CANCELLED), f"{status}, and the broker has none"
                continue
            theirs = self.stub.exchange.orders[placed[0]].fields
            truth = {"COMPLETE": OrderStatus.FILLED, "CANCELLED": OrderStatus.CANCELLED, "OPEN": OrderStatus.ACCEPTED}
            assert status == truth[str(theirs["status"])], f"{status}, the broker says {theirs['status']}"
            ours = await self.pool.fetchval("SELECT filled_quantity FROM orders WHERE order_id = $1", order.order_id)
            assert ours == theirs["filled_quantity"]


@contextlib.asynccontextmanager
async def world(pool: asyncpg.Pool) -> AsyncIterator[World]:
    """Everything is as in production, but tens of times faster: calls end after 0.4 s, evidence takes 0.5 s. Only what
    has not left yet may take as long as there, else a slow machine has orders refused that a test sends.
    """
    stub = Stub(late_s=0.15, first_number=int(stopwatch() * 1000) % 10**8)
    async with stub.listening() as url:
        settings = TradingSettings(
            vault_secret=SecretStr(SECRET),
            zerodha_url=url,
            broker_call_s=0.4,
            broker_fresh_s=0.3,
            broker_grace_s=0.1,
            broker_absent_reads=4,
            broker_absent_s=0.4,
            broker_leave_s=20.0,
            broker_change_s=0.5,
            broker_poll_s=0.08,
            broker_calls_per_s=100,
            broker_lease_s=0.8,
            broker_compare_s=0.3,
            broker_compare_again_s=0.15,
        )
        own = ServiceSettings(database_url=await Databases.url("trading"), port=1)
        runtime = Runtime(app, CommonSettings(), own, SystemClock())
        runtime.pool = pool
        runtime.outbox = Kept()  # type: ignore[assignment]
        made = World(pool, stub, settings, runtime)
        try:
            yield made
        finally:
            await _close(made)


_ended: "WeakSet[asyncio.Task[None]]" = WeakSet()


def _end(task: "asyncio.Task[None]") -> None:
    """Once: a second cancellation would meet it while it closes its connection, and leave that open.

    That it is being cancelled tells nothing: so is a task whose own time-out runs out at this moment.
    """
    if task not in _ended:
        _ended.add(task)
        task.cancel()


async def _close(made: World) -> None:
    for office, task in made.offices.values():
        await _over(task)
        await office.kite.close()
    for kite, task in made.comparers:
        await _over(task)
        await kite.close()


async def _over(task: "asyncio.Task[None]") -> None:
    _end(task)
    await asyncio.wait([task], timeout=5)
    while not task.done():  # it would take the accounts of every later test to a broker that is gone
        task.cancel()
        await asyncio.wait([task], timeout=1)
