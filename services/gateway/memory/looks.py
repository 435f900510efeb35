"""Orders that another instance projects: who waits for one looks it up here, all who look meanwhile in one question.

Hundreds may wait at once when the platform is slow, and each looks several times a second: one question for each
would make it slower still.
"""

import asyncio
from collections import defaultdict
from uuid import UUID

import asyncpg

from services.gateway.store import queries
from services.gateway.store.rows import Row


class Looks:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._asked: defaultdict[UUID, list[asyncio.Future[Row | None]]] = defaultdict(list)
        """Since the question that is under way."""
        self._asking: asyncio.Task[None] | None = None

    async def order(self, order_id: UUID) -> Row | None:
        """The order as it is now, None before it was projected; raises what a question to the database may."""
        answer: asyncio.Future[Row | None] = asyncio.get_running_loop().create_future()
        self._asked[order_id].append(answer)
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

    async def _answer(self, asked: dict[UUID, list[asyncio.Future[Row | None]]]) -> None:
        waiting = [(order_id, answer) for order_id, answers in asked.items() for answer in answers]
        try:
            found = await queries.orders_by_id(self._pool, list(asked))
        except Exception as error:  # noqa: BLE001 - who asked hears of it
            for _, answer in waiting:
                if not answer.done():
                    answer.set_exception(error)
        else:
            for order_id, answer in waiting:
                if not answer.done():
                    answer.set_result(found.get(order_id))
        finally:
            for _, answer in waiting:
                answer.cancel()
