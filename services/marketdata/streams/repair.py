"""What candles lack is made good while all runs.

Candles that lack a tick because Kafka brought it over a minute late (after an outage of Kafka, say, through which the
feed's process kept what it had received) are made from the stored ticks, and said again. Longer candles that QuestDB
gave up, since somebody dropped a part of the minutes, are filled again. What it stopped writing, as on a full disk, it
is told to write on.
"""

import asyncio
from collections import defaultdict
from datetime import date, timedelta
from typing import TYPE_CHECKING

from libs.common.contracts.ids import InstrumentId
from libs.common.telemetry import log
from libs.common.trading_calendar import IST
from services.marketdata.adapters.recomputed import recomputed
from services.marketdata.domain.candles import micros, moment
from services.marketdata.store.series import TimeSeriesUnavailable, candle_row
from services.marketdata.streams import metrics

if TYPE_CHECKING:
    from libs.common.runtime import Runtime
    from services.marketdata.memory import MarketMemory
    from services.marketdata.store import ContractStore

EVERY_SECONDS = 5.0
VIEWS_EVERY_SECONDS = 300.0
"""Longer than it takes to fill them: who asks meanwhile has it done twice."""
STORED = timedelta(days=2)
"""Ticks of older days may be gone from QuestDB in part; `history restore` and `recompute` are for them."""


async def repair_candles(runtime: "Runtime[ContractStore, MarketMemory]") -> None:
    """For ever. What could not be repaired waits for the next round."""
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        try:
            await repair(runtime)
        except TimeSeriesUnavailable as error:
            log.warning("repair_waits", error=str(error), candles=len(runtime.memory.writing.missed))


async def refill_views(runtime: "Runtime[ContractStore, MarketMemory]") -> None:
    """For ever."""
    while True:
        await asyncio.sleep(VIEWS_EVERY_SECONDS)
        try:
            if resumed := await runtime.memory.series.resume():
                log.warning("tables_resumed", tables=resumed)
            if refilled := await runtime.memory.series.refill_views():
                log.warning("views_refilled", views=refilled)
        except TimeSeriesUnavailable as error:
            log.warning("views_wait", error=str(error))


async def repair(runtime: "Runtime[ContractStore, MarketMemory]") -> int:
    """Make again the candles that wait for it, by instrument and day; how many were said."""
    missed = runtime.memory.writing.missed
    now = runtime.clock.now()
    wanted: dict[tuple[InstrumentId, date], set[int]] = defaultdict(set)
    for instrument, minute in list(missed):
        wanted[instrument, moment(minute).astimezone(IST).date()].add(minute)
    said = 0
    for (instrument, day), minutes in wanted.items():
        if moment(min(minutes)) > now - STORED:
            # The volume of the candles behind depends on the repaired ones.
            candles = await recomputed(runtime.memory.series, instrument, day, now)
            changed = [candle for candle in candles if micros(candle.start) >= min(minutes)]
            await runtime.memory.series.write(candles=map(candle_row, changed))
            for candle in changed:
                runtime.publish_bulk(candle)
            said += len(changed)
        missed.difference_update({(instrument, minute) for minute in minutes})
    if wanted:
        metrics.REPAIRED.inc(said)
        log.info("candles_repaired", instruments=len(wanted), candles=said)
    return said
