"""Orders that ended long ago, with their executions: out of the tables that the order path writes, and back on demand.
What was asked of brokers for them is on the log, and forgotten here. So is what was held of contracts that are no more,
and square-offs.

An order and its executions always move together, and only while the account's row is locked: so whoever holds that
lock finds all of them in one place.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from libs.common.contracts.enums import Product
from libs.common.contracts.ids import InstrumentId, OrderId
from libs.common.database import Connection
from libs.common.ids import first_of
from services.trading.domain.positions import NetKey

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
FORGET_SQUARE_OFFS = """
DELETE FROM square_offs WHERE square_off_id IN (
    SELECT square_off_id FROM square_offs WHERE square_off_id < $1 AND completed_at < $2
     ORDER BY square_off_id LIMIT $3)
"""
PAGE = """
SELECT account_id, instrument, product FROM positions
 WHERE (account_id, instrument, product) > ($1, $2, $3)
 ORDER BY account_id, instrument, product LIMIT $4
"""
LOCK_IDLE = """
SELECT account_id FROM accounts WHERE account_id = ANY($1::uuid[]) ORDER BY account_id FOR UPDATE SKIP LOCKED
"""
IS_OVER = """
h.account_id = k.account_id AND h.instrument = k.instrument AND h.product = k.product AND h.account_id = ANY($4::uuid[])
   AND h.quantity = 0 AND h.bought_quantity = 0 AND h.sold_quantity = 0
   AND NOT EXISTS (SELECT FROM orders o WHERE o.is_open AND o.account_id = h.account_id AND o.instrument = h.instrument)
"""
FORGET_BOOKS = f"""
DELETE FROM books h USING unnest($1::uuid[], $2::text[], $3::text[]) AS k (account_id, instrument, product)
 WHERE {IS_OVER}
"""  # noqa: S608 - constants only
FORGET_NETS = f"""
DELETE FROM positions h USING unnest($1::uuid[], $2::text[], $3::text[]) AS k (account_id, instrument, product)
 WHERE {IS_OVER}
   AND NOT EXISTS (SELECT FROM books b
                    WHERE b.account_id = h.account_id AND b.instrument = h.instrument AND b.product = h.product)
"""  # noqa: S608 - constants only
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

    async def forget_square_offs(self, before: datetime, limit: int) -> None:
        """Those that were over by then."""
        await self._connection.execute(FORGET_SQUARE_OFFS, first_of(before), before, limit)

    async def positions_after(self, key: NetKey | None, limit: int) -> Sequence[NetKey]:
        """The next of all that were ever held, open or not."""
        rows = await self._connection.fetch(PAGE, *(key or (UUID(int=0), "", "")), limit)
        return [(row[0], InstrumentId(row[1]), Product(row[2])) for row in rows]

    async def forget_positions(self, keys: Sequence[NetKey]) -> None:
        """Those of them, with their books, that are flat and have nothing pending. Accounts at work are left."""
        accounts = list({key[0] for key in keys})
        idle = [row[0] for row in await self._connection.fetch(LOCK_IDLE, accounts)]
        columns = [list(column) for column in zip(*keys, strict=True)]
        await self._connection.execute(FORGET_BOOKS, *columns, idle)
        await self._connection.execute(FORGET_NETS, *columns, idle)

    async def bring_back(self, order_id: OrderId) -> bool:
        """Whether it was there. Its account is locked by the caller."""
        return await self._connection.fetchval(BRING_BACK, order_id) is not None
