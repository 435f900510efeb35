"""Wishes to brokers behind HTTP, from the message that brought them to their answer."""

from collections.abc import Collection, Sequence
from uuid import UUID

import asyncpg
from pydantic import TypeAdapter

from libs.common.contracts.brokers import BrokerCancelRequested, BrokerModifyRequested, BrokerOrderRequested
from libs.common.contracts.ids import AccountId
from libs.common.database import Connection
from libs.common.writes import Writes
from services.trading.domain.calls import Call, CallState, Request

CHANNEL = "broker_calls"
"""Where PostgreSQL tells the effects of every instance, at the commit, that an account has something to send."""
BOOKS = "broker_books"
"""Where every instance hears that an account's broker says that something happened to an order of it."""
INSERT = """
INSERT INTO broker_calls (call_id, account_id, order_id, action, request, user_id, correlation_id, created_at, state,
                          attempts, not_before)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::uuid[], $7::uuid[],
                     $8::timestamptz[], $9::text[], $10::integer[], $11::timestamptz[])
ON CONFLICT (call_id) DO NOTHING
"""
NOTIFY = "SELECT pg_notify($1::text, account::text) FROM unnest($2::uuid[]) AS n (account)"
UPDATE = """
UPDATE broker_calls c
   SET state = n.state, attempts = n.attempts, not_before = n.not_before, called_at = n.called_at,
       answered_at = n.answered_at
  FROM unnest($1::uuid[], $2::text[], $3::integer[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[])
       AS n (call_id, state, attempts, not_before, called_at, answered_at)
 WHERE c.call_id = n.call_id
"""
SELECT_OPEN = "SELECT * FROM broker_calls WHERE account_id = $1 AND state <> 'DONE' ORDER BY seq LIMIT $2 FOR UPDATE"
SELECT_ONE = "SELECT * FROM broker_calls WHERE call_id = $1 FOR UPDATE"
ACCOUNTS = """
SELECT account_id
  FROM (SELECT account_id FROM broker_calls WHERE state <> 'DONE'
        UNION
        SELECT account_id FROM broker_orders WHERE state <> 'ENDED') AS busy
  LEFT JOIN broker_leases l USING (account_id)
 WHERE l.owner IS NULL OR l.owner = $1 OR l.until < clock_timestamp()
"""
MOST = 500

_TYPES: dict[str, type[Request]] = {
    t.__name__: t for t in (BrokerOrderRequested, BrokerModifyRequested, BrokerCancelRequested)
}
_ACCOUNT_ID: TypeAdapter[AccountId] = TypeAdapter(AccountId)


class Calls:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._new: dict[UUID, Call] = {}
        self._changed: dict[UUID, Call] = {}

    def ask(self, call: Call) -> None:
        self._new[call.call_id] = call

    def save(self, call: Call) -> None:
        self._changed[call.call_id] = call

    async def open(self, account_id: AccountId) -> Sequence[Call]:
        """Locked: what is unfinished of the account, oldest first."""
        return [_call(row) for row in await self._connection.fetch(SELECT_OPEN, account_id, MOST)]

    async def get(self, call_id: UUID) -> Call:
        row = await self._connection.fetchrow(SELECT_ONE, call_id)
        if row is None:
            raise LookupError(f"there is no call {call_id}")
        return _call(row)

    async def accounts(self, owner: UUID) -> Collection[AccountId]:
        """With something to send or to watch, and nobody but us at work for them."""
        return {row["account_id"] for row in await self._connection.fetch(ACCOUNTS, owner)}

    async def flush(self, writes: Writes) -> None:
        if self._new:
            writes.add_rows(INSERT, [_new_row(call) for call in self._new.values()])
            await self._connection.execute(NOTIFY, CHANNEL, list({call.account_id for call in self._new.values()}))
        writes.add_rows(UPDATE, [_row(call) for call in self._changed.values()])


def account_of(payload: str) -> AccountId:
    """Whom a notification is about."""
    return _ACCOUNT_ID.validate_python(payload)


def _call(row: asyncpg.Record) -> Call:
    return Call(
        call_id=row["call_id"],
        account_id=row["account_id"],
        request=_TYPES[row["action"]].model_validate_json(row["request"]),
        correlation_id=row["correlation_id"],
        user_id=row["user_id"],
        created_at=row["created_at"],
        not_before=row["not_before"],
        state=CallState(row["state"]),
        attempts=row["attempts"],
        called_at=row["called_at"],
        answered_at=row["answered_at"],
        seq=row["seq"],
    )


def _new_row(call: Call) -> Sequence[object]:
    return (
        call.call_id,
        call.account_id,
        call.order_id,
        type(call.request).__name__,
        call.request.model_dump_json(),
        call.user_id,
        call.correlation_id,
        call.created_at,
        call.state,
        call.attempts,
        call.not_before,
    )


def _row(call: Call) -> Sequence[object]:
    return call.call_id, call.state, call.attempts, call.not_before, call.called_at, call.answered_at
