"""The ids of messages that were handled are forgotten after some days, and nothing waits for that."""

import asyncio

from libs.common.messaging.inbox import FORGET_AT_ONCE
from tests.common.ledger import Ledger, deposit_of


async def test_messages_do_not_wait_until_old_ids_are_forgotten_nor_are_all_of_them_forgotten_at_once(
    ledger: Ledger,
) -> None:
    """Those of busy days took longer than a statement may: every hour, and at every start, the messages waited ten
    seconds for it, and no id was forgotten ever again.
    """
    connection = await ledger.connect()
    await connection.execute(
        """
        INSERT INTO message_inbox
        SELECT gen_random_uuid(), now() - interval '9 days' FROM generate_series(1, $1::int)
        """,
        FORGET_AT_ONCE + 1,
    )
    async with connection.transaction():
        await connection.execute("SELECT 1 FROM message_inbox ORDER BY ctid DESC LIMIT 1 FOR UPDATE")
        async with ledger.running():
            async with asyncio.timeout(20):
                while not await connection.fetchval(
                    "SELECT true FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = $1", ledger.name
                ):
                    await asyncio.sleep(0.05)
            assert await connection.fetchval("SELECT count(*) FROM message_inbox") == 1
            await ledger.request(deposit_of("a", 5))
            await ledger.eventually({"a": 5}, 6)
    await connection.close()
