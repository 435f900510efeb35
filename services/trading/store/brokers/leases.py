"""Which process works for an account at its broker: one at a time, so that its effects keep their order.

Times are the database's: all instances share that clock. A lease that ran out may be taken by anybody.
"""

from uuid import UUID

from libs.common.contracts.ids import AccountId
from libs.common.database import Connection

TAKE = """
INSERT INTO broker_leases AS l (account_id, owner, until)
VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (account_id) DO UPDATE SET owner = excluded.owner, until = excluded.until
 WHERE l.owner = excluded.owner OR l.until < clock_timestamp()
RETURNING 1
"""
GIVE_BACK = "DELETE FROM broker_leases WHERE account_id = $1 AND owner = $2"


class BrokerLeases:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def hold(self, account_id: AccountId, owner: UUID, seconds: float) -> bool:
        """Take or prolong it, and keep others from it until this transaction ends. False: it is somebody else's."""
        return bool(await self._connection.fetchval(TAKE, account_id, owner, seconds))

    async def give_back(self, account_id: AccountId, owner: UUID) -> None:
        await self._connection.execute(GIVE_BACK, account_id, owner)
