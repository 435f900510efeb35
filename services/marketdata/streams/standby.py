"""What an instance does that does not lead: it follows the leader, so that it answers like it and can take over.

Quotes, needs and changes of the master come as streams; ticks, up to 60,000 a second, are only kept as they stand in
Kafka, for the few books that are asked for.
"""

import asyncio
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from libs.common.contracts import topics
from libs.common.contracts.market import InstrumentListed, PricesRequested, QuotesConflated
from libs.common.contracts.masters import MasterSource
from libs.common.database import FAILURES
from libs.common.messaging.bulk_reader import BulkTail, BulkUnavailable
from libs.common.settings import load
from libs.common.telemetry import log
from services.marketdata.memory import MarketMemory
from services.marketdata.memory.market import FeedStatus
from services.marketdata.settings import FeedKind, MarketDataSettings
from services.marketdata.store import ContractStore
from services.marketdata.streams.feed import AHEAD

if TYPE_CHECKING:
    from libs.common.runtime import Runtime

    MarketRuntime = Runtime[ContractStore, MarketMemory]

AGAIN_SECONDS = 1.0
GATHER_SECONDS = 2.0
"""Changes of the master come by the thousand: it is read again once for all that come within so long."""
MASTER_SECONDS = 60.0
BOOKS_BACK = timedelta(seconds=60)
MOST_AT_ONCE = 20_000
WAIT_SECONDS = 0.25


async def follow_quotes(told: Sequence[QuotesConflated], memory: MarketMemory) -> None:
    for each in told:
        memory.follow(each.quotes)


async def follow_needs(said: Sequence[PricesRequested], memory: MarketMemory) -> None:
    """Whoever leads next need not wait until they are said again."""
    for each in said:
        memory.needs.note(each, memory.clock.now())


async def follow_master(_: Sequence[InstrumentListed], memory: MarketMemory) -> None:
    memory.followed.master_changed.set()


async def stand_by(runtime: "MarketRuntime") -> None:
    """Begin with what is saved; keep today's contracts as the leader has them. Ready once both are known."""
    memory = runtime.memory
    runtime.ready["feed"] = False
    memory.board.stand_by()
    memory.followed.books.clear()
    settings = load(MarketDataSettings)
    memory.status = FeedStatus(feed=settings.feed)
    latest = runtime.clock.now() + AHEAD
    memory.follow([quote for quote in await memory.saved_quotes() if quote.at <= latest])
    # All that changes the master is told, but not that a contract left the feed which a broker goes on listing.
    look = None if settings.feed is FeedKind.LIVE else MASTER_SECONDS
    while True:
        memory.followed.master_changed.clear()
        try:
            await _take_listed(runtime, settings)
        except FAILURES as error:
            log.warning("standby_waits", error=repr(error))
            await asyncio.sleep(AGAIN_SECONDS)
            continue
        runtime.ready["feed"] = True
        await _until_changed(memory.followed.master_changed, look)


async def _until_changed(changed: asyncio.Event, seconds: float | None) -> None:
    try:
        async with asyncio.timeout(seconds):
            await changed.wait()
    except TimeoutError:
        return
    await asyncio.sleep(GATHER_SECONDS)


async def _take_listed(runtime: "MarketRuntime", settings: MarketDataSettings) -> None:
    """What can be asked for at the leader: of a live feed the whole master, else what the feed lists, and what users
    made of it.
    """
    memory = runtime.memory
    sources = None if settings.feed is FeedKind.LIVE else (MasterSource.FEED, MasterSource.CUSTOM)
    async with runtime.pool.acquire(timeout=2) as connection:
        listed = await ContractStore(connection).listed(sources)
    found = {contract.instrument: contract for contract in listed}
    if found != memory.listed:
        memory.listed = found
        memory.board.forget([instrument for instrument in memory.board.quotes if instrument not in found])
        memory.followed.forget(found)
    memory.status.day = memory.calendar.trading_day(runtime.clock.now())
    memory.status.contracts = len(found)
    memory.status.source = next((quote.source.value for quote in memory.board.quotes.values()), "")


async def keep_books(runtime: "MarketRuntime") -> None:
    """Until cancelled: the newest tick of each instrument, from a minute before on."""
    books = runtime.memory.followed.books
    stop = threading.Event()

    def read() -> None:
        tail = BulkTail(topics.TICKS, runtime.settings, runtime.clock.now() - BOOKS_BACK)
        try:
            while not stop.is_set():
                for record in tail.read(MOST_AT_ONCE, WAIT_SECONDS):
                    key, value = record.key(), record.value()
                    if key is not None and value is not None:
                        books[key] = value
        finally:
            tail.close()

    while True:
        running = asyncio.get_running_loop().run_in_executor(None, read)
        try:
            await asyncio.shield(running)
        except BulkUnavailable as error:
            log.warning("books_wait", error=str(error))
        except asyncio.CancelledError:
            stop.set()
            await running
            raise
        await asyncio.sleep(AGAIN_SECONDS)
