"""What waits for another instance asks the database little, however much waits."""

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from libs.common import ids
from libs.common.contracts.ids import AccountId
from services.gateway.memory.looks import Looks
from services.gateway.store import queries
from services.gateway.store.rows import Row
from tests.services.gateway import said
from tests.services.gateway.scene import Person, Platform
from tests.services.gateway.test_orders_api import PLACE, limit_order
from tests.services.gateway.test_turns import slow_reads, until_waiting

WAITING = 200


class Watched:
    """The service's own pool: how often it was asked, and whether its database is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.questions = 0
        self.is_away = False
        self._pool = pool

    async def fetch(self, *question: Any) -> list[asyncpg.Record]:
        self.questions += 1
        if self.is_away:
            raise ConnectionRefusedError("PostgreSQL is away")
        return await self._pool.fetch(*question)


async def test_two_hundred_who_look_at_once_are_one_question_and_each_hears_of_his_own_order(
    platform: Platform,
) -> None:
    order_id = await placed(platform, await platform.person("asha"))
    pool = Watched(platform.runtime.pool)
    looks = orders_in(pool)
    wanted = [ids.new_id() if n % 2 else order_id for n in range(WAITING)]
    found = await asyncio.gather(*(looks.at(each) for each in wanted))
    assert [row["order_id"] if row else None for row in found] == [order_id, None] * (WAITING // 2)
    assert pool.questions == 1


async def test_who_looks_while_the_database_is_away_hears_so_and_who_looks_later_finds_it(platform: Platform) -> None:
    order_id = await placed(platform, await platform.person("asha"))
    pool = Watched(platform.runtime.pool)
    looks = orders_in(pool)
    pool.is_away = True
    heard = await asyncio.gather(*(looks.at(order_id) for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in heard] == [ConnectionRefusedError] * 3
    pool.is_away = False
    row = await looks.at(order_id)
    assert row
    assert row["order_id"] == order_id


async def test_who_hangs_up_takes_no_answer_from_those_who_look_with_him(platform: Platform) -> None:
    order_id = await placed(platform, await platform.person("asha"))
    looks = Looks(platform.runtime.pool, queries.orders_by_id)
    gone, stays = (asyncio.create_task(looks.at(order_id)) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    row = await stays
    assert row
    assert row["order_id"] == order_id
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_who_closes_all_of_many_accounts_takes_one_connection_while_he_waits(
    platform: Platform, pool: asyncpg.Pool
) -> None:
    """The end of each was asked for by itself, several times a second: they took all connections to the database."""
    asha, bina = await platform.person("asha"), await platform.person("bina")
    await platform.project(*(said.account_saved(asha.user_id, AccountId(ids.new_id())) for _ in range(40)))
    platform.runtime.memory.siblings.alone = False
    async with slow_reads(pool, "outcomes"):
        closing = asyncio.create_task(asha.client.post("/api/v2/trading/positions/close-all", json={}))
        await until_waiting(pool, 1)
        await asyncio.sleep(0.5)
        async with asyncio.timeout(4):
            assert (await bina.client.get("/api/v2/auth/profile")).status_code == 200
    assert (await closing).status_code == 202


def orders_in(pool: Watched) -> Looks[Row]:
    return Looks(pool, queries.orders_by_id)  # type: ignore[arg-type]  # all that it asks of a pool


async def placed(platform: Platform, person: Person) -> UUID:
    platform.answer = said.yes
    answer = await person.client.post(PLACE, json=limit_order(person))
    return UUID(answer.json()["order_id"])
