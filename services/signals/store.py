"""Groups and arrivals in PostgreSQL. The only file of signals that speaks SQL."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from libs.common import ids
from libs.common.clock import stopwatch
from libs.common.contracts.base import Message
from libs.common.contracts.ids import SignalGroupId, SignalId, UserId
from libs.common.contracts.signals import (
    SignalGroup,
    SignalGroupDeleteRequested,
    SignalGroupSaveRequested,
)
from libs.common.contracts.users import UserAccessChanged
from libs.common.database import Connection
from libs.common.service import Store
from services.signals.domain.alerts import Alert
from services.signals.domain.fates import SENT_AGAIN_SECONDS, Arrival, Receiver

_KNOWN = """
    SELECT g.*, NOT EXISTS (SELECT FROM users u WHERE u.user_id = g.user_id AND NOT u.may_trade) AS may_trade
    FROM signal_groups g
"""
_GROUP = f"{_KNOWN} WHERE g.group_id = $1"
_GROUPS_LOCKED = f"{_KNOWN} WHERE g.group_id = ANY($1::uuid[]) ORDER BY g.group_id FOR UPDATE OF g"
_SAVE_USERS = """
    INSERT INTO users (user_id, may_trade, version) SELECT * FROM unnest($1::uuid[], $2::boolean[], $3::integer[])
    ON CONFLICT (user_id) DO UPDATE SET may_trade = excluded.may_trade, version = excluded.version
    WHERE users.version < excluded.version
"""
_SAVE_GROUPS = """
    INSERT INTO signal_groups
        (group_id, user_id, name, source, max_signals_per_day, expiry_date, market_hours_only, duplicate_window_s,
         max_per_minute, signature_required, active, rotation, version)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::integer[], $6::date[], $7::boolean[],
                         $8::integer[], $9::integer[], $10::boolean[], $11::boolean[], $12::integer[], $13::integer[])
    ON CONFLICT (group_id) DO UPDATE SET
        name = excluded.name, source = excluded.source, max_signals_per_day = excluded.max_signals_per_day,
        expiry_date = excluded.expiry_date, market_hours_only = excluded.market_hours_only,
        duplicate_window_s = excluded.duplicate_window_s, max_per_minute = excluded.max_per_minute,
        signature_required = excluded.signature_required, active = excluded.active, rotation = excluded.rotation,
        version = excluded.version
"""
_COUNT = "UPDATE signal_groups SET counted_on = $17, counted = $18 WHERE group_id = $2"
_ARRIVED = "INSERT INTO webhook_log VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
_COUNT_AND_ARRIVED = f"WITH counted AS ({_COUNT}) {_ARRIVED} RETURNING pg_current_xact_id()::text::bigint"
_FATE_OF_TRANSACTION = "SELECT pg_xact_status($1::bigint::text::xid8)"
_TAKEN = """
    SELECT EXISTS (
        SELECT FROM webhook_log taken
        WHERE taken.group_id = $1 AND taken.content_hash = $2 AND taken.fate = 'ACCEPTED' AND taken.signal_id = $3
          AND NOT EXISTS (
            SELECT FROM webhook_log later
            WHERE later.group_id = $1 AND later.id > taken.id
              AND (later.fate = 'DUPLICATE' AND later.signal_id = $3
                   OR later.fate = 'ACCEPTED' AND later.signal_type = 'entry' AND taken.signal_type = 'exit')
          )
    )
"""
_DUPLICATE = """
    SELECT signal_id FROM (
        SELECT id, signal_id, received_at, $8::boolean AS is_dated FROM webhook_log
        WHERE group_id = $1 AND content_hash = $2 AND fate = 'ACCEPTED' AND received_at > $4 AND received_at < $10
        UNION ALL
        SELECT id, signal_id, received_at, false FROM webhook_log
        WHERE group_id = $1 AND alert_id = $3 AND fate = 'ACCEPTED' AND received_at > $4 AND received_at < $10
          AND coalesce(signal_type, $5) = $5 AND coalesce(action, $6) = $6 AND account_id IS NOT DISTINCT FROM $7
          AND coalesce(about, $11) = $11
    ) alike
    WHERE $5 <> 'exit' AND (is_dated OR received_at >= $9) OR NOT EXISTS (
        SELECT FROM webhook_log later
        WHERE later.group_id = $1 AND later.id > alike.id AND later.fate = 'ACCEPTED'
          AND CASE WHEN $5 = 'exit' THEN later.signal_type = 'entry'
              ELSE (later.signal_type = 'exit' OR later.action <> $6) AND coalesce(later.account_id = $7, true) END
    )
    ORDER BY received_at LIMIT 1
"""
"""An exit repeats none that an entry was taken after: it is about another position. An entry repeats none that an exit,
or an entry the other way, was taken after, once nobody sends that one again; but what tells the same time is the same.
"""
_PAGE = """
    SELECT id, group_id, received_at, source_ip, encode(content_hash, 'hex') AS content_hash, alert_id, payload, fate,
           reason, signal_id, processing_ms
    FROM webhook_log
    WHERE user_id = $1 AND ($2::uuid IS NULL OR group_id = $2) AND ($3::uuid IS NULL OR id < $3)
    ORDER BY id DESC LIMIT $4
"""
_FORGET = """
    WITH gone AS (
        DELETE FROM webhook_log WHERE id IN (SELECT id FROM webhook_log WHERE id < $1 ORDER BY id LIMIT $2) RETURNING 1
    )
    SELECT count(*) FROM gone
"""
"""By their ids, which are in order of time: however long the log is, its end is found at once."""
_FORGET_AT_ONCE = 10_000
_FORGET_SECONDS = 5.0
_GROUP_FIELDS = tuple(SignalGroup.model_fields)


class SignalsStore(Store):
    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._receivers: dict[SignalGroupId, Receiver | None] = {}
        self._saved: dict[SignalGroupId, Receiver] = {}
        self._deleted: set[SignalGroupId] = set()
        self._users: dict[UserId, UserAccessChanged] = {}

    async def prefetch(self, messages: Sequence[Message]) -> None:
        wanted = {m.group_id for m in messages if isinstance(m, SignalGroupSaveRequested | SignalGroupDeleteRequested)}
        if wanted:
            await self._lock(wanted)

    async def flush(self) -> None:
        if self._deleted:
            await self.connection.execute("DELETE FROM signal_groups WHERE group_id = ANY($1::uuid[])", self._deleted)
        if self._saved:
            rows = [
                (*(getattr(receiver.group, name) for name in _GROUP_FIELDS), receiver.version)
                for receiver in self._saved.values()
            ]
            await self.connection.execute(_SAVE_GROUPS, *map(list, zip(*rows, strict=True)))
        users = [(each.user_id, each.may_trade, each.version) for each in self._users.values()]
        self.writes.add_rows(_SAVE_USERS, users)

    def receiver(self, group_id: SignalGroupId) -> Receiver | None:
        """A group of the batch, as the batch left it so far."""
        return self._receivers[group_id]

    def save(self, receiver: Receiver) -> None:
        group_id = receiver.group.group_id
        self._receivers[group_id] = self._saved[group_id] = receiver
        self._deleted.discard(group_id)

    def delete(self, group_id: SignalGroupId) -> None:
        self._receivers[group_id] = None
        self._saved.pop(group_id, None)
        self._deleted.add(group_id)

    def save_user(self, event: UserAccessChanged) -> None:
        known = self._users.get(event.user_id)
        if known is None or known.version < event.version:
            self._users[event.user_id] = event

    async def find(self, group_id: SignalGroupId) -> Receiver | None:
        """The group as it is now, not locked."""
        row = await self.connection.fetchrow(_GROUP, group_id)
        return _receiver(row) if row else None

    async def lock(self, group_id: SignalGroupId) -> Receiver | None:
        """The group, which nobody else changes or counts until this transaction ends."""
        await self._lock({group_id})
        return self._receivers[group_id]

    async def alike(self, group: SignalGroup, content_hash: bytes, alert: Alert, at: datetime) -> SignalId | None:
        """The accepted alert within the group's window that says the same, or has the same alert id and meaning."""
        if not group.duplicate_window_s:
            return None
        window = timedelta(seconds=group.duplicate_window_s)
        meaning = alert.signal_type, alert.action, alert.account_id
        may_come_again = at - timedelta(seconds=SENT_AGAIN_SECONDS)
        values = content_hash, alert.alert_id, at - window, *meaning, alert.sent_at is not None, may_come_again
        found: SignalId | None = await self.connection.fetchval(
            _DUPLICATE, group.group_id, *values, at + window, alert.about
        )
        return found

    async def was_taken(self, group: SignalGroup, content_hash: bytes, signal_id: SignalId) -> bool:
        """Whether an alert that says the same now repeats this one: nobody heard yet that it was taken, and it is no
        exit that an entry was taken after.
        """
        found: bool = await self.connection.fetchval(_TAKEN, group.group_id, content_hash, signal_id)
        return found

    async def keep(self, arrival_id: UUID, arrival: Arrival) -> None:
        """Log an arrival."""
        await self.connection.execute(_ARRIVED, arrival_id, *astuple(arrival))

    async def kept(self, arrival_ids: Collection[UUID]) -> set[UUID]:
        """Those of them that are in the log."""
        found = await self.connection.fetch("SELECT id FROM webhook_log WHERE id = ANY($1::uuid[])", list(arrival_ids))
        return {row["id"] for row in found}

    async def accept(self, arrival_id: UUID, arrival: Arrival, counted: Receiver) -> int:
        """Log an accepted arrival together with the group's new count; the transaction's id."""
        row = (arrival_id, *astuple(arrival), counted.counted_on, counted.counted)
        transaction: int = await self.connection.fetchval(_COUNT_AND_ARRIVED, *row)
        return transaction

    async def is_committed(self, transaction: int) -> bool | None:
        """None while it is still in progress."""
        status = await self.connection.fetchval(_FATE_OF_TRANSACTION, transaction)
        return None if status == "in progress" else bool(status == "committed")

    async def arrivals(
        self, user_id: UserId, group_id: SignalGroupId | None, before: UUID | None, limit: int
    ) -> list[Mapping[str, object]]:
        """A page of the log, newest first."""
        return [dict(row) for row in await self.connection.fetch(_PAGE, user_id, group_id, before, limit)]

    async def forget_arrivals(self, before: datetime) -> None:
        """Some at a time, as many as a few seconds take: a busy day's are more than one statement may take."""
        oldest, until = ids.first_of(before), stopwatch() + _FORGET_SECONDS
        while await self.connection.fetchval(_FORGET, oldest, _FORGET_AT_ONCE) == _FORGET_AT_ONCE:
            if stopwatch() > until:
                return

    async def _lock(self, group_ids: set[SignalGroupId]) -> None:
        self._receivers.update(dict.fromkeys(group_ids))
        for row in await self.connection.fetch(_GROUPS_LOCKED, list(group_ids)):
            self._receivers[row["group_id"]] = _receiver(row)


def _receiver(row: asyncpg.Record) -> Receiver:
    group = SignalGroup.model_validate(dict(row))
    return Receiver(group, row["version"], row["counted_on"], row["counted"], row["may_trade"])
