"""Ticks and contracts to test with."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from libs.common.contracts.enums import Exchange, FeedSource, InstrumentKind
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed, Tick
from services.marketdata.store.series import TimeSeries

SBIN = InstrumentId("NSE:SBIN")
OPEN = datetime(2026, 11, 23, 3, 45, tzinfo=UTC)
"""09:15 IST on a Monday."""
MINUTE = timedelta(minutes=1)
INDIAN = "+05:30"


def tick(seconds: float = 0, ltp: float = 100.0, volume: int = 0, instrument: InstrumentId = SBIN) -> Tick:
    at = OPEN + timedelta(seconds=seconds)
    return Tick(
        instrument=instrument,
        at=at,
        received_at=at,
        source=FeedSource.SIMULATED,
        ltp=ltp,
        volume=volume,
        bid=ltp - 0.05,
        ask=ltp,
        bid_quantity=10,
        ask_quantity=10,
    )


def listed(symbol: str = "SBIN", tick_size: str = "0.05") -> InstrumentListed:
    return InstrumentListed(
        instrument=InstrumentId(f"NSE:{symbol}"),
        exchange=Exchange.NSE,
        symbol=symbol,
        name=symbol,
        kind=InstrumentKind.EQUITY,
        lot_size=1,
        tick_size=Decimal(tick_size),
    )


async def keeping_all(series: TimeSeries) -> None:
    """With its tables. QuestDB drops ticks that are days older than the newest, and services that other tests ran have
    told ticks of today: those of OPEN would be gone as soon as they are written, on any day but those around it.
    """
    await series.create_tables()
    await series.ask("ALTER TABLE ticks SET TTL 30 YEARS")
