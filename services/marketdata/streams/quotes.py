"""The newest quotes, to Redis for every reader: hash `quotes`, field = instrument, value = Quote as JSON."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import Quote
from libs.common.telemetry import log
from services.marketdata.streams import metrics

if TYPE_CHECKING:
    from libs.common.runtime import Runtime
    from services.marketdata.memory import MarketMemory
    from services.marketdata.store import ContractStore

EVERY_SECONDS = 0.25
RETRY_SECONDS = 1.0
LAST_SECONDS = 1.5
LOOK_SECONDS = 5.0
"""How often Redis is asked whether it has all of them still."""


async def save_quotes(runtime: "Runtime[ContractStore, MarketMemory]") -> None:
    """Once in EVERY_SECONDS, one HSET of what changed. While Redis is away only the newest of each waits.

    Who hands the lead over saves what was told last: an instrument that rarely trades would show an older quote for
    long.
    """
    try:
        await _save_quotes(runtime)
    finally:
        if runtime.lead.leads():
            await _save_the_last(runtime.memory)


async def find_lost_quotes(runtime: "Runtime[ContractStore, MarketMemory]") -> None:
    """A Redis that lost its data is given all quotes again: by night none changes, and whoever is started then would
    know no price until the opening.
    """
    memory = runtime.memory
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if not runtime.lead.leads():
            continue
        saved = memory.board.saved
        try:
            kept = await memory.count_saved_quotes()
        except (RedisError, OSError):
            metrics.REDIS_FAILURES.inc()
            continue
        _end_if_cancelled()
        if kept < saved:
            log.warning("redis_lost_quotes", saved=saved, kept=kept)
            memory.board.save_again()


async def _save_the_last(memory: "MarketMemory") -> None:
    quotes = memory.board.unsaved()
    if not quotes:
        return
    try:
        async with asyncio.timeout(LAST_SECONDS):
            await memory.save_quotes(quotes)
    except (RedisError, OSError) as error:
        memory.board.not_saved(quotes)
        log.warning("last_quotes_not_saved", error=repr(error))


async def _save_quotes(runtime: "Runtime[ContractStore, MarketMemory]") -> None:
    memory = runtime.memory
    away = False
    while True:
        await asyncio.sleep(RETRY_SECONDS if away else EVERY_SECONDS)
        if not runtime.lead.leads() or not (quotes := memory.board.unsaved()):
            continue
        try:
            await _save(memory, quotes)
        except (RedisError, OSError) as error:
            memory.board.not_saved(quotes)
            metrics.REDIS_FAILURES.inc()
            if not away:
                log.warning("redis_away", error=repr(error), waiting=len(quotes))
            away = True
        except asyncio.CancelledError:
            memory.board.not_saved(quotes)
            raise
        else:
            if away:
                log.info("redis_back", saved=len(quotes))
            away = False


async def _save(memory: "MarketMemory", quotes: Mapping[InstrumentId, Quote]) -> None:
    await memory.save_quotes(quotes)
    _end_if_cancelled()


def _end_if_cancelled() -> None:
    """The client waits by `asyncio.wait_for`, which until Python 3.12 forgets a cancellation if its answer comes in the
    same moment: we would go on, and the process end without the last words of who hands over.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
