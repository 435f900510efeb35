"""Looks at accounts' positions at their brokers while a market is open, and when somebody asks, and tells what differs.

Beside the desks, which it never waits for: it places nothing, and reads at most `READS` times a second
of any account, so that with a desk at its busiest the broker's ten a second are kept.
"""

import asyncio
import contextlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from uuid import UUID

import asyncpg
from prometheus_client import Gauge

from libs.common.clock import stopwatch
from libs.common.contracts.enums import Broker, Exchange
from libs.common.contracts.ids import AccountId, InstrumentId
from libs.common.ids import new_id
from libs.common.runtime import Runtime
from libs.common.settings import load
from libs.common.telemetry import log
from libs.common.trading_calendar import TradingCalendar
from services.trading.adapters.zerodha.client import Kite
from services.trading.adapters.zerodha.symbols import shown_as
from services.trading.adapters.zerodha.translate import BadAnswer
from services.trading.domain import comparing
from services.trading.domain.accounts import TradingAccount, trading_day
from services.trading.domain.book import Book, Trade, Watch
from services.trading.domain.comparing import Comparison, Theirs
from services.trading.domain.orders import Order
from services.trading.effects import calling
from services.trading.effects.calling import Work
from services.trading.effects.pace import Pace
from services.trading.memory import TradingMemory
from services.trading.settings import TradingSettings
from services.trading.store import TradingStore
from services.trading.store.brokers.comparisons import Comparisons
from services.trading.store.brokers.credentials import Secrets, Vault

LOOK_SECONDS = 1.0
"""Between two looks for accounts that are due."""
AT_ONCE = 4
"""Accounts. Their connections come from the pool that the order path uses."""
READS = 2
"""Of one account, a second."""
OFFLINE = 5
"""How much rarer an account is looked at whose broker shows us nothing."""
MARKETS = (Exchange.NSE, Exchange.NFO, Exchange.CDS, Exchange.MCX)
PASSING = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)

DIFFERING = Gauge("broker_accounts_differing", "Accounts whose positions at the broker are not ours")
LATE = Gauge("broker_comparison_late_seconds", "How late the account is that is to be compared first; 0 by night")
UNREAD = Gauge("broker_accounts_unread", "Accounts whose broker does not show us their positions")


async def compare_with_brokers(runtime: Runtime[TradingStore, TradingMemory]) -> None:
    """For as long as the process lives."""
    settings = load(TradingSettings)
    kite = Kite(settings.zerodha_url, settings.broker_connect_s, settings.broker_call_s)
    try:
        await Comparer(runtime, settings, kite, TradingCalendar(runtime.settings.market_hours)).run()
    finally:
        await kite.close()


class Comparer:
    def __init__(
        self,
        runtime: Runtime[TradingStore, TradingMemory],
        settings: TradingSettings,
        kite: Kite,
        calendar: TradingCalendar,
    ) -> None:
        self._runtime = runtime
        self._settings = settings
        self._kite = kite
        self._calendar = calendar
        self._vault = Vault(settings.vault_secret.get_secret_value())

    async def run(self) -> None:
        rest = min(LOOK_SECONDS, self._settings.broker_compare_again_s)
        while not self._runtime.stopping.is_set():
            try:
                claim, found = await self._claim()
                looks = await asyncio.gather(*(self._look(each, claim) for each in found), return_exceptions=True)
                for error in looks:
                    if error is not None:
                        log.error("comparison_failed", exc_info=error)
                if found:
                    continue
            except PASSING as error:
                log.warning("comparison_waits", error=repr(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest):
                    await self._runtime.stopping.wait()
        await asyncio.Event().wait()

    async def _claim(self) -> tuple[UUID, list[AccountId]]:
        """Nobody else looks at them until we could not be looking any more."""
        claim, pool = new_id(), self._runtime.pool
        async with pool.acquire(timeout=2) as connection:
            counts = await Comparisons(connection).count()
        is_open = bool(counts.known) and await asyncio.to_thread(self._is_open)
        DIFFERING.set(counts.differing)
        UNREAD.set(counts.unread)
        LATE.set(counts.late if is_open else 0.0)
        if not counts.known:
            return claim, []
        longest = 4 * self._settings.broker_call_s + 10
        async with pool.acquire(timeout=2) as connection:
            return claim, list(await Comparisons(connection).claim(claim, longest, AT_ONCE, all_due=is_open))

    def _is_open(self) -> bool:
        """Any market. In a thread: the calendar is big, and loaded when it is asked first."""
        now = self._runtime.clock.now()
        return any(self._calendar.is_open(market, now) for market in MARKETS)

    async def _look(self, account_id: AccountId, claim: UUID) -> None:
        """At one account; what fails here is tried again when the claim is over."""
        try:
            theirs, book = await self._read(account_id, claim)
        except PASSING as error:
            log.warning("comparison_waits", account_id=str(account_id), error=repr(error))
            return
        except BadAnswer as error:
            log.warning("positions_unread", account_id=str(account_id), error=str(error))
            await self._conclude(account_id, claim, str(error), None)
            return
        await self._conclude(account_id, claim, theirs, book)

    async def _read(self, account_id: AccountId, claim: UUID) -> tuple[list[Theirs], Book | None]:
        """The positions, and after them the book where an order of ours rests there, or its trades may tell what closed
        a position of ours: that differs though they cannot be read.
        """
        async with self._runtime.transaction() as work:
            await work.store.enter()
            account = await work.store.accounts.get(account_id)
            broker = Broker.ZERODHA if account is None else account.broker
            secrets = await calling.unsealed(account_id, broker, work, self._vault)
            rests = bool(comparing.resting(await work.store.orders.open(account_id)))
            before = await work.store.comparisons.get(account_id, claim)
            differs = before is not None and bool(before.suspected or before.told)
        if not isinstance(secrets, Secrets):
            raise BadAnswer(secrets)
        pace = Pace(READS)
        pace.go(stopwatch())
        theirs = await self._kite.positions(secrets)
        if not rests and not differs:
            return theirs, None
        pace.go(stopwatch())
        await asyncio.sleep(pace.wait(stopwatch()))
        try:
            return theirs, await self._kite.book(secrets, self._runtime.clock.now())
        except BadAnswer:
            if rests:
                raise
            return theirs, None

    async def _conclude(
        self, account_id: AccountId, claim: UUID, theirs: list[Theirs] | str, book: Book | None
    ) -> None:
        """Keep and tell what the look showed, or why it showed nothing, in one transaction."""
        try:
            async with self._runtime.transaction() as work:
                await work.store.enter()
                await self._tell(account_id, claim, theirs, book, work)
        except PASSING as error:
            log.warning("comparison_waits", account_id=str(account_id), error=repr(error))

    async def _tell(
        self, account_id: AccountId, claim: UUID, theirs: list[Theirs] | str, book: Book | None, work: Work
    ) -> None:
        store = work.store
        in_book = await store.watched.in_book(account_id, () if book is None else book.tags)
        account = await store.accounts.get(account_id)
        before = await store.comparisons.get(account_id, claim)
        if before is None:
            return
        if account is None or account.deleted:
            await store.comparisons.rest(account_id)
            return
        moving: set[InstrumentId] = set()
        if isinstance(theirs, str):
            after = comparing.failed(before, theirs)
        else:
            orders = await store.orders.open(account_id)
            live = [each for each in in_book if each.state is not Watch.ENDED]
            moving = comparing.moving(orders, live, book, trading_day(work.now))
            past_us = [] if book is None else book.past_us(in_book)
            after = await self._compare(account, before, theirs, orders, moving, past_us, work)
        _alarm(before, after)
        after = _say(account, before, after, moving, work)
        await store.comparisons.save(after, self._due_in(after))

    async def _compare(
        self,
        account: TradingAccount,
        before: Comparison,
        theirs: list[Theirs],
        orders: Sequence[Order],
        moving: Collection[InstrumentId],
        past_us: Collection[Trade],
        work: Work,
    ) -> Comparison:
        """What closed a position of ours past us is said to be booked, and is no difference to be told."""
        store, today = work.store, trading_day(work.now)
        nets = await store.positions.live_nets(account.account_id)
        instruments = {net.instrument for net in nets} | {order.instrument for order in orders}
        symbols = {instrument: shown_as(instrument) for instrument in instruments}
        names = {symbol: instrument for instrument, symbol in symbols.items()}
        settled = await store.settlements.of(instruments)  # the broker shows them until its night
        over = {symbols[each] for each in settled}
        ours = comparing.ours([net for net in nets if net.instrument not in settled], symbols, account, today)
        shown = [each for each in theirs if each.symbol not in over]
        after = comparing.compare(before, ours, shown, {symbols[each] for each in moving}, names, work.now)
        closed = comparing.closed_past_us(after, moving, nets, past_us, today)
        work.say(*closed.values())
        return comparing.leave_out(after, closed.keys())

    def _due_in(self, after: Comparison) -> float:
        settings = self._settings
        if after.suspected or after.requests or 0 < after.failures < comparing.TOLD_AFTER:
            return settings.broker_compare_again_s
        return settings.broker_compare_s * (OFFLINE if after.failures else 1)


def _alarm(before: Comparison, after: Comparison) -> None:
    for each in comparing.newly_differing(before, after):
        calling.ALARMS.inc()
        log.error(
            "broker_alarm",
            alarm="the broker has another position than our books",
            account_id=str(after.account_id),
            symbol=each.symbol,
            product=each.product,
            ours=each.ours,
            theirs=each.theirs,
        )


def _say(
    account: TradingAccount, before: Comparison, after: Comparison, moving: Collection[InstrumentId], work: Work
) -> Comparison:
    """To those who asked, if they can be answered; else to everybody, if it is news."""
    asked = after.requests if comparing.answers(after) else ()
    if not asked and not comparing.is_news(before, after):
        return after
    told = replace(after, version=after.version + 1)
    said = comparing.said(account, told, moving)
    for request_id in asked:
        work.say(said, correlation_id=request_id, user_id=account.user_id)
    if asked:
        return replace(told, requests=(), looks=0)
    work.say(said)
    return told
