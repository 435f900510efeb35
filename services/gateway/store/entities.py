"""Accounts, algos, signal groups and risk limits, as their owners last saved them."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

import asyncpg
import orjson

from libs.common.contracts.base import Value
from libs.common.database import Connection
from services.gateway.store.rows import Database, Row, columns


class Kind(StrEnum):
    ACCOUNT = "account"
    ALGO = "algo"
    SIGNAL_GROUP = "signal_group"
    RISK_LIMIT = "risk_limit"
    CUSTOM_SYMBOL = "custom_symbol"


_NAMES = ("kind", "entity_id", "user_id", "version", "body", "deleted", "updated_at")
_PUT = """
    INSERT INTO entities AS e (kind, entity_id, user_id, version, body, deleted, updated_at)
    SELECT * FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::int[], $5::jsonb[], $6::bool[], $7::timestamptz[])
    ON CONFLICT (kind, entity_id) DO UPDATE SET
        version = greatest(e.version, excluded.version),
        body = CASE WHEN excluded.version > e.version THEN excluded.body ELSE e.body END,
        deleted = excluded.deleted, updated_at = excluded.updated_at
    WHERE excluded.deleted OR e.version < excluded.version
"""


class Entities:
    def __init__(self) -> None:
        self._turns: list[dict[tuple[Kind, UUID], Row]] = [{}]
        """What is written, one turn after the other: mostly there is one."""

    def saved(self, kind: Kind, entity_id: UUID, user_id: UUID, version: int, body: Value, at: datetime) -> None:
        last = self._turns[-1].get((kind, entity_id))
        if last is not None and last["deleted"] and last["version"] == 0:
            self._turns.append({})  # whether this is newer than what was deleted the table knows
        elif last is not None and last["version"] >= version:
            return
        self._put(kind, entity_id, user_id, version, body.model_dump_json(), deleted=False, at=at)

    def deleted(self, kind: Kind, entity_id: UUID, user_id: UUID, at: datetime) -> None:
        """Its last body stays, also when it was saved in the same batch."""
        if last := self._turns[-1].get((kind, entity_id)):
            last |= {"deleted": True, "updated_at": at}
        else:
            self._put(kind, entity_id, user_id, 0, "{}", deleted=True, at=at)

    async def flush(self, connection: Connection) -> None:
        for rows in self._turns:
            if rows:
                await connection.execute(_PUT, *columns(list(rows.values()), _NAMES))

    def _put(
        self, kind: Kind, entity_id: UUID, user_id: UUID, version: int, body: str, *, deleted: bool, at: datetime
    ) -> None:
        self._turns[-1][kind, entity_id] = {
            "kind": kind.value,
            "entity_id": entity_id,
            "user_id": user_id,
            "version": version,
            "body": body,
            "deleted": deleted,
            "updated_at": at,
        }


async def find(database: Database, kind: Kind, entity_id: UUID) -> Row | None:
    row = await database.fetchrow(
        "SELECT user_id, version, body, updated_at FROM entities WHERE kind = $1 AND entity_id = $2 AND NOT deleted",
        kind.value,
        entity_id,
    )
    return _read(dict(row)) if row else None


async def of_user(database: Database, kind: Kind, user_id: UUID) -> list[Row]:
    """All of a user's, oldest first."""
    return [_read(dict(row)) for row in await _of_user(database, kind, user_id)]


async def told_of_user(database: Database, kind: Kind, user_id: UUID) -> str:
    """The same as JSON. What is kept as such is not read for it: a thousand algos of two hundred accounts each are
    20 MB, and for a seventh of a second nobody else would be answered.
    """
    return f"[{','.join(map(_told, await _of_user(database, kind, user_id)))}]"


async def of_everybody(database: Database, kind: Kind, limit: int, after: UUID | None) -> list[Row]:
    """A page of everybody's, oldest first."""
    rows = await database.fetch(
        """
        SELECT user_id, version, body, updated_at FROM entities
        WHERE kind = $1 AND ($2::uuid IS NULL OR entity_id > $2) AND NOT deleted ORDER BY entity_id LIMIT $3
        """,
        kind.value,
        after,
        limit,
    )
    return [_read(dict(row)) for row in rows]


async def count(database: Database, kind: Kind, user_id: UUID) -> int:
    found: int = await database.fetchval(
        "SELECT count(*) FROM entities WHERE kind = $1 AND user_id = $2 AND NOT deleted", kind.value, user_id
    )
    return found


async def owner(database: Database, kind: Kind, entity_id: UUID) -> UUID | None:
    found: UUID | None = await database.fetchval(
        "SELECT user_id FROM entities WHERE kind = $1 AND entity_id = $2 AND NOT deleted", kind.value, entity_id
    )
    return found


async def last_owner(database: Database, kind: Kind, entity_id: UUID) -> UUID | None:
    """Whose it is, or was until it was deleted."""
    found: UUID | None = await database.fetchval(
        "SELECT user_id FROM entities WHERE kind = $1 AND entity_id = $2", kind.value, entity_id
    )
    return found


async def deletion(database: Database, kind: Kind, entity_id: UUID) -> tuple[UUID, datetime] | None:
    """Whose it was, and when it was deleted; None for one that is there or never was."""
    row = await database.fetchrow(
        "SELECT user_id, updated_at FROM entities WHERE kind = $1 AND entity_id = $2 AND deleted", kind.value, entity_id
    )
    return (row["user_id"], row["updated_at"]) if row else None


async def _of_user(database: Database, kind: Kind, user_id: UUID) -> list[asyncpg.Record]:
    found: list[asyncpg.Record] = await database.fetch(
        """
        SELECT version, body, updated_at FROM entities
        WHERE kind = $1 AND user_id = $2 AND NOT deleted ORDER BY entity_id
        """,
        kind.value,
        user_id,
    )
    return found


def _read(row: Row) -> Row:
    body: Row = orjson.loads(row["body"])
    return {**body, **_beside(row)}


def _told(row: asyncpg.Record) -> str:
    """Its body, and what stands beside it as the last of its fields."""
    return f"{row['body'][:-1]},{orjson.dumps(_beside(row)).decode()[1:]}"


def _beside(row: Row | asyncpg.Record) -> Row:
    return {"version": row["version"], "updated_at": row["updated_at"]}
