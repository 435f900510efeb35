"""Marketdata's memory: the quote board, its clients of Redis and QuestDB, and what status tells."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from libs.common.clock import Clock
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed, Quote, Tick
from libs.common.service import Memory
from libs.common.settings import load
from libs.common.telemetry import log
from libs.common.trading_calendar import TradingCalendar
from services.marketdata.memory.board import QuoteBoard
from services.marketdata.memory.custom import CustomBook
from services.marketdata.memory.desk import ChainDesk
from services.marketdata.memory.interest import INTEREST_HASH
from services.marketdata.memory.needs import Needs
from services.marketdata.settings import PricingSettings
from services.marketdata.store import TimeSeries

if TYPE_CHECKING:
    from libs.common.runtime import Runtime

QUOTES_HASH = "quotes"
REDIS_SECONDS = 2.0
SAVED_AT_ONCE = 1_000
"""Quotes written to Redis in one go, some milliseconds of this process; ticks are passed on between them."""
WRITER_GROUP = "marketdata-series"


@dataclass
class FeedStatus:
    """What GET /internal/status tells."""

    feed: str = "none"
    source: str = ""
    day: date | None = None
    details: Mapping[str, object] = field(default_factory=dict)
    contracts: int = 0
    ticks: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    last_tick_at: datetime | None = None
    ticks_per_second: float = 0.0


class Followed:
    """What a standby keeps of what the leader said, beside the quotes on its board."""

    def __init__(self) -> None:
        self.books: dict[bytes, bytes] = {}
        """The newest tick of each instrument, as it stands in Kafka: few of them are ever asked for."""
        self.master_changed = asyncio.Event()
        """The published master is another than was read last; to a leader its own downloads say so."""

    def forget(self, listed: Collection[InstrumentId]) -> None:
        """The books of all others. A thread of its own adds some meanwhile."""
        for name in set(list(self.books)).difference(instrument.encode() for instrument in listed):
            self.books.pop(name, None)


@dataclass
class WritingStatus:
    """How the road from Kafka to QuestDB is, of this instance's partitions."""

    ticks: int = 0
    candles: int = 0
    late: int = 0
    """Ticks received too late for their candle; they are in the tick history."""
    missed: set[tuple[InstrumentId, int]] = field(default_factory=set)
    """Minutes (microseconds since 1970) whose candles wait for repair: Kafka brought ticks of theirs too late."""
    waiting: int = 0
    """Ticks in Kafka that are not in QuestDB yet."""

    def shown(self) -> dict[str, int]:
        return {
            "ticks": self.ticks,
            "candles": self.candles,
            "late": self.late,
            "to_repair": len(self.missed),
            "waiting": self.waiting,
        }


class MarketMemory(Memory):
    def __init__(self) -> None:
        self.board = QuoteBoard()
        self.status = FeedStatus()
        self.writing = WritingStatus()
        self.writer_group = WRITER_GROUP
        self.listed: dict[InstrumentId, InstrumentListed] = {}
        self.custom = CustomBook()
        self.followed = Followed()
        self.needs = Needs()
        self.desk: ChainDesk
        self.calendar: TradingCalendar
        self.clock: Clock
        self.redis: Redis
        self.series: TimeSeries

    async def open(self, runtime: "Runtime[Any, Any]") -> None:
        settings = runtime.settings
        runtime.ready["feed"] = False
        self.clock = runtime.clock
        self.calendar = TradingCalendar(settings.market_hours)
        self.desk = ChainDesk(self.board, self.calendar, load(PricingSettings))
        self.redis = Redis.from_url(
            settings.redis_url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS
        )
        self.series = TimeSeries(settings.questdb_url)

    async def close(self) -> None:
        await self.redis.aclose()
        await self.series.close()

    def follow(self, quotes: Collection[Quote]) -> None:
        """Take over what the leader told."""
        self.board.follow(quotes)
        newest, known = max((quote.at for quote in quotes), default=None), self.status.last_tick_at
        if newest is not None and (known is None or known < newest):
            self.status.last_tick_at = newest

    def book(self, instrument: InstrumentId) -> Tick | None:
        """The newest tick of an instrument: heard by ourselves, else told by who leads or led."""
        tick = self.board.books.get(instrument)
        told = self.followed.books.get(instrument.encode()) if tick is None else None
        return Tick.model_validate_json(told) if told is not None else tick

    async def saved_quotes(self) -> list[Quote]:
        """The newest quotes of an earlier run; none when Redis is away or empty."""
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                found = await self.redis.hgetall(QUOTES_HASH)
            await self.board.earlier_oi.load(self.redis)
        except (RedisError, OSError) as error:
            log.warning("quotes_not_restored", error=repr(error))
            return []
        quotes = []
        for value in found.values():
            try:
                quotes.append(Quote.model_validate_json(value))
            except ValidationError as error:
                log.warning("saved_quote_unreadable", error=repr(error))
        return quotes

    async def save_quotes(self, quotes: Mapping[InstrumentId, Quote]) -> None:
        waiting = list(quotes.items())
        for start in range(0, len(waiting), SAVED_AT_ONCE):
            some = waiting[start : start + SAVED_AT_ONCE]
            # A flat list: the mapping's type in the client's stubs is invariant in its keys.
            items = [item for i, quote in some for item in (i, quote.__pydantic_serializer__.to_json(quote))]
            async with asyncio.timeout(REDIS_SECONDS):
                await self.redis.hset(QUOTES_HASH, items=items)
        await self.board.earlier_oi.save(self.redis)

    async def count_saved_quotes(self) -> int:
        async with asyncio.timeout(REDIS_SECONDS):
            return await self.redis.hlen(QUOTES_HASH)

    async def drop_quotes(self, instruments: Sequence[InstrumentId]) -> None:
        self.board.forget(instruments)
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                await self.redis.hdel(QUOTES_HASH, *instruments)
                await self.redis.hdel(INTEREST_HASH, *instruments)
        except (RedisError, OSError) as error:
            log.warning("quotes_not_dropped", error=repr(error))
