"""The published master: what the feed and the brokers' dumps list, merged; differences only are said."""

import asyncio
import csv
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from libs.common.contracts.base import Message
from libs.common.contracts.market import InstrumentListed
from libs.common.contracts.masters import (
    ContractAdded,
    ContractExpired,
    ContractTerms,
    ContractTermsChanged,
    ContractWithdrawn,
    MasterSource,
)
from libs.common.settings import load
from libs.common.telemetry import log
from services.marketdata.domain.masters import TERMS, Change, listing
from services.marketdata.memory import MarketMemory
from services.marketdata.settings import MarketDataSettings
from services.marketdata.store import ContractStore
from services.marketdata.streams.custom import load_custom_symbols
from services.marketdata.streams.rollover import roll_expiries

if TYPE_CHECKING:
    from asyncpg import Record

    from libs.common.runtime import Runtime

    MarketRuntime = Runtime[ContractStore, MarketMemory]

AT_ONCE = 1_000
"""Contracts in one transaction: some 50 ms of work, between which ticks pass."""


async def publish_contracts(runtime: "MarketRuntime", listed: Sequence[InstrumentListed]) -> None:
    """Make these the feed's contracts, and say what that changes in the published master."""
    await _list(runtime, listed)
    await _take(runtime, listed)
    await publish_differences(runtime)


async def take_master(runtime: "MarketRuntime") -> None:
    """For a feed that lists nothing by itself: whatever the published master lists can be asked for."""
    await _list(runtime, ())
    await publish_differences(runtime)
    await take_published(runtime)


async def take_published(runtime: "MarketRuntime") -> None:
    async with runtime.transaction() as unit:
        listed = await unit.store.listed()
    await _take(runtime, listed)


async def _list(runtime: "MarketRuntime", listed: Sequence[InstrumentListed]) -> None:
    day = runtime.memory.calendar.trading_day(runtime.clock.now())
    rows = await asyncio.to_thread(_as_csv, listed)
    async with runtime.transaction() as unit:
        await unit.store.master.stage(rows)
        await unit.store.master.replace(MasterSource.FEED, day)


async def _take(runtime: "MarketRuntime", listed: Sequence[InstrumentListed]) -> None:
    runtime.memory.listed = {contract.instrument: contract for contract in listed}
    await load_custom_symbols(runtime)
    gone = [i for i in runtime.memory.board.quotes if i not in runtime.memory.listed]
    if gone:
        await runtime.memory.drop_quotes(gone)


async def publish_differences(runtime: "MarketRuntime", *, announce: bool = True) -> None:
    """Merge all brokers' contracts of today, and say what is new, changed or gone; then which expiries rolled."""
    day = runtime.memory.calendar.trading_day(runtime.clock.now())
    async with runtime.transaction() as unit:
        await unit.store.master.compare(day, precedence(load(MarketDataSettings)), announce=announce)
    said = 0
    while True:
        async with runtime.transaction() as unit:
            taken = await unit.store.publish_pending(AT_ONCE, unit.now)
            unit.say(*(message for row in taken for message in _said(row)))
        if not taken:
            break
        said += len(taken)
    log.info("contracts_published", day=day, changed=said)
    await roll_expiries(runtime, day)


def precedence(settings: MarketDataSettings) -> list[MasterSource]:
    """Brokers in the operator's order; what the feed lists by itself counts where no broker knows it."""
    return [*settings.masters, MasterSource.FEED, MasterSource.CUSTOM]


def _said(row: "Record") -> Iterable[Message]:
    """The listing itself, and what it means for who keeps an eye on changes."""
    yield listing(row)
    instrument, day = row["instrument"], row["day"]
    underlying = row["underlying"] or row["symbol"]
    match Change(row["change"]):
        case Change.ADDED:
            yield ContractAdded(
                instrument=instrument,
                underlying=underlying,
                day=day,
                expiry=row["expiry"],
                lot_size=row["lot_size"],
            )
        case Change.EXPIRED:
            yield ContractExpired(instrument=instrument, underlying=underlying, day=day, expiry=row["expiry"])
        case Change.WITHDRAWN:
            yield ContractWithdrawn(instrument=instrument, underlying=underlying, day=day)
        case Change.TERMS:
            yield ContractTermsChanged(
                instrument=instrument,
                underlying=underlying,
                day=day,
                before=ContractTerms(
                    lot_size=row["old_lot_size"],
                    tick_size=row["old_tick_size"],
                    freeze_quantity=row["old_freeze_quantity"],
                ),
                after=ContractTerms(
                    lot_size=row["lot_size"], tick_size=row["tick_size"], freeze_quantity=row["freeze_quantity"]
                ),
            )
        case Change.QUIET:
            pass


def _as_csv(listed: Sequence[InstrumentListed]) -> bytes:
    """As the store stages it: the terms, no month's mark, no broker's token or symbol."""
    terms = [name for name in TERMS if name != "monthly"]
    file = io.StringIO()
    csv.writer(file).writerows(
        [contract.instrument, *(getattr(contract, name) for name in terms), None, None, None] for contract in listed
    )
    return file.getvalue().encode()
