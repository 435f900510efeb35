"""Ticks and candles to QuestDB, once a second, in a thread.

Rows wait in memory, at most MOST_ROWS of each kind, and the oldest go when QuestDB stays away. What a killed process
had not written, at most about a second of ticks, is in Kafka's TICKS and not in QuestDB.
"""

import asyncio
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from questdb import QuestDBError

from libs.common.telemetry import log
from services.marketdata.store.series import TimeSeriesUnavailable
from services.marketdata.streams import metrics

if TYPE_CHECKING:
    from libs.common.runtime import Runtime
    from services.marketdata.memory import MarketMemory
    from services.marketdata.store import ContractStore

EVERY_SECONDS = 1.0
ROWS_AT_ONCE = 20_000

Row = TypeVar("Row")


async def write_series(runtime: "Runtime[ContractStore, MarketMemory]") -> None:
    """Until the process stops, whatever QuestDB does."""
    memory = runtime.memory
    away = True
    ready = False
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        try:
            if not ready:
                await memory.series.create_tables()
                ready = True
            await _write(memory)
        except (QuestDBError, TimeSeriesUnavailable, OSError) as error:
            if not away:
                log.warning("questdb_away", error=repr(error), waiting=len(memory.tick_rows))
            away = True
        else:
            if away:
                log.info("questdb_writing")
            away = False
        metrics.ROWS_WAITING.set(len(memory.tick_rows) + len(memory.candle_rows))


async def _write(memory: "MarketMemory") -> None:
    """What waits now; rows leave the queues only once QuestDB has them."""
    ticks = list(islice(memory.tick_rows, ROWS_AT_ONCE))
    candles = list(islice(memory.candle_rows, ROWS_AT_ONCE))
    if not ticks and not candles:
        return
    await asyncio.to_thread(memory.series.write, ticks, candles)
    _drop(memory.tick_rows, ticks)
    _drop(memory.candle_rows, candles)
    metrics.ROWS.labels("ticks").inc(len(ticks))
    metrics.ROWS.labels("candles").inc(len(candles))


def _drop(rows: "deque[Row]", written: list[Row]) -> None:
    """Take the written rows off the front; some may have been pushed out while they were being written."""
    newest = written[-1] if written else None
    while newest is not None and rows:
        if rows.popleft() is newest:
            return
