"""What a risk process has in mind: the contracts, the newest prices, everything open, what is watched, the hours."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import product
from typing import TYPE_CHECKING, Any

from libs.common.clock import Clock, SystemClock
from libs.common.contracts.enums import Exchange, InstrumentKind
from libs.common.contracts.ids import InstrumentId, RiskLimitId, UserId
from libs.common.contracts.market import InstrumentListed, Quote, QuotesConflated
from libs.common.service import Memory
from libs.common.settings import MarketHours, load
from libs.common.trading_calendar import MarketSession, TradingCalendar
from services.risk.domain import intraday
from services.risk.domain.instruments import Instrument, Price, trading_day
from services.risk.domain.ledger import Exposure
from services.risk.domain.mtm import Book
from services.risk.domain.watches import Crossing, Watch, Watches, WatchKey
from services.risk.settings import RiskSettings
from services.risk.store import RiskStore
from services.risk.store.corporate_actions import PositionKey

if TYPE_CHECKING:
    from libs.common.runtime import Runtime


@dataclass(slots=True)
class Split:
    """Where shares count that nobody booked (`domain.splits`), which the message of a fill does not tell: `moved` are
    those of them that one was heard of. `told` are the day, and the splits and bonuses, whose shares are known.
    """

    positions: set[PositionKey] = field(default_factory=set)
    moved: set[PositionKey] = field(default_factory=set)
    told: tuple[object, ...] = ()

    def note(self, position: Exposure) -> None:
        """What is new here is read once more: a fill may have been heard of since it was."""
        where = position.account_id, position.instrument
        if where in self.positions or not (position.unbooked or position.carried_unbooked or position.unbooked_pnl):
            return
        self.positions.add(where)
        self.moved.add(where)


class RiskMemory(Memory):
    def __init__(self) -> None:
        self.policy = load(RiskSettings).policy
        self.clock: Clock = SystemClock()
        self.book = Book()
        self.watches = Watches()
        self.followed_until: datetime | None = None
        self.crossed: dict[WatchKey, Crossing] = {}
        self.reached_at: dict[WatchKey, datetime] = {}
        """When the amount of each of those was seen to be reached last."""
        self.flat: dict[WatchKey, Watch] = {}
        self.is_watching = True
        """Not from a process' start until it knows what happened to positions while it was away."""
        self.begun: date | None = None
        """The day into which everything that is carried was brought, by whatever instance, and committed."""
        self.late_fills = 0
        """How many fills of a day before moved a position, so that the day has to begin again."""
        self.found = asyncio.Event()
        """Set while `crossed` or `flat` hold something to act on."""
        self.calendar = TradingCalendar(MarketHours.CONTINUOUS)
        # Those listed today on each stock: with them, its day ends by a closing auction.
        self._futures: dict[InstrumentId, set[InstrumentId]] = {}
        self._split = Split()
        self._instruments: dict[InstrumentId, Instrument] = {}
        self._quotes: dict[InstrumentId, Quote] = {}
        self._contracts_told = 0
        self._expired_of = (date.min, 0, 0, 0)
        """Of which day, instruments, contracts and prices it is known what has expired."""

    async def open(self, runtime: "Runtime[Any, Any]") -> None:
        self.clock = runtime.clock
        self.is_watching = False
        self.calendar = TradingCalendar(runtime.settings.market_hours)
        async with runtime.pool.acquire(timeout=5) as connection:
            await self.follow(RiskStore(connection))

    async def follow(self, store: RiskStore) -> None:
        """Take over what the database knows and this process does not: all at first, then what others did.

        Watches are read before positions: a watch that fired is never seen with the positions from before.
        """
        moved, self._split.moved = self._split.moved, set()
        try:
            await self._follow(store, moved)
        except BaseException:
            self._split.moved |= moved
            raise

    async def _follow(self, store: RiskStore, moved: set[PositionKey]) -> None:
        now, today = await store.now(), trading_day(self.clock.now())
        self.book.prices.begin_anew(await store.corporate_actions.on(today), today)
        told = today, *await store.corporate_actions.told()
        is_news, asked = told != self._split.told, moved
        if self.followed_until is None:
            self.rewatch(await store.watches.all())
            found = await store.exposures.of_today(today)
        else:
            since = self.followed_until - LONGEST_TRANSACTION
            self.rewatch(await store.watches.changed(since))
            found = await store.exposures.moved_elsewhere(since)
            if is_news:
                asked = moved | self._split.positions
                found += await store.exposures.of_changed_shares(today)
            if asked:
                found += await store.exposures.of(asked)
        counted = await store.corporate_actions.with_unbooked(found, today)
        if is_news:
            self._split.positions -= asked
        self.hold(counted)
        self._split.told, self.followed_until = told, now

    async def learn(self, store: RiskStore, user_id: UserId) -> bool:
        """Take over what the database knows of a user's positions, and this process not yet. Whether there was any."""
        if self.followed_until is None:
            return False
        found = await store.exposures.moved_of(user_id, self.followed_until - LONGEST_TRANSACTION)
        return self.hold(await store.corporate_actions.with_unbooked(found, trading_day(self.clock.now())))

    def know(self, contracts: Iterable[InstrumentListed]) -> None:
        for contract in contracts:
            self._contracts_told += 1
            self._instruments[contract.instrument] = Instrument.listed(contract)
            if contract.delisted:
                self._quotes.pop(contract.instrument, None)
            if contract.kind is InstrumentKind.FUTURE and contract.spot is not None:
                futures = self._futures.setdefault(contract.spot, set())
                (futures.discard if contract.delisted else futures.add)(contract.instrument)

    def instrument(self, instrument: InstrumentId) -> Instrument | None:
        return self._instruments.get(instrument)

    def price(self, instrument: InstrumentId | None) -> Price | None:
        quote = self._quotes.get(instrument) if instrument is not None else None
        return None if quote is None else Price.quoted(quote)

    def session(self, instrument: Instrument, now: datetime) -> MarketSession | None:
        """Of today; None on a day without, and under hours that never close."""
        if self.calendar.hours is MarketHours.CONTINUOUS:
            return None
        listed, today = bool(self._futures.get(instrument.instrument)), trading_day(now)
        return self.calendar.session(instrument.exchange, today, listed, last_day=instrument.expiry == today)

    def is_open(self, instrument: Instrument, now: datetime) -> bool:
        """Its market trades, or holds the auction that ends the day."""
        if self.calendar.hours is MarketHours.CONTINUOUS:
            return True
        session = self.session(instrument, now)
        return session is not None and session.open <= now < session.end

    def intraday_until(self, instrument: Instrument, now: datetime) -> datetime | None:
        """When positions are opened in MIS no more today; None where that never ends."""
        session = self.session(instrument, now)
        return None if session is None else intraday.cutoff(session, self.policy.intraday_cutoff)

    def open_markets(self, now: datetime) -> dict[Exchange, bool]:
        """Those whose MIS has an end, while they trade; and whether it has come, for some instruments at least."""
        if self.calendar.hours is MarketHours.CONTINUOUS:
            return {}
        today, before = trading_day(now), self.policy.intraday_cutoff
        found: dict[Exchange, bool] = {}
        for exchange, listed, last_day in product(Exchange, (False, True), (False, True)):
            session = self.calendar.session(exchange, today, listed, last_day)
            if session is not None and session.open <= now < session.end:
                found[exchange] = found.get(exchange, False) or intraday.is_ending(session, before, now)
        return found

    def due(self, held: Exposure, now: datetime) -> MarketSession | None:
        """The session whose end it must not outlive, if it is to be squared off now."""
        instrument = self._instruments.get(held.instrument)
        session = self.session(instrument, now) if instrument is not None else None
        if instrument is None or session is None:
            return None
        before = self.policy.intraday_cutoff
        return session if intraday.is_due(held, instrument, session, before, now, trading_day(now)) else None

    def take(self, batches: Sequence[QuotesConflated]) -> None:
        """Take the newest prices over."""
        now, max_age = self.clock.now(), self.policy.reference_price_max_age
        for batch in batches:
            for quote in batch.quotes:
                self._quotes[quote.instrument] = quote
            self.book.prices.take(batch.quotes, now, max_age)

    def hear(self, positions: Iterable[Exposure]) -> None:
        """What the message of a fill tells. Where that is not all, it is read within a second, and before a limit
        fires.
        """
        for position in positions:
            if (position.account_id, position.instrument) in self._split.positions:
                self._split.moved.add((position.account_id, position.instrument))
            else:
                self.hold((position,))

    def hold(self, positions: Iterable[Exposure]) -> bool:
        """Whether any of them is newer than what was known of it."""
        now = self.clock.now()
        today = trading_day(now)
        news = False
        for position in positions:
            self._split.note(position)
            is_news = self.book.put(position, today)
            news = news or is_news
            if is_news and position.pnl_day != today:
                self.begun = None
                self.late_fills += 1
            quote = self._quotes.get(position.instrument)
            if quote is not None:
                self.book.prices.know(quote, now)
        return news

    def rewatch(self, watches: dict[RiskLimitId, list[Watch]]) -> None:
        for limit_id, own in watches.items():
            self.watches.replace(limit_id, own)

    def revalue(self) -> None:
        """Value everything open, and note which watches were reached. A stale price reaches nothing."""
        now = self.clock.now()
        today = trading_day(now)
        self.book.prices.settle(now, self.policy.reference_price_max_age)
        self._look_for_expired(today)
        self.book.revalue(today)
        if not self.is_watching or not len(self.watches):
            return
        crossings, flat = self.watches.step(self.book, today, self.begun == today)
        fresh = {each.watch.key: each for each in crossings if self._is_fresh(each.watch, now)}
        self.crossed.update(fresh)
        self.reached_at.update(dict.fromkeys(fresh, now))
        self.flat.update({each.key: each for each in flat})
        if self.crossed or self.flat:
            self.found.set()

    def _look_for_expired(self, today: date) -> None:
        """What ends at midnight, as under hours that never close, is settled minutes later: that day it counts. What is
        not listed any more is over, too, once nobody knows a price of it.
        """
        day = self._over_before(today)
        prices = self.book.prices
        now = (day, len(prices), self._contracts_told, prices.unknown)
        if now == self._expired_of:
            return
        self._expired_of = now
        found = self._instruments

        def is_over(name: InstrumentId) -> bool:
            contract = found.get(name)
            if contract is None:
                return False
            return contract.has_expired(day) or not (contract.tradable or prices.is_known(name))

        prices.expire(is_over)

    def _over_before(self, today: date) -> date:
        """Contracts whose last day was before that one count no more."""
        return today - timedelta(days=1) if self.calendar.hours is MarketHours.CONTINUOUS else today

    def has_expired(self, instrument: InstrumentId, today: date) -> bool:
        """Nobody trades it today: what it makes is of another day, told late."""
        contract = self._instruments.get(instrument)
        return contract is not None and contract.has_expired(self._over_before(today))

    def is_reached(self, watch: Watch) -> bool:
        """Still, or not longer ago than a price may be old: while the database was away it may have recovered, and
        while its breach was told it may have been seen once more.
        """
        at = self.reached_at.get(watch.key)
        if at is None or not self.watches.stands(watch):
            return False
        return abs(self.clock.now() - at) <= self.policy.reference_price_max_age

    def _is_fresh(self, watch: Watch, now: datetime) -> bool:
        """The MTM stands on at least one price of these seconds, or on none because nothing is open."""
        if not self.book.open_positions(watch.level, watch.scope):
            return True
        priced_at = self.book.priced_at(watch.level, watch.scope)
        return (
            priced_at is not None and now.timestamp() - priced_at <= self.policy.reference_price_max_age.total_seconds()
        )


LONGEST_TRANSACTION = timedelta(seconds=15)
"""A row's time is that of its transaction's beginning; it can be seen this much later."""
