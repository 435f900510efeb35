"""How much one user may ask for at once, and how often, of what is neither an order nor a way out.

Every read holds a connection to the database while it lasts: very many slow ones of one user, or of whoever has his
API key, would hold all of them, and the orders of everybody else would wait. So a few are at work at once and the next
wait for their turn: a screen that asks for a dozen things at once notices nothing. What is sent with API keys has turns
and a count of its own, so that a program gone wild, or a stolen key, leaves its owner his screen, where he revokes it.
What streams have to read takes the same turns, and those of all users together one of a few: after a restart
thousands come back at once. So do lists that years have filled: four users' slow ones held every connection.
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
FILES_AT_ONCE = 4
"""Files of history that are sent to one user, as slowly as he takes them. QuestDB writes sixteen for all."""


class Turns:
    """One per process. `most` requests within `window_s`, `at_once` of them at work."""

    def __init__(self, at_once: int, most: int, window_s: int) -> None:
        self.patience_s = PATIENCE_S
        self._at_once = at_once
        self._most = most
        self._window_s = window_s
        self._lines: WeakValueDictionary[Asker, asyncio.Semaphore] = WeakValueDictionary()
        """Of those who have a request at work or waiting: it holds its line."""
        self._readers: WeakValueDictionary[UserId, asyncio.Semaphore] = WeakValueDictionary()
        self._books = asyncio.Semaphore(BOOKS_AT_ONCE)
        self._streams = asyncio.Semaphore(STREAMS_AT_ONCE)
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


def _asker(identity: Identity) -> Asker:
    return identity.user_id, identity.by_key


def _too_many(detail: str, seconds: int) -> Problem:
    detail += "; orders, cancels, exits and panics are taken all the same"
    return Problem(429, "too_many_requests", detail, headers={"Retry-After": str(seconds)})
