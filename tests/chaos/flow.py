"""The order flow of the failure tests: seeded, open-loop, and as patient as a careful client.

Every wish has an Idempotency-Key. What is not answered, or answered 503, is asked again under the same key, which
must never make a second order. Every answer goes to a journal (JSON lines), which the checker reads.
"""

import asyncio
import contextlib
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Iterable, Iterator
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import orjson

from bench.load import constant_rate
from bench.wire import Pool, request
from libs.common.clock import SystemClock, stopwatch
from libs.common.ids import new_id
from tests.chaos.wishes import AWAY, CANCEL, MODIFY, PLACE, TAKEN, Kind, Wish, is_in_flight, named_in, stop
from tests.chaos.world import Account, Receiver, World

CONNECTIONS = 300
TRY_SECONDS = 8.0
"""A try that is not answered within this is hung up on."""
PATIENCE = 40.0
"""How long a wish is repeated before its client gives up."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
FOR_EVER = 86_400.0
MOST_OPEN = 400
"""Wishes that are asked for at once. Clients who go on wishing while nothing is answered would keep a platform down
that has just come back: what they wish beyond this is not asked at all.
"""
BETWEEN_PROBES_S = 0.005
TWICE = 0.03
"""The share of wishes that are sent twice at once, as by an impatient finger."""
ALERT_RATE = 4.0
SHARES = {
    Kind.MARKET: 38,
    Kind.MARKETABLE: 9,
    Kind.RESTING: 20,
    Kind.STOP: 4,
    Kind.STOP_MARKET: 4,
    Kind.CANCEL: 15,
    Kind.MODIFY: 10,
}


class Flow:
    def __init__(self, world: World, seed: int, journal: Path, edge: str | None = None) -> None:
        self.world = world
        self.wishes: list[Wish] = []
        self.slowest_answer = 0.0
        self.seconds = 0.0
        """For how long orders were offered."""
        self.turned_away = 0.0
        """When a try was last refused for what is no fault of the wish, or not answered."""
        self._random = random.Random(seed)
        self._chance = random.Random(seed)
        """For what depends on when answers come: what is offered stays the same from run to run."""
        self._gateway_url, self._signals_url = edge or world.gateway_url, edge or world.signals_url
        self._journal_path = journal
        self._journal: IO[bytes]
        self._resting: dict[Account, list[str]] = defaultdict(list)
        self._long: dict[Account, bool] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._open: set[Wish] = set()
        self._accounts = world.accounts
        self._began: float | None = None
        self._closed = False
        self._stack = contextlib.AsyncExitStack()
        self._orders_pool: Pool
        self._alerts_pool: Pool

    async def __aenter__(self) -> "Flow":
        self._journal_path.parent.mkdir(parents=True, exist_ok=True)
        self._journal = self._stack.enter_context(self._journal_path.open("ab"))
        self._orders_pool = await self._stack.enter_async_context(Pool(self._gateway_url, CONNECTIONS))
        self._alerts_pool = await self._stack.enter_async_context(Pool(self._signals_url, 64))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        self._closed = True
        await self._stack.aclose()

    # what is offered

    def start(self, rate: float, alerts: float = ALERT_RATE) -> None:
        """Offer orders (cancels and modifications among them) and alerts at these rates until told to stop."""
        self._began = stopwatch()
        self._begin(rate, self.next_wish)
        if alerts and self.world.receivers:
            self._begin(alerts, self.next_alert)

    def _begin(self, rate: float, draw: Callable[[float], Wish]) -> None:
        def start_one(_: int, due: float) -> None:
            if len(self._open) < MOST_OPEN:
                self.send(draw(due))

        self.also(constant_rate(rate, FOR_EVER, start_one))

    def also(self, work: Coroutine[object, object, None]) -> None:
        """Beside what is offered, and ended (cancelled, and awaited) with it."""
        self._tasks.append(asyncio.create_task(work))

    async def stop(self) -> None:
        """Offer nothing new; what was wished goes on being asked for."""
        tasks, self._tasks = self._tasks, []
        if self._began is not None:
            self.seconds += stopwatch() - self._began
            self._began = None
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    async def settle(self, seconds: float = PATIENCE + TRY_SECONDS) -> None:
        """Stop, and wait until every wish is answered or given up."""
        await self.stop()
        deadline = stopwatch() + seconds
        while self._open and stopwatch() < deadline:
            await asyncio.sleep(0.05)
        self._journal.flush()

    async def decided(self, wishes: Iterable[Wish]) -> None:
        """Waits until each of them is answered or given up."""
        wishes = set(wishes)
        while wishes & self._open:
            await asyncio.sleep(0.02)

    def next_wish(self, due: float) -> Wish:
        account = self._random.choice(self._accounts)
        (kind,) = self._random.choices(list(SHARES), list(SHARES.values()))
        resting = self._resting[account]
        if kind in (Kind.CANCEL, Kind.MODIFY) and not resting:
            kind = Kind.RESTING
        match kind:
            case Kind.CANCEL:
                target = resting.pop(self._chance.randrange(len(resting)))
                return self._wish(kind, due, account, CANCEL, {"order_id": target}, target)
            case Kind.MODIFY:
                target = self._chance.choice(resting)
                quantity = account.instrument.quantity * self._chance.randint(1, 5)
                return self._wish(kind, due, account, MODIFY, {"order_id": target, "quantity": quantity}, target)
            case _:
                return self._wish(kind, due, account, PLACE, self._terms(kind, account, self._random))

    def order(self, kind: Kind, account: Account, **terms: object) -> Wish:
        """A wish of the test's own, to be sent by it."""
        return self._wish(kind, stopwatch(), account, PLACE, self._terms(kind, account, self._chance) | terms)

    def cancel(self, account: Account, order_id: str) -> Wish:
        return self._wish(Kind.CANCEL, stopwatch(), account, CANCEL, {"order_id": order_id}, order_id)

    def next_alert(self, due: float) -> Wish:
        return self.alert(self._chance.choice(self.world.receivers), due)

    def alert(self, receiver: Receiver, due: float) -> Wish:
        """Its name is its own: asked again it is the same alert, and a duplicate."""
        key = str(new_id())
        content = {"signal_type": "entry", "symbol": "NIFTY", "action": "buy", "alert_name": key}
        return Wish(Kind.ALERT, key, request("POST", urlsplit(receiver.url).path, {}, content), due)

    def _terms(self, kind: Kind, account: Account, drawn: random.Random) -> dict[str, object]:
        """Purchases and sales in turn keep the positions small. A sale at a resting purchase's price is marketable."""
        instrument = account.instrument
        long = self._long.get(account, False)
        terms: dict[str, object] = {
            "account_id": account.account_id,
            "instrument": instrument.name,
            "quantity": instrument.quantity,
            "product": instrument.product,
        }
        match kind:
            case Kind.RESTING:
                return terms | {"order_type": "LIMIT", "side": "BUY", "price": instrument.resting_price}
            case Kind.STOP | Kind.STOP_MARKET:
                return terms | stop(kind, instrument, drawn)
            case Kind.MARKETABLE:
                self._long[account] = False
                return terms | {"order_type": "LIMIT", "side": "SELL", "price": instrument.resting_price}
            case _:
                self._long[account] = not long
                return terms | {"order_type": "MARKET", "side": "SELL" if long else "BUY"}

    def _wish(
        self, kind: Kind, due: float, account: Account, path: str, body: dict[str, object], of: str | None = None
    ) -> Wish:
        key = str(new_id())
        headers = {**account.user.headers, "idempotency-key": key}
        return Wish(kind, key, request("POST", path, headers, body), due, account, of)

    # what is answered

    def send(self, wish: Wish) -> None:
        self.wishes.append(wish)
        self._open.add(wish)
        self._try(wish)
        if wish.kind.is_order and self._chance.random() < TWICE:
            self._try(wish)

    def _try(self, wish: Wish) -> None:
        pool = self._alerts_pool if wish.kind is Kind.ALERT else self._orders_pool
        wish.tries += 1
        wish.open_tries += 1
        began = stopwatch()
        over = False

        def answered(status: int, body: bytes) -> None:
            nonlocal over
            if self._closed:
                return
            self.note(wish, status, body, stopwatch() - began)
            if not over:
                over = True
                late.cancel()
                wish.open_tries -= 1
                self._go_on(wish, status, body)

        def too_late() -> None:
            pool.give_up(answered)
            answered(-1, b"")

        late = asyncio.get_running_loop().call_later(TRY_SECONDS, too_late)
        pool.send(wish.content, answered)

    def note(self, wish: Wish, status: int, body: bytes, seconds: float) -> None:
        """Every answer counts, also one that came when nobody waited any more."""
        wish.statuses.append(status)
        named = named_in(wish.kind, status, body)
        if named:
            wish.ids.add(named)
        if status > 0:
            self.slowest_answer = max(self.slowest_answer, seconds)
        if status in AWAY or status < 0:
            self.turned_away = stopwatch()
        line = {
            "at": SystemClock().now(),
            "kind": wish.kind,
            "key": wish.key,
            "account_id": wish.account.account_id if wish.account else None,
            "status": status,
            "order_id": named if wish.kind.is_order else None,
            "of": wish.of,
            "signal_id": named if wish.kind is Kind.ALERT else None,
            "seconds": round(seconds, 4),
            "problem": body[:300].decode(errors="replace") if status >= 400 else None,
        }
        self._journal.write(orjson.dumps(line) + b"\n")

    def _go_on(self, wish: Wish, status: int, body: bytes) -> None:
        now = stopwatch()
        if not (status in AWAY or status < 0 or is_in_flight(status, body)):
            wish.status, wish.answered = status, now
            self._open.discard(wish)
            self._remember(wish)
        elif wish.status is None and now - wish.due < PATIENCE and wish.open_tries == 0:
            pause = min(FIRST_PAUSE * 2 ** min(wish.tries, 10), LONGEST_PAUSE) * self._chance.uniform(0.7, 1.3)
            asyncio.get_running_loop().call_later(pause, self._try, wish)
        elif wish.open_tries == 0:
            self._open.discard(wish)

    def _remember(self, wish: Wish) -> None:
        if wish.kind.rests and wish.status == TAKEN and wish.account:
            self._resting[wish.account] += [each for each in wish.ids if each not in self._resting[wish.account]]

    # what came of it

    @property
    def orders(self) -> list[Wish]:
        return [wish for wish in self.wishes if wish.kind.is_order]

    def accepted_since(self, since: float, kinds: Callable[[Wish], bool] | None = None) -> Iterator[Wish]:
        """Orders (or what `kinds` picks) that were wished after an instant, and accepted."""
        picked = kinds or (lambda wish: wish.kind.is_order)
        for wish in reversed(self.wishes):
            if wish.due < since - TRY_SECONDS:
                return
            if wish.due >= since and wish.was_accepted and picked(wish):
                yield wish

    async def borne(self, since: float, calm: float, seconds: float) -> float:
        """Seconds from an instant until all that was offered was taken at the first try, for so long as `calm`; raises
        TimeoutError.
        """
        async with asyncio.timeout(seconds):
            while stopwatch() < (begins := max(since, self.turned_away)) + calm:
                await asyncio.sleep(0.05)
        return begins - since

    async def resumed(self, since: float, seconds: float, kinds: Callable[[Wish], bool] | None = None) -> float:
        """Seconds from an instant to the first order that was wished after it and accepted; raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not (found := [wish.answered for wish in self.accepted_since(since, kinds)]):
                await asyncio.sleep(0.02)
        return min(found) - since

    async def resumed_everywhere(self, since: float, seconds: float) -> float:
        """Seconds until every account has had an order accepted that was wished after the instant.

        What is offered falls on accounts by chance, and leaves one out for five seconds now and then: so one order of
        each is wished here.
        """
        async with asyncio.timeout(seconds):
            for account in self._accounts:
                self.send(self.order(Kind.RESTING, account))
                await asyncio.sleep(BETWEEN_PROBES_S)
            while True:
                first: dict[Account, float] = {}
                for wish in self.accepted_since(since):
                    if wish.account in self._accounts:
                        first[wish.account] = min(wish.answered, first.get(wish.account, wish.answered))
                if len(first) == len(self._accounts):
                    return max(first.values()) - since
                await asyncio.sleep(0.1)

    def statuses(self) -> Counter[int]:
        return Counter(status for wish in self.wishes for status in wish.statuses)
