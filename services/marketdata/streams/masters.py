"""Brokers' dumps: fetched every day and on request, read in a thread, judged, and put in the place of the last good
one. A dump that is broken, cut short or old leaves everything as it was and says why.
"""

import asyncio
import tempfile
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from libs.common.contracts.masters import (
    ContractsDownloaded,
    ContractsDownloadRefused,
    DownloadTrigger,
    MasterSource,
)
from libs.common.database import FAILURES
from libs.common.settings import load
from libs.common.telemetry import log
from libs.common.trading_calendar import IST
from services.marketdata.adapters import masters
from services.marketdata.adapters.masters import FORMATS, MasterMalformed, places
from services.marketdata.domain.masters import fault_of_dump
from services.marketdata.settings import PUBLISHED, MarketDataSettings
from services.marketdata.store.contracts.downloads import Download
from services.marketdata.store.contracts.master import DumpUnfit
from services.marketdata.streams import metrics
from services.marketdata.streams.contracts import publish_differences

if TYPE_CHECKING:
    from libs.common.runtime import Runtime
    from services.marketdata.memory import MarketMemory
    from services.marketdata.store import ContractStore

    MarketRuntime = Runtime[ContractStore, MarketMemory]

LOOK_SECONDS = 2.0
AGAIN_AFTER = timedelta(minutes=15)
MOST_ATTEMPTS = 8


class DumpRefused(ValueError):
    """It was read, and it must not replace the one before it."""


async def keep_masters(runtime: "MarketRuntime") -> None:
    """Until the process stops: what is wanted is fetched, and a new day's expiries are followed."""
    settings = load(MarketDataSettings)
    followed = runtime.memory.calendar.trading_day(runtime.clock.now())
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            now = runtime.clock.now()
            await _schedule(runtime, settings, now)
            while (wanted := await _claim(runtime)) is not None:
                await download(runtime, settings, wanted)
            today = runtime.memory.calendar.trading_day(now)
            if today != followed:
                await publish_differences(runtime)
                followed = today
        except FAILURES as error:
            log.warning("masters_wait", error=repr(error))


async def download(runtime: "MarketRuntime", settings: MarketDataSettings, wanted: Download) -> None:
    """Fetch and take over one broker's dump, or say why not."""
    source, day = wanted.source, runtime.memory.calendar.trading_day(runtime.clock.now())
    try:
        with tempfile.TemporaryDirectory(prefix="master-") as folder:
            await _take_over(runtime, settings, wanted, Path(folder), day)
    except (places.DumpUnavailable, MasterMalformed, DumpUnfit, DumpRefused) as error:
        again = wanted.trigger is DownloadTrigger.SCHEDULE and wanted.attempts < MOST_ATTEMPTS
        async with runtime.transaction() as unit:
            at = unit.now + AGAIN_AFTER if again else None
            await unit.store.downloads.failed(source, str(error), unit.now, at)
            unit.say(ContractsDownloadRefused(source=source, day=day, trigger=wanted.trigger, reason=str(error)))
        metrics.MASTERS.labels(source.value, "refused").inc()
        log.warning("master_refused", source=source.value, reason=str(error), again=again)


async def _take_over(
    runtime: "MarketRuntime", settings: MarketDataSettings, wanted: Download, folder: Path, day: date
) -> None:
    source = wanted.source
    fetched = await places.Places(settings.masters_ca).fetch(places_of(settings, source), folder)
    unchanged = fetched.checksum == wanted.checksum
    dump = await asyncio.to_thread(masters.load, source, fetched.paths, day)
    rows = await asyncio.to_thread(_as_csv, dump)
    async with runtime.transaction() as unit:
        await unit.store.master.stage(rows)
        fault = fault_of_dump(await unit.store.master.census(source, day), dump.unreadable)
        if fault is not None:
            raise DumpRefused(fault)
        await unit.store.master.replace(source, day)
        await unit.store.downloads.succeeded(source, fetched.checksum, dump.table.height, dump.unreadable, unit.now)
        unit.say(
            ContractsDownloaded(
                source=source,
                day=day,
                trigger=wanted.trigger,
                checksum=fetched.checksum,
                contracts=dump.table.height,
                unreadable=dump.unreadable,
                unchanged=unchanged,
            )
        )
    metrics.MASTERS.labels(source.value, "good").inc()
    log.info("master_taken", source=source.value, contracts=dump.table.height, unreadable=dump.unreadable)
    await publish_differences(runtime, announce=wanted.checksum is not None)
    runtime.memory.followed.master_changed.set()


def places_of(settings: MarketDataSettings, source: MasterSource) -> list[places.Place]:
    """Where the operator says that a broker's dump is."""
    said = settings.masters.get(source)
    if said is None:
        raise places.DumpUnavailable(f"MARKETDATA_MASTERS names no address or file for {source.value}")
    if said != PUBLISHED:
        return [said] if isinstance(said, str) else list(said)
    published = FORMATS[source].published if source in FORMATS else ()
    if not published:
        raise places.DumpUnavailable(f"{source.value} publishes no dump without a login: name a file")
    return list(published)


async def _schedule(runtime: "MarketRuntime", settings: MarketDataSettings, now: datetime) -> None:
    """Once on every day, from the time of day that the operator chose; before it what was not fetched the day before: a
    new stack has nothing to trade else.
    """
    local = now.astimezone(IST)
    day = local.date() if local.time() >= settings.masters_at else local.date() - timedelta(days=1)
    if settings.masters:
        async with runtime.transaction() as unit:
            await unit.store.downloads.schedule(list(settings.masters), day, now)


async def _claim(runtime: "MarketRuntime") -> Download | None:
    async with runtime.transaction() as unit:
        return await unit.store.downloads.claim(unit.now)


def _as_csv(dump: masters.Dump) -> bytes:
    return dump.table.write_csv(include_header=False).encode()
