"""The service as it runs, but for Kafka's consumers: requests and ticks are handed to it."""

import contextlib
from collections.abc import AsyncIterator
from datetime import datetime

from libs.common.clock import FixedClock
from libs.common.contracts.enums import ExecutionKind
from libs.common.contracts.market import Tick
from libs.common.contracts.venue import VenueCancelRequested, VenueModifyRequested, VenueOrderRequested
from libs.common.runtime import Runtime
from libs.common.testing.apps import opened
from services.walkforward import handlers, streams
from services.walkforward.app import app
from services.walkforward.domain.orders import Order
from services.walkforward.memory import WalkforwardMemory
from services.walkforward.store import WalkforwardStore
from tests.services.walkforward.venue import NOON, listed

Venue = Runtime[WalkforwardStore, WalkforwardMemory]


@contextlib.asynccontextmanager
async def instance(at: datetime = NOON) -> AsyncIterator[Venue]:
    """A process of the service, but for Kafka's consumers; it knows SBIN."""
    async with opened(app, clock=FixedClock(at)) as runtime:
        runtime.memory.learn(listed())
        yield runtime


def set_clock(runtime: Venue, now: datetime) -> datetime:
    assert isinstance(runtime.clock, FixedClock)
    runtime.clock.at = now
    return now


async def handle(
    runtime: Venue, message: VenueOrderRequested | VenueModifyRequested | VenueCancelRequested
) -> list[ExecutionKind]:
    """One batch of one message, to its commit."""
    async with runtime.transaction() as unit:
        await unit.store.lock_for([message])
        handler = app.subscription(type(message)).handler
        said = await handler(message, unit.context)
        unit.say(*said)
    await handlers.watch_committed([], runtime)
    return [each.kind for each in said]  # type: ignore[attr-defined]


async def see(runtime: Venue, *ticks: Tick) -> None:
    """Ticks come, and the tick road does what they ask for."""
    set_clock(runtime, max(runtime.clock.now(), *(each.received_at for each in ticks)))
    await streams.see_ticks(ticks, runtime.memory)
    await match(runtime)


async def match(runtime: Venue) -> None:
    while runtime.memory.is_stirred:
        await streams.decide(await runtime.memory.stirred(runtime.clock, 200), runtime)


async def row(runtime: Venue, asked: VenueOrderRequested) -> Order:
    async with runtime.pool.acquire() as connection:
        (found,) = await WalkforwardStore(connection).lock([asked.order_id])
        return found
