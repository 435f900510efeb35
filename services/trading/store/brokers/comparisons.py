"""How our positions and brokers' compared last, and when they are compared again.

Times are the database's: all instances share that clock. Lock order: an account's row before its comparison.
"""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

import asyncpg
from pydantic import TypeAdapter

from libs.common.contracts.ids import AccountId, CorrelationId
from libs.common.database import Connection
from services.trading.domain.comparing import Comparison, Difference

CLAIM = """
UPDATE broker_comparisons c
   SET claim = $1, due_at = clock_timestamp() + make_interval(secs => $2)
 WHERE account_id IN (
    SELECT account_id FROM broker_comparisons
     WHERE due_at <= clock_timestamp() AND ($3 OR requests <> '{}')
     ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED)
RETURNING account_id
"""
COUNT = """
SELECT count(*) AS known, count(*) FILTER (WHERE told <> '[]') AS differing,
       count(*) FILTER (WHERE problem <> '') AS unread,
       coalesce(greatest(extract(epoch FROM clock_timestamp() - min(due_at)), 0), 0)::float8 AS late
  FROM broker_comparisons
 WHERE due_at < 'infinity'
"""
SELECT = "SELECT * FROM broker_comparisons WHERE account_id = $1 AND claim = $2 FOR UPDATE"
ASK = """
UPDATE broker_comparisons
   SET due_at = least(due_at, clock_timestamp()), claim = NULL, requests = requests || $2::uuid, looks = 0
 WHERE account_id = $1 AND cardinality(requests) < 100 AND NOT $2 = ANY(requests)
"""
"""What began to look before does not answer."""
KNOWN = "SELECT EXISTS (SELECT FROM broker_comparisons WHERE account_id = $1)"
SAVE = """
UPDATE broker_comparisons
   SET suspected = $2, told = $3, version = $4, failures = $5, problem = $6, requests = $7, looks = $8,
       compared_at = $9, due_at = clock_timestamp() + make_interval(secs => $10), claim = NULL
 WHERE account_id = $1
"""
REST = """
UPDATE broker_comparisons
   SET suspected = '[]', requests = '{}', looks = 0, due_at = 'infinity', claim = NULL
 WHERE account_id = $1
"""
"""Its version goes on when the account comes back: whoever heard of it believes no older one."""
RESUME = """
INSERT INTO broker_comparisons (account_id, due_at)
SELECT account_id, clock_timestamp() FROM broker_credentials WHERE account_id = $1
ON CONFLICT (account_id) DO UPDATE SET due_at = excluded.due_at, claim = NULL
"""

_DIFFERENCES: TypeAdapter[tuple[Difference, ...]] = TypeAdapter(tuple[Difference, ...])


@dataclass(frozen=True, slots=True)
class Counts:
    """Accounts at brokers, those whose positions differ, and those whose broker shows none to us; by how many seconds
    the one that is to be looked at first is late.
    """

    known: int
    differing: int
    unread: int
    late: float


class Comparisons:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def claim(self, who: UUID, seconds: float, most: int, *, all_due: bool) -> Collection[AccountId]:
        """Whom to look at now, kept from others for so long; without `all_due` only where somebody asked."""
        return [row["account_id"] for row in await self._connection.fetch(CLAIM, who, seconds, all_due, most)]

    async def count(self) -> Counts:
        row = await self._connection.fetchrow(COUNT)
        return Counts(row["known"], row["differing"], row["unread"], row["late"]) if row else Counts(0, 0, 0, 0.0)

    async def ask(self, account_id: AccountId, request_id: CorrelationId) -> bool:
        """Whether there is a broker to ask. The account is locked by the caller."""
        await self._connection.execute(ASK, account_id, request_id)
        return bool(await self._connection.fetchval(KNOWN, account_id))

    async def get(self, account_id: AccountId, claim: UUID) -> Comparison | None:
        """Locked. None when it is not whose claim that is any more: what he saw is too old."""
        row = await self._connection.fetchrow(SELECT, account_id, claim)
        return None if row is None else _comparison(row)

    async def save(self, after: Comparison, due_in: float) -> None:
        """And look again in so many seconds."""
        await self._connection.execute(
            SAVE,
            after.account_id,
            _DIFFERENCES.dump_json(after.suspected).decode(),
            _DIFFERENCES.dump_json(after.told).decode(),
            after.version,
            after.failures,
            after.problem,
            list(after.requests),
            after.looks,
            after.compared_at,
            due_in,
        )

    async def rest(self, account_id: AccountId) -> None:
        """The account was deleted: nobody looks at it."""
        await self._connection.execute(REST, account_id)

    async def resume(self, account_id: AccountId) -> None:
        """It came back, with the credentials that it had. It is locked by the caller."""
        await self._connection.execute(RESUME, account_id)


def _comparison(row: asyncpg.Record) -> Comparison:
    return Comparison(
        account_id=row["account_id"],
        suspected=_DIFFERENCES.validate_json(row["suspected"]),
        told=_DIFFERENCES.validate_json(row["told"]),
        version=row["version"],
        failures=row["failures"],
        problem=row["problem"],
        requests=tuple(row["requests"]),
        looks=row["looks"],
        compared_at=row["compared_at"],
    )
