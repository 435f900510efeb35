"""What risk and panics did to a user, square-offs, and which panics are in force."""

from datetime import datetime
from uuid import UUID

from pydantic import TypeAdapter

from libs.common.contracts.base import Message
from libs.common.contracts.orders import LeftOpen, SquareOffCompleted, SquareOffStarted
from libs.common.contracts.risk import PanicRaised, PanicReset
from libs.common.database import Connection
from services.gateway.domain import views
from services.gateway.store.changes import Changes, Channel
from services.gateway.store.rows import Row, columns

_EVENTS = """
    INSERT INTO risk_events (event_id, user_id, account_id, type, body, at, seq)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::jsonb[], $6::timestamptz[], $7::bigint[])
    ON CONFLICT DO NOTHING
"""
_PANICS = """
    INSERT INTO panics AS p (scope, panic_id, level, epoch, in_force, changed_by, reason, changed_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (scope) DO UPDATE SET panic_id = excluded.panic_id, epoch = excluded.epoch,
        in_force = excluded.in_force, changed_by = excluded.changed_by, changed_at = excluded.changed_at,
        reason = CASE WHEN excluded.in_force THEN excluded.reason ELSE p.reason END
    WHERE p.epoch <= excluded.epoch
"""
_SQUARE_OFFS = """
    INSERT INTO square_offs AS s (square_off_id, account_id, user_id, strategy_id, instrument, product, reason,
                                  status, started_at, completed_at, expired, left_open)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
    ON CONFLICT (square_off_id) DO UPDATE
    SET status = excluded.status, completed_at = excluded.completed_at, expired = excluded.expired,
        left_open = excluded.left_open
    WHERE s.completed_at IS NULL
"""

_LEFT: TypeAdapter[tuple[LeftOpen, ...]] = TypeAdapter(tuple[LeftOpen, ...])
_USERS = "SELECT user_id FROM users WHERE created_at <= $1 ORDER BY user_id"


class RiskLog:
    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._events: list[Row] = []
        self._panics: list[tuple[UUID, PanicRaised | PanicReset, datetime]] = []
        self._square_offs: list[tuple[SquareOffStarted | SquareOffCompleted, datetime]] = []

    def happened(
        self, event_id: UUID, user_id: UUID, event: Message, at: datetime, account_id: UUID | None = None
    ) -> None:
        """Something that the user's risk channel tells."""
        name = type(event).__name__
        row: Row = {
            "event_id": event_id,
            "user_id": user_id,
            "account_id": account_id,
            "type": name,
            "body": event.model_dump_json(),
            "at": at,
        }
        self._events.append(row)
        self._changes.add(user_id, Channel.RISK, name, row)

    def panic(self, event_id: UUID, event: PanicRaised | PanicReset, at: datetime) -> None:
        self._panics.append((event_id, event, at))

    def square_off(self, event: SquareOffStarted | SquareOffCompleted, at: datetime) -> None:
        self._square_offs.append((event, at))

    async def address(self, connection: Connection) -> None:
        """Find out whom each panic concerns, before the changes are numbered."""
        for event_id, event, at in self._panics:
            for user_id in await _concerned(connection, event, at):
                self.happened(event_id, user_id, event, at)

    async def flush(self, connection: Connection) -> None:
        if self._events:
            names = ("event_id", "user_id", "account_id", "type", "body", "at", "seq")
            await connection.execute(_EVENTS, *columns(self._events, names))
        for _, event, at in self._panics:
            await connection.execute(_PANICS, *_panic_row(event, at))
        if self._square_offs:
            await connection.executemany(_SQUARE_OFFS, [_square_off_row(event, at) for event, at in self._square_offs])


async def _concerned(connection: Connection, event: PanicRaised | PanicReset, at: datetime) -> list[UUID]:
    """Everybody that was there, or the user, or the owner of the account or strategy in the scope."""
    _, colon, subject = event.scope.partition(":")
    if not colon:
        return [row[0] for row in await connection.fetch(_USERS, at)]
    entity = UUID(subject)
    if event.scope.startswith("USER:"):
        return [entity]
    owner = await connection.fetchval(
        "SELECT user_id FROM entities WHERE kind = ANY($1::text[]) AND entity_id = $2", ["account", "algo"], entity
    )
    return [owner] if owner else []


def _panic_row(event: PanicRaised | PanicReset, at: datetime) -> tuple[object, ...]:
    common = (event.scope, event.panic_id, event.level.value, event.epoch)
    match event:
        case PanicRaised():
            return (*common, True, event.raised_by, event.reason, at)
        case PanicReset():
            return (*common, False, event.reset_by, "", at)


def _square_off_row(event: SquareOffStarted | SquareOffCompleted, at: datetime) -> tuple[object, ...]:
    completed = event if isinstance(event, SquareOffCompleted) else None
    return (
        event.square_off_id,
        event.account_id,
        event.user_id,
        event.strategy_id,
        event.instrument,
        event.product.value if event.product else None,
        event.reason.value,
        views.square_off_status(completed) if completed else "STARTED",
        at,
        at if completed else None,
        completed.expired if completed else (),
        _LEFT.dump_json(completed.left).decode() if completed else "[]",
    )
