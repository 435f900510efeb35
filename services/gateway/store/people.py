"""Users, their sessions and API keys."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from libs.common.database import Connection
from services.gateway.domain.roles import Role, may_trade
from services.gateway.store.rows import Database, Row

_REGISTRATION_LOCK = 20_261
_SHOWN = "user_id, email, username, role, active, created_at, updated_at"


async def count_users(connection: Connection) -> int:
    """Within the transaction that registers somebody: two first users must not both become super admin."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _REGISTRATION_LOCK)
    found: int = await connection.fetchval("SELECT count(*) FROM users")
    return found


async def is_anybody(database: Database) -> bool:
    found: bool = await database.fetchval("SELECT EXISTS (SELECT FROM users)")
    return found


async def add_user(connection: Connection, user: Row) -> bool:
    """False when the e-mail or the user name is taken."""
    added = await connection.fetchval(
        """
        INSERT INTO users (user_id, email, username, role, password_hash, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT DO NOTHING RETURNING user_id
        """,
        user["user_id"],
        user["email"],
        user["username"],
        user["role"],
        user["password_hash"],
        user["created_at"],
    )
    return added is not None


async def user(database: Database, user_id: UUID) -> Row | None:
    row = await database.fetchrow(f"SELECT {_SHOWN} FROM users WHERE user_id = $1", user_id)  # noqa: S608
    return dict(row) if row else None


async def users(database: Database, limit: int, after: UUID | None) -> list[Row]:
    rows = await database.fetch(
        f"SELECT {_SHOWN} FROM users WHERE $1::uuid IS NULL OR user_id > $1 ORDER BY user_id LIMIT $2",  # noqa: S608
        after,
        limit,
    )
    return [dict(row) for row in rows]


async def password_by_email(database: Database, email: str) -> Row | None:
    row = await database.fetchrow("SELECT user_id, role, active, password_hash FROM users WHERE email = $1", email)
    return dict(row) if row else None


async def password_of(database: Database, user_id: UUID) -> str:
    found: str = await database.fetchval("SELECT password_hash FROM users WHERE user_id = $1", user_id)
    return found


async def set_password(database: Database, user_id: UUID, before: str, password_hash: str, now: datetime) -> bool:
    """False when `before`, which was checked, is not the password any more: whoever changes it ends all other sessions,
    so nobody may change it again by what he knew before that.
    """
    changed = await database.fetchval(
        """
        UPDATE users SET password_hash = $3, updated_at = $4 WHERE user_id = $1 AND password_hash = $2
        RETURNING user_id
        """,
        user_id,
        before,
        password_hash,
        now,
    )
    return changed is not None


async def set_profile(
    database: Database, user_id: UUID, username: str | None, email: str | None, checked: str | None, now: datetime
) -> bool | None:
    """A name or e-mail that is None stays. None when another user has it, or takes it at this moment; False when
    `checked`, by which an e-mail is changed, is not the password any more: whoever changed it has shut out the others.
    """
    try:
        changed = await database.fetchval(
            """
            UPDATE users SET username = coalesce($2, username), email = coalesce($3, email), updated_at = $5
            WHERE user_id = $1 AND password_hash = coalesce($4, password_hash) RETURNING user_id
            """,
            user_id,
            username,
            email,
            checked,
            now,
        )
    except asyncpg.UniqueViolationError:
        return None
    return changed is not None


async def lock(connection: Connection, *user_ids: UUID) -> dict[UUID, Row]:
    """Those of these users that there are, whom nobody else changes until this transaction ends."""
    rows = await connection.fetch(
        """
        SELECT user_id, role, active, told_may_trade, access_version FROM users
        WHERE user_id = ANY($1::uuid[]) ORDER BY user_id FOR UPDATE
        """,
        list(user_ids),
    )
    return {row["user_id"]: dict(row) for row in rows}


async def set_role(
    connection: Connection, user_id: UUID, role: Role, active: bool, version: int, now: datetime
) -> None:
    """`version` is the one under which the others are told whether he may trade."""
    await connection.execute(
        """
        UPDATE users SET role = $2, active = $3, told_may_trade = $4, access_version = $5, updated_at = $6
        WHERE user_id = $1
        """,
        user_id,
        role.value,
        active,
        may_trade(role, active),
        version,
        now,
    )


async def untold_access(connection: Connection) -> list[Row]:
    """Of whom nobody was told that they may trade, or not; now they count as told."""
    rows = await connection.fetch(
        """
        UPDATE users SET told_may_trade = NOT told_may_trade, access_version = access_version + 1
        WHERE (active AND role <> 'viewer') <> told_may_trade
        RETURNING user_id, told_may_trade AS may_trade, access_version AS version
        """
    )
    return [dict(row) for row in rows]


async def begin_session(
    database: Database, session_id: UUID, user: Row, token_hash: bytes, now: datetime, expires_at: datetime
) -> bool:
    """False when the user's password was changed since `user` was read, or he was shut out: who does either ends the
    sessions that there are, so none may begin beside it that stands on what was before.
    """
    begun = await database.fetchval(
        """
        INSERT INTO sessions (session_id, user_id, token_hash, created_at, rotated_at, expires_at)
        SELECT $1::uuid, user_id, $4::bytea, $5::timestamptz, $5, $6::timestamptz FROM users
        WHERE user_id = $2 AND password_hash = $3 AND active FOR SHARE
        RETURNING session_id
        """,
        session_id,
        user["user_id"],
        user["password_hash"],
        token_hash,
        now,
        expires_at,
    )
    return begun is not None


async def rotate_session(
    database: Database, session_id: UUID, old: bytes, new: bytes, now: datetime, expires_at: datetime
) -> Row | None:
    """Replace the refresh token if `old` is the newest of a living session of an active user."""
    row = await database.fetchrow(
        """
        UPDATE sessions s SET token_hash = $3, rotated_at = $4, expires_at = $5 FROM users u
        WHERE s.session_id = $1 AND s.token_hash = $2 AND s.revoked_at IS NULL AND s.expires_at > $4
            AND u.user_id = s.user_id AND u.active
        RETURNING u.user_id, u.role
        """,
        session_id,
        old,
        new,
        now,
        expires_at,
    )
    return dict(row) if row else None


async def revoke_session(database: Database, session_id: UUID, now: datetime) -> bool:
    """False when it had ended before."""
    ended = await database.fetchval(
        "UPDATE sessions SET revoked_at = $2 WHERE session_id = $1 AND revoked_at IS NULL RETURNING session_id",
        session_id,
        now,
    )
    return ended is not None


async def revoke_sessions(database: Database, user_id: UUID, now: datetime, but: UUID | None = None) -> list[UUID]:
    rows = await database.fetch(
        """
        UPDATE sessions SET revoked_at = $2
        WHERE user_id = $1 AND revoked_at IS NULL AND session_id IS DISTINCT FROM $3 RETURNING session_id
        """,
        user_id,
        now,
        but,
    )
    return [row[0] for row in rows]


async def session_user(database: Database, session_id: UUID, now: datetime) -> Row | None:
    """The user and role behind a living session."""
    row = await database.fetchrow(
        """
        SELECT u.user_id, u.role FROM sessions s JOIN users u USING (user_id)
        WHERE s.session_id = $1 AND s.revoked_at IS NULL AND s.expires_at > $2 AND u.active
        """,
        session_id,
        now,
    )
    return dict(row) if row else None


async def forget_sessions(database: Database, now: datetime) -> None:
    """Those that are over for good: their tokens are as unknown as if they had never been."""
    await database.execute("DELETE FROM sessions WHERE expires_at <= $1", now)


async def add_key(database: Database, key: Row) -> None:
    await database.execute(
        """
        INSERT INTO api_keys (key_id, user_id, name, prefix, key_hash, scopes, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,
        key["key_id"],
        key["user_id"],
        key["name"],
        key["prefix"],
        key["key_hash"],
        key["scopes"],
        key["created_at"],
    )


async def keys(database: Database, user_id: UUID) -> list[Row]:
    rows = await database.fetch(
        """
        SELECT key_id, name, prefix, scopes, created_at FROM api_keys
        WHERE user_id = $1 AND revoked_at IS NULL ORDER BY key_id
        """,
        user_id,
    )
    return [dict(row) for row in rows]


async def key_user(database: Database, key_hash: bytes) -> Row | None:
    """The key, the user and the role behind an API key."""
    row = await database.fetchrow(
        """
        SELECT k.key_id, k.scopes, u.user_id, u.role FROM api_keys k JOIN users u USING (user_id)
        WHERE k.key_hash = $1 AND k.revoked_at IS NULL AND u.active
        """,
        key_hash,
    )
    return dict(row) if row else None


async def living(database: Database, credentials: Sequence[UUID], now: datetime) -> dict[UUID, Role]:
    """Which of these sessions and API keys are good, with users that may come in, and what these are."""
    rows = await database.fetch(
        """
        SELECT session_id, u.role FROM sessions s JOIN users u USING (user_id)
        WHERE session_id = ANY($1::uuid[]) AND s.revoked_at IS NULL AND s.expires_at > $2 AND u.active
        UNION ALL
        SELECT key_id, u.role FROM api_keys k JOIN users u USING (user_id)
        WHERE key_id = ANY($1::uuid[]) AND k.revoked_at IS NULL AND u.active
        """,
        list(credentials),
        now,
    )
    return {row[0]: Role(row[1]) for row in rows}


async def revoke_key(database: Database, user_id: UUID, key_id: UUID, now: datetime) -> bool | None:
    """Whether it was good until now; None when the user never had such a key."""
    was_good: bool | None = await database.fetchval(
        """
        UPDATE api_keys k SET revoked_at = coalesce(k.revoked_at, $3)
        FROM (SELECT key_id, revoked_at FROM api_keys WHERE key_id = $2 AND user_id = $1 FOR UPDATE) before
        WHERE k.key_id = before.key_id RETURNING before.revoked_at IS NULL
        """,
        user_id,
        key_id,
        now,
    )
    return was_good


async def sessions(database: Database, user_id: UUID) -> list[UUID]:
    rows = await database.fetch("SELECT session_id FROM sessions WHERE user_id = $1 AND revoked_at IS NULL", user_id)
    return [row[0] for row in rows]
