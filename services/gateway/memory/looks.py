"""What another instance projects, orders or the ends of requests: who waits for one looks it up here, all who look
meanwhile in one question.

Hundreds may wait at once when the platform is slow, or for one request (to close all accounts of somebody), and each
looks several times a second: one question for each would make it slower still.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar
from uuid import UUID

import asyncpg

Found = TypeVar("Found")


class Looks(Generic[Found]):
    """`find` tells those that there are."""

    def __init__(
        self, pool: asyncpg.Pool, find: Callable[[asyncpg.Pool, Sequence[UUID]], Awaitable[Mapping[UUID, Found]]]
    ) -> None:
        self._pool = pool
        self._find = find
        self._asked: defaultdict[UUID, list[asyncio.Future[Found | None]]] = defaultdict(list)
        """Since the question that is under way."""
        self._asking: asyncio.Task[None] | None = None

    async def at(self, wanted: UUID) -> Found | None:
        """It as it is now, None before it was projected; raises what a question to the database may."""
        answer: asyncio.Future[Found | None] = asyncio.get_running_loop().create_future()
        self._asked[wanted].append(answer)
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(), name="looks")
        return await answer

    async def close(self) -> None:
        if self._asking:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def _ask(self) -> None:
        try:
            while self._asked:
                asked, self._asked = self._asked, defaultdict(list)
                await self._answer(asked)
        finally:
            self._asking = None

    async def _answer(self, asked: dict[UUID, list[asyncio.Future[Found | None]]]) -> None:
        waiting = [(wanted, answer) for wanted, answers in asked.items() for answer in answers]
        try:
            found = await self._find(self._pool, list(asked))
        except Exception as error:  # noqa: BLE001 - who asked hears of it
            for _, answer in waiting:
                if not answer.done():
                    answer.set_exception(error)
        else:
            for wanted, answer in waiting:
                if not answer.done():
                    answer.set_result(found.get(wanted))
        finally:
            for _, answer in waiting:
                answer.cancel()
