"""One account's dealings with its broker: one thing at a time, in order, by one process at a time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import asyncpg

from libs.common.clock import stopwatch
from libs.common.contracts.brokers import BrokerOrderRequested
from libs.common.contracts.enums import OrderPurpose
from libs.common.contracts.ids import AccountId, OrderId
from libs.common.runtime import Runtime
from libs.common.telemetry import log
from services.trading.adapters.zerodha import updates
from services.trading.adapters.zerodha.client import Kite
from services.trading.adapters.zerodha.translate import BadAnswer
from services.trading.domain import book, calls
from services.trading.domain.accounts import trading_day
from services.trading.domain.book import Book, Watch, Watched
from services.trading.domain.calls import Answer, Call, CallState, NotTaken
from services.trading.effects import calling
from services.trading.effects.calling import Ready, Work
from services.trading.effects.pace import Pace
from services.trading.effects.steps import Passed, Step
from services.trading.memory import TradingMemory
from services.trading.settings import TradingSettings
from services.trading.store import TradingStore
from services.trading.store.brokers.credentials import Secrets, Vault

PASSING = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""Failures of the database that pass: the desk waits and goes on."""
LINGERING_POLLS = 5
"""Looks at the book after everything is over: a fill may show later than the end that it came before."""
SELDOM = 10
"""How much rarer the book is read when only orders are looked for that it hardly shows any more."""
HINTED_POLLS = 5
"""How much more often at most, while the broker tells that there is news."""
OFFLINE_POLLS = 10
"""How much rarer it is read while that fails."""
BOOKED_WITHIN = 1.0
"""Seconds from what a look at the book tells until positions show it, with some grace."""
MINUTE = 60.0
LEFT_FOR_EXITS = 10
"""One part in so many of the orders that a broker takes in a minute is none for entries."""
PUT_OFF_POLLS = 3
"""For so long at most it is put off because of what waits to be sent: it tells of fills, and answers cancels."""


@dataclass(frozen=True, slots=True)
class Means:
    """What every desk of a process works with. `owner` is the process; `orders` are how many it placed for each
    account, which it knows for longer than a desk is open.
    """

    runtime: Runtime[TradingStore, TradingMemory]
    settings: TradingSettings
    kite: Kite
    vault: Vault
    owner: UUID
    database: asyncio.Semaphore
    passed: Passed
    orders: dict[AccountId, Pace] = field(default_factory=dict)


class Desk:
    """`news` wakes it: something was asked for."""

    def __init__(self, account_id: AccountId, means: Means) -> None:
        self.account_id = account_id
        self.news = asyncio.Event()
        self._means = means
        self._patience = means.settings.patience
        self._pace = Pace(means.settings.broker_calls_per_s)
        most = means.settings.broker_orders_per_minute
        self._left_for_exits = most // LEFT_FOR_EXITS
        self._orders = means.orders.setdefault(account_id, Pace(most, MINUTE))
        self._poll_at = self._polled_at = stopwatch()
        self._resume_at = self._booked_at = 0.0
        self._idle_polls = 0
        self._stopping = False
        self._hinted = False
        self._is_blind: bool | None = None
        self._updates: tuple[Secrets, asyncio.Task[None]] | None = None

    def look_soon(self) -> None:
        """Somebody says that the book has news. However often he says it, it is read `HINTED_POLLS` times as often."""
        self._hinted = True
        self._poll_at = min(self._poll_at, self._polled_at + self._means.settings.broker_poll_s / HINTED_POLLS)
        self.news.set()

    def stop(self) -> None:
        """Finish what is in hand, begin nothing."""
        self._stopping = True
        self.news.set()

    async def run(self) -> None:
        """Until nothing is left to do, or the account is somebody else's."""
        log.info("desk_opened", account_id=str(self.account_id))
        try:
            await self._work()
        finally:
            await self._listen(None)
        await self._leave()

    async def _work(self) -> None:
        is_sure = False
        while not self._stopping:
            self.news.clear()
            try:
                if not is_sure:
                    await self._adopt()
                    is_sure = True
                rest = await self._turn()
            except PASSING as error:
                log.warning("desk_waits", account_id=str(self.account_id), error=repr(error))
                is_sure, rest = False, 1.0
            if rest is None:
                break
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest):
                    await self.news.wait()

    @contextlib.asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Work | None]:
        """Behind the panic's gate, with the account's lease held; None when it is somebody else's."""
        means = self._means
        async with means.database, means.runtime.transaction() as work:
            await work.store.enter()
            seconds = means.settings.broker_lease_s
            mine = await work.store.broker_leases.hold(self.account_id, means.owner, seconds)
            yield work if mine else None

    async def _adopt(self) -> None:
        """What is CALLING is nobody's: whoever called for this account before us is gone, and so is a call of our own
        that was recorded in a commit which nobody answered. It was never made.
        """
        async with self._transaction() as work:
            if work is None:
                return
            for call in await work.store.calls.open(self.account_id):
                if call.state is CallState.CALLING:
                    log.warning("call_orphaned", call_id=str(call.call_id), order_id=str(call.order_id))
                    watched = await work.store.watched.get(call.order_id)
                    calling.conclude(calls.orphaned(call, work.now), watched, work)

    async def _turn(self) -> float | None:
        """Send what may go, or look at the book when it is time; how long to rest then, None when all is done."""
        wait = max(self._pace.wait(stopwatch()), self._resume_at - stopwatch())
        is_overdue = stopwatch() - self._poll_at >= PUT_OFF_POLLS * self._means.settings.broker_poll_s
        async with self._transaction() as work:
            if work is None:
                return None
            open_calls = await work.store.calls.open(self.account_id)
            watched = await work.store.watched.of_account(self.account_id)
            if self._is_blind is None:
                self._is_blind = bool(watched)
            may_send = wait <= 0 and not is_overdue
            call = self._due(open_calls, watched, work.now) if may_send else None
            is_exit = call is not None and calls.is_exit(call)
            looks_first = is_exit and self._is_blind
            if is_exit and (looks_first or stopwatch() < self._booked_at):
                call = None
            ready = await self._prepare(call, open_calls, work) if call else None
            checked_at = stopwatch()
        if looks_first:
            await self._look_before_exit(watched)
            return 0.0
        if ready is not None:
            self._means.passed(Step.CALLING)
            await self._call(ready, checked_at)
            return 0.0
        if call is not None:
            return 0.0
        if open_calls or watched or self._idle_polls < LINGERING_POLLS:
            rest = await self._poll(open_calls, watched, wait)
            return 0.0 if is_overdue else rest
        return None

    def _due(self, open_calls: Sequence[Call], watched: Sequence[Watched], now: datetime) -> Call | None:
        return calls.due(open_calls, unsent(open_calls, watched), now, self._full(), self._patience)

    def _full(self) -> Collection[OrderPurpose]:
        """Of what the broker takes no more orders in this minute. The last of them are for exits."""
        if self._orders.wait(stopwatch()):
            return tuple(OrderPurpose)
        return (OrderPurpose.ENTRY,) if self._orders.wait(stopwatch(), self._left_for_exits) else ()

    async def _look_before_exit(self, watched: Sequence[Watched]) -> None:
        """While we did not see the broker an order that rests there may have closed what the exit is to close. One look
        is tried: a book that cannot be read keeps no exit.
        """
        await self._read_and_compare(watched)
        self._is_blind = False

    async def _prepare(self, call: Call, queue: Sequence[Call], work: Work) -> Ready | None:
        ready = await calling.prepare(call, queue, work, self._means.vault, self._patience)
        self._means.passed(Step.CHOSEN)
        return ready

    async def _call(self, ready: Ready, checked_at: float) -> None:
        """Ask the broker, outside of any transaction, and store the answer, however long that takes."""
        means = self._means
        fresh_s = self._patience.fresh.total_seconds()
        self._pace.go(stopwatch())
        if isinstance(ready.call.request, BrokerOrderRequested):
            self._orders.go(stopwatch())
        answer = await means.kite.ask(
            ready.call.request, ready.broker_order_id, ready.secrets, lambda: stopwatch() - checked_at <= fresh_s
        )
        means.passed(Step.ANSWERED)
        await self._settle(ready.call, answer)
        self._poll_at = min(self._poll_at, stopwatch() + means.settings.broker_poll_s / HINTED_POLLS)
        if isinstance(answer, NotTaken):
            self._is_blind = True
            self._resume_at = stopwatch() + self._patience.first_retry.total_seconds()

    async def _settle(self, call: Call, answer: Answer) -> None:
        means = self._means
        while True:
            try:
                async with means.database, means.runtime.transaction() as work:
                    await work.store.enter()
                    await calling.settle(call, answer, work, self._patience)
                    means.passed(Step.JUDGED)
                means.passed(Step.STORED)
                return
            except PASSING as error:
                log.warning("answer_waits", call_id=str(call.call_id), error=repr(error))
                await asyncio.sleep(0.5)

    async def _poll(self, open_calls: Sequence[Call], watched: Sequence[Watched], wait: float) -> float:
        """Read the book and tell what it shows that was not told."""
        if stopwatch() >= self._poll_at:
            self._idle_polls = 0 if open_calls or watched else self._idle_polls + 1
            if await self._read_and_compare(watched):
                return 0.0
        now = self._means.runtime.clock.now()
        pauses = [(call.not_before - now).total_seconds() for call in open_calls if call.not_before > now]
        return min([max(self._poll_at - stopwatch(), 0.0), *pauses, *([wait] if wait > 0 else [])])

    async def _read_and_compare(self, watched: Sequence[Watched]) -> bool:
        every = self._means.settings.broker_poll_s
        today = trading_day(self._means.runtime.clock.now())
        if watched and all(book.is_hardly_there(each, today) for each in watched):
            every *= SELDOM
        self._hinted = False
        try:
            has_news = await self._compare(await self._read())
        except BadAnswer as error:
            every *= OFFLINE_POLLS
            self._is_blind = True
            log.warning("book_unread", account_id=str(self.account_id), error=str(error))
            return False
        finally:
            self._polled_at = stopwatch()
            self._poll_at = self._polled_at + (every / HINTED_POLLS if self._hinted else every)
        if self._is_blind and has_news:
            self._booked_at = stopwatch() + BOOKED_WITHIN
        self._is_blind = False
        return has_news

    async def _read(self) -> Book | None:
        """None when the account is somebody else's, or has no credentials."""
        async with self._transaction() as work:
            secrets: Secrets | str | None = None
            if work is not None:
                account = await work.store.accounts.owner(self.account_id)
                secrets = await calling.unsealed(self.account_id, account.broker, work, self._means.vault)
            began_at = self._means.runtime.clock.now()
        if not isinstance(secrets, Secrets):
            return None
        await self._listen(secrets)
        found = await self._means.kite.book(secrets, began_at)
        self._means.passed(Step.READ)
        return found

    async def _listen(self, secrets: Secrets | None) -> None:
        """Listen to the broker's order updates with these credentials; with none, no longer."""
        if self._updates is not None:
            before, task = self._updates
            if before == secrets:
                return
            self._updates = None
            task.cancel()
            await asyncio.wait([task])
        url = self._means.settings.updates_url
        if secrets is not None and url:
            listening = updates.listen(url, secrets, self.look_soon)
            self._updates = secrets, asyncio.create_task(listening, name=f"updates:{self.account_id}")

    async def _compare(self, found: Book | None) -> bool:
        """Whether it told of anything."""
        has_news = False
        if found is None:
            return has_news
        async with self._transaction() as work:
            if work is None:
                return has_news
            open_calls = await work.store.calls.open(self.account_id)
            changes, cancels = calls.changes_by_order(open_calls), dict(calls.cancels_by_order(open_calls))
            for order in await work.store.watched.in_book(self.account_id, found.tags):
                look = book.look(
                    order, found, changes.get(order.order_id), self._patience, cancels.pop(order.order_id, None)
                )
                if look.order != order or look.said or look.settled or look.answered:
                    calling.show(look, work)
                    has_news = has_news or bool(look.said)
            for left in cancels.values():  # of orders that are over, and in no book any more
                work.store.calls.save(calls.done(left, work.now))
            self._means.passed(Step.COMPARED)
        self._means.passed(Step.TOLD)
        return has_news

    async def _leave(self) -> None:
        try:
            async with self._means.runtime.pool.acquire(timeout=2) as connection:
                await TradingStore(connection).broker_leases.give_back(self.account_id, self._means.owner)
        except PASSING as error:
            log.warning("lease_not_given_back", account_id=str(self.account_id), error=repr(error))


def unsent(open_calls: Sequence[Call], watched: Sequence[Watched]) -> set[OrderId]:
    """Orders that the broker is not known to have, and may yet turn out to have."""
    return {order.order_id for order in watched if order.state in (Watch.SENT, Watch.UNKNOWN)}
