"""A consumer's transactions follow one another on one connection, and what that leaves behind."""

import asyncio
import contextlib

import asyncpg

from tests.common.ledger import Ledger, deposit_of

_WAITING = """
    SELECT pid FROM pg_stat_activity
    WHERE state = 'idle in transaction' AND datname = current_database() AND application_name <> ''
"""


async def waiting(pool: asyncpg.Pool) -> list[int]:
    return [row["pid"] for row in await pool.fetch(_WAITING)]


async def until_one_waits(pool: asyncpg.Pool) -> int:
    async with asyncio.timeout(10):
        while not (found := await waiting(pool)):
            await asyncio.sleep(0.01)
    return found[0]


async def test_who_has_nothing_to_handle_holds_no_transaction_open_and_leaves_others_their_plans(
    ledger: Ledger,
) -> None:
    async with ledger.running() as runtime:
        await ledger.request(deposit_of("a", 1))
        await ledger.eventually({"a": 1})
        await until_one_waits(runtime.pool)
        async with asyncio.timeout(10):
            while await waiting(runtime.pool):
                await asyncio.sleep(0.05)
        async with contextlib.AsyncExitStack() as held:
            for _ in range(runtime.pool.get_size()):
                connection = await held.enter_async_context(runtime.pool.acquire())
                assert await connection.fetchval("SHOW enable_seqscan") == "on"
                assert await connection.fetchval("SHOW plan_cache_mode") == "auto"


async def test_a_batch_is_handled_though_the_transaction_that_waited_for_it_was_cut_off(ledger: Ledger) -> None:
    async with ledger.running() as runtime:
        await ledger.request(deposit_of("a", 1))
        await ledger.eventually({"a": 1})
        await runtime.pool.execute("SELECT pg_terminate_backend($1)", await until_one_waits(runtime.pool))
        await ledger.request(deposit_of("a", 1))
        await ledger.eventually({"a": 2})
        assert await runtime.pool.fetchval("SELECT count(*) FROM message_parked") == 0
