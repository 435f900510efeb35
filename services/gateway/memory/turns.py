"""How much one user may ask for at once, and how often, of what is neither an order nor a way out.

Every read holds a connection to the database while it lasts: very many slow ones of one user, or of whoever has his
API key, would hold all of them, and the orders of everybody else would wait. So a few are at work at once and the next
wait for their turn: a screen that asks for a dozen things at once notices nothing. What is sent with API keys has turns
and a count of its own, so that a program gone wild, or a stolen key, leaves its owner his screen, where he revokes it.
What streams have to read takes the same turns, and those of all users together one of a few: after a restart
thousands come back at once. So do lists that years have filled: four users' slow ones held every connection.
Ways out are never refused, and wait for none of that. But of one user's panics of one scope each waits for the one
before, and what closes or cancels in very many accounts for what does so already: each is work for all of them.
"""

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import TypeAlias
from weakref import WeakValueDictionary

from libs.common.contracts.ids import UserId
from libs.common.problems import Problem, unavailable
from services.gateway.domain.roles import Identity

Asker: TypeAlias = tuple[UserId, bool]
"""A user, and whether by API key."""
PATIENCE_S = 5.0
"""How long a request waits for its turn: longer than commands take that wait for an outcome."""

BOOKS_AT_ONCE = 5
"""Of all users, who read what years have filled, which may take seconds: with the streams they leave some of the ten
connections to the database to orders and to what is projected.
"""
STREAMS_AT_ONCE = 3
"""Of all users, who read what they show; nobody's order waits behind more."""
ACCOUNTS_AT_ONCE = 1_000
"""Of one user, in which something is being closed or cancelled: as many as one may have."""
FILES_AT_ONCE = 4
"""Files of history that are sent to one user, as slowly as he takes them. QuestDB writes sixteen for all."""


class Turns:
    """One per process. `most` requests within `window_s`, `at_once` of them at work."""

    def __init__(self, at_once: int, most: int, window_s: int) -> None:
        self.patience_s = PATIENCE_S
        self.accounts_at_once = ACCOUNTS_AT_ONCE
        self._at_once = at_once
        self._most = most
        self._window_s = window_s
        self._lines: WeakValueDictionary[Asker, asyncio.Semaphore] = WeakValueDictionary()
        """Of those who have a request at work or waiting: it holds its line."""
        self._readers: WeakValueDictionary[UserId, asyncio.Semaphore] = WeakValueDictionary()
        self._books = asyncio.Semaphore(BOOKS_AT_ONCE)
        self._streams = asyncio.Semaphore(STREAMS_AT_ONCE)
        self._scopes: WeakValueDictionary[tuple[Asker, str], asyncio.Lock] = WeakValueDictionary()
        self._exits: WeakValueDictionary[Asker, _Exits] = WeakValueDictionary()
        self._files: Counter[Asker] = Counter()
        self._counts: Counter[Asker] = Counter()
        self._counts_until = 0.0

    @property
    def lines(self) -> int:
        return len(self._lines)

    def count(self, identity: Identity, now: float) -> None:
        """One request more, at a time on any clock that never jumps; a Problem 429 when it is one too many."""
        if now >= self._counts_until:
            self._counts.clear()
            self._counts_until = now + self._window_s
        self._counts[_asker(identity)] += 1
        if self._counts[_asker(identity)] > self._most:
            detail = f"more than {self._most} requests of yours within {self._window_s} s"
            raise _too_many(detail, math.ceil(self._counts_until - now))

    @contextlib.asynccontextmanager
    async def turn(self, identity: Identity) -> AsyncIterator[None]:
        """A Problem 429 when it does not come soon enough."""
        line = self._line(identity)
        try:
            async with asyncio.timeout(self.patience_s):
                await line.acquire()
        except TimeoutError as error:
            detail = f"{self._at_once} requests of yours are being answered, and others wait before this one"
            raise _too_many(detail, 1) from error
        try:
            yield
        finally:
            line.release()

    @contextlib.asynccontextmanager
    async def turn_of_book(self, identity: Identity) -> AsyncIterator[None]:
        """Of one user, by session and by key together, as many as have their turn with either. A Problem 503 when it
        does not come soon enough.
        """
        own = self._readers.setdefault(identity.user_id, asyncio.Semaphore(self._at_once))
        async with contextlib.AsyncExitStack() as held:
            try:
                async with asyncio.timeout(self.patience_s):
                    await held.enter_async_context(own)
                    await held.enter_async_context(self._books)
            except TimeoutError as error:
                raise unavailable("long lists of many users are being read, and others wait before this one") from error
            yield

    @contextlib.asynccontextmanager
    async def turn_of_stream(self, identity: Identity) -> AsyncIterator[None]:
        """Whenever it comes: each connection waits for one at a time, and for what the user himself asked for."""
        async with self._line(identity), self._streams:
            yield

    @contextlib.asynccontextmanager
    async def turn_in_scope(self, identity: Identity, scope: str) -> AsyncIterator[None]:
        """To panic there, or to reset that, in the order of asking. Who waits has stopped the scope already."""
        async with self._scopes.setdefault((_asker(identity), scope), asyncio.Lock()):
            yield

    @contextlib.asynccontextmanager
    async def turn_in_accounts(self, identity: Identity, accounts: int) -> AsyncIterator[None]:
        """To close or cancel in so many, however long it takes until it comes."""
        exits = self._exits.setdefault(_asker(identity), _Exits(self.accounts_at_once))
        async with exits.of(accounts):
            yield

    @contextlib.contextmanager
    def file(self, identity: Identity) -> Iterator[None]:
        """While a file is sent; a Problem 429 when it is one too many."""
        asker = _asker(identity)
        if self._files[asker] >= FILES_AT_ONCE:
            raise _too_many(f"{FILES_AT_ONCE} files are being sent to you: take one of them first", 1)
        self._files[asker] += 1
        try:
            yield
        finally:
            self._files[asker] -= 1
            self._files += Counter()

    def _line(self, identity: Identity) -> asyncio.Semaphore:
        return self._lines.setdefault(_asker(identity), asyncio.Semaphore(self._at_once))


class _Exits:
    """The accounts in which one user closes or cancels something."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._entering = asyncio.Lock()
        """Who needs much is not passed by those who need less."""
        self._room = asyncio.Semaphore(most)

    @contextlib.asynccontextmanager
    async def of(self, accounts: int) -> AsyncIterator[None]:
        taken = 0
        try:
            async with self._entering:
                while taken < min(accounts, self._most):
                    await self._room.acquire()
                    taken += 1
            yield
        finally:
            for _ in range(taken):
                self._room.release()


def _asker(identity: Identity) -> Asker:
    return identity.user_id, identity.by_key


def _too_many(detail: str, seconds: int) -> Problem:
    detail += "; orders, cancels, exits and panics are taken all the same"
    return Problem(429, "too_many_requests", detail, headers={"Retry-After": str(seconds)})
