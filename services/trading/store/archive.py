"""Orders that ended long ago, with their executions: out of the tables that the order path writes, and back on demand.
What was asked of brokers for them is on the log, and forgotten here.

An order and its executions always move together, and only while the account's row is locked: so whoever holds that
lock finds all of them in one place.
"""

from datetime import datetime
from uuid import UUID

from libs.common.contracts.ids import OrderId
from libs.common.database import Connection
from libs.common.ids import first_of

LOCK = """
SELECT account_id FROM accounts
 WHERE account_id IN (SELECT account_id FROM orders WHERE order_id < $1 AND NOT is_open ORDER BY order_id LIMIT $2)
 ORDER BY account_id FOR UPDATE SKIP LOCKED
"""
MOVE = """
WITH ended AS (
    DELETE FROM orders WHERE order_id IN (
        SELECT order_id FROM orders WHERE order_id < $1 AND NOT is_open AND account_id = ANY($3::uuid[])
         ORDER BY order_id LIMIT $2)
    RETURNING *),
told AS (DELETE FROM executions e USING ended WHERE e.order_id = ended.order_id RETURNING e.*),
kept AS (INSERT INTO archived_executions SELECT * FROM told)
INSERT INTO archived_orders SELECT * FROM ended RETURNING order_id
"""
FORGET_CALLS = """
DELETE FROM broker_calls WHERE call_id IN (
    SELECT call_id FROM broker_calls WHERE call_id < $1 AND state = 'DONE' ORDER BY call_id LIMIT $2)
"""
FORGET_WATCHED = """
DELETE FROM broker_orders WHERE order_id IN (
    SELECT order_id FROM broker_orders b
     WHERE order_id < $1 AND state = 'ENDED' AND NOT EXISTS (SELECT FROM orders o WHERE o.order_id = b.order_id)
     ORDER BY order_id LIMIT $2)
"""
BRING_BACK = """
WITH wanted AS (DELETE FROM archived_orders WHERE order_id = $1 RETURNING *),
told AS (DELETE FROM archived_executions e USING wanted WHERE e.order_id = wanted.order_id RETURNING e.*),
kept AS (INSERT INTO executions SELECT * FROM told)
INSERT INTO orders SELECT * FROM wanted RETURNING order_id
"""


class Archive:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def move(self, before: datetime, limit: int) -> int:
        """Put away orders that ended and were made before then, the oldest first; how many.

        Ids begin with their time, so the primary key finds them: no index is kept for this. Accounts at work are
        left for the next time.
        """
        bound: UUID = first_of(before)
        accounts = [row[0] for row in await self._connection.fetch(LOCK, bound, limit)]
        return len(await self._connection.fetch(MOVE, bound, limit, accounts)) if accounts else 0

    async def forget_calls(self, before: datetime, limit: int) -> None:
        """What brokers answered before then, and what they had of orders that are in the archive. Before accounts are
        locked, as everywhere.
        """
        bound: UUID = first_of(before)
        await self._connection.execute(FORGET_CALLS, bound, limit)
        await self._connection.execute(FORGET_WATCHED, bound, limit)

    async def bring_back(self, order_id: OrderId) -> bool:
        """Whether it was there. Its account is locked by the caller."""
        return await self._connection.fetchval(BRING_BACK, order_id) is not None
