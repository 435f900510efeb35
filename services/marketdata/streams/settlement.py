"""Says what expired contracts were worth, once each: soon after the close, or when the platform is up again."""

import asyncio
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from libs.common.contracts import topics
from libs.common.contracts.base import Message
from libs.common.contracts.enums import InstrumentKind, OptionType
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.masters import ContractSettled, ContractUnsettled
from libs.common.database import FAILURES
from libs.common.messaging.bulk_reader import has_handled
from libs.common.telemetry import log
from services.marketdata.domain import settlement as rules
from services.marketdata.domain.candles import LATENESS
from services.marketdata.domain.intervals import Interval
from services.marketdata.domain.settlement import Closing, Expired
from services.marketdata.store.series import Selection
from services.marketdata.streams import metrics

if TYPE_CHECKING:
    from asyncpg import Record

    from libs.common.runtime import Runtime
    from services.marketdata.memory import MarketMemory
    from services.marketdata.store import ContractStore

    MarketRuntime = Runtime[ContractStore, MarketMemory]

LOOK_SECONDS = 30.0
AT_ONCE = 1_000
"""Contracts in one transaction."""


async def settle_expired(runtime: "MarketRuntime") -> None:
    """The leader's task, until it ends. While a database is away nothing is known of a price, so nothing is told."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            await tell_settlements(runtime)
        except FAILURES as error:  # QuestDB's and Kafka's are OSErrors
            log.warning("settlement_waits", error=repr(error))


async def tell_settlements(runtime: "MarketRuntime") -> int:
    """Whatever is due now; of how many contracts it was told."""
    now, calendar = runtime.clock.now(), runtime.memory.calendar
    async with runtime.transaction() as unit:
        found = await unit.store.settlements.due(calendar.trading_day(now), now)
    due = [
        (each, window) for each in found if now >= (window := rules.window(each, calendar)).end + rules.CANDLES_ARE_IN
    ]
    if not due or not await _candles_are_stored(runtime, max(window.end for _, window in due)):
        return 0
    told = 0
    for expired, window in due:
        reason = rules.why_never(expired)
        closing = None if reason else await _closing(runtime, expired, window)
        if closing is not None:
            told += await _settle(runtime, expired, closing)
        elif reason or now >= window.end + rules.GIVES_UP:
            missing = f"there is no price of {expired.spot} from {window.start:%H:%M} to {window.end:%H:%M} UTC"
            told += await _lack(runtime, expired, reason or f"{missing} on {expired.expiry}")
    return told


async def _candles_are_stored(runtime: "MarketRuntime", end: datetime) -> bool:
    """Whether the ticks until then are candles in QuestDB: until they are, the last one there may not be the last."""
    memory = runtime.memory
    kafka, heard_by = runtime.settings, end + LATENESS
    if not await asyncio.to_thread(has_handled, memory.writer_group, topics.TICKS, kafka, heard_by):
        log.warning("settlement_waits_for_candles", end=end)
        return False
    await memory.series.applied("candles")
    return True


async def _closing(runtime: "MarketRuntime", expired: Expired, window: rules.Window) -> Closing | None:
    assert expired.spot is not None  # why_never says so
    chosen = Selection(expired.spot, Interval.ONE_MINUTE, window.start, window.end)
    candles = await runtime.memory.series.candles(chosen, 1)
    return rules.closing(candles[0].close, candles[0].start, candles[0].source) if candles else None


async def _settle(runtime: "MarketRuntime", expired: Expired, found: Closing) -> int:
    assert expired.spot is not None
    told = 0
    while True:
        async with runtime.transaction() as unit:
            store = unit.store.settlements
            contracts = await store.contracts(expired, AT_ONCE, unit.now)
            if not contracts:
                break
            prices = [(InstrumentId(row["instrument"]), _worth(row, found)) for row in contracts]
            first = await store.settle(expired.expiry, prices, unit.now)
            said: list[Message] = [
                ContractSettled(
                    instrument=instrument,
                    expiry=expired.expiry,
                    price=price,
                    spot=expired.spot,
                    spot_price=found.price,
                    spot_minute=found.minute,
                    source=found.source,
                )
                for instrument, price in prices
                if instrument in first
            ]
            unit.say(*said)
        told += len(said)
    metrics.SETTLED.labels("settled").inc(told)
    log.info("contracts_settled", spot=expired.spot, expiry=expired.expiry, price=str(found.price), contracts=told)
    return told


async def _lack(runtime: "MarketRuntime", expired: Expired, reason: str) -> int:
    told = 0
    while True:
        async with runtime.transaction() as unit:
            store = unit.store.settlements
            contracts = await store.contracts(expired, AT_ONCE, unit.now)
            if not contracts:
                break
            names = [InstrumentId(row["instrument"]) for row in contracts]
            first = await store.lack(expired.expiry, names, unit.now)
            unit.say(
                *(
                    ContractUnsettled(instrument=name, expiry=expired.expiry, reason=reason)
                    for name in names
                    if name in first
                )
            )
        told += len(first)
    metrics.SETTLED.labels("unsettled").inc(told)
    if told:
        log.warning("contracts_unsettled", expiry=expired.expiry, reason=reason, contracts=told)
    return told


def _worth(row: "Record", found: Closing) -> Decimal:
    kind, option_type = InstrumentKind(row["kind"]), row["option_type"]
    return rules.worth(kind, row["strike"], OptionType(option_type) if option_type else None, found.price)
