"""Users, for admins."""

from dataclasses import replace
from typing import Annotated
from uuid import UUID

from fastapi import Query, Response

from libs.common.contracts.users import UserAccessChanged
from libs.common.problems import Problem
from libs.common.telemetry import log
from services.gateway.api import models
from services.gateway.api.edge import Admin, Json, Person, Router, TheEdge
from services.gateway.domain.roles import Identity, Role, may_trade, refusal_of_role_change
from services.gateway.store import people
from services.gateway.store.rows import Row

router = Router(prefix="/admin", tags=["admin"])


@router.get("/users/", response_model=models.Page[models.Profile], responses=models.PROBLEMS)
async def users(
    _: Admin,
    edge: TheEdge,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    cursor: UUID | None = None,
) -> Response:
    rows = await people.users(edge.runtime.pool, limit + 1, cursor)
    following = rows[limit - 1]["user_id"] if len(rows) > limit else None
    return Json({"data": rows[:limit], "next_cursor": following})


@router.get("/users/{user_id}", response_model=models.Profile, responses=models.PROBLEMS)
async def user(user_id: UUID, _: Admin, edge: TheEdge) -> Response:
    row = await people.user(edge.runtime.pool, user_id)
    if row is None:
        raise Problem(404, "not_found", f"there is no user {user_id}")
    return Json(row)


@router.put("/users/{user_id}", response_model=models.Profile, responses=models.PROBLEMS)
async def change_user(user_id: UUID, body: models.UserChange, identity: Admin, _: Person, edge: TheEdge) -> Response:
    """Change a user's role, or shut him out: `active` false ends his sessions. Webhooks and algos of a viewer, or of
    who is shut out, open nothing more; what he holds stays, with its limits, until an admin closes it by a panic of his
    account. Not with an API key, whose holder would make an admin of himself.
    """
    pool = edge.runtime.pool
    async with edge.runtime.transaction(user_id=user_id) as unit:
        connection = unit.store.connection
        # Whoever asks is locked, too: of two super admins who unmake each other at once the second is none any more.
        found = await people.lock(connection, identity.user_id, user_id)
        row, actor = found.get(user_id), _now(identity, found[identity.user_id])
        if row is None:
            raise Problem(404, "not_found", f"there is no user {user_id}")
        role = body.role or Role(row["role"])
        active = row["active"] if body.active is None else body.active
        if (refusal := refusal_of_role_change(actor, row["user_id"], Role(row["role"]), role)) is not None:
            raise Problem(403, "forbidden", refusal)
        is_news = may_trade(role, active) != row["told_may_trade"]
        version = row["access_version"] + is_news
        await people.set_role(connection, user_id, role, active, version, unit.now)
        if is_news:
            unit.say(UserAccessChanged(user_id=row["user_id"], may_trade=may_trade(role, active), version=version))
        if active:
            sessions = await people.sessions(connection, user_id)
        else:
            sessions = await people.revoke_sessions(connection, user_id, unit.now)
    await edge.memory.cache.drop(*(f"session:{session_id}" for session_id in sessions))
    edge.forget_identities()
    log.info("user_changed", user_id=str(user_id), by=str(identity.user_id), role=role.value, active=active)
    return Json(await people.user(pool, user_id))


def _now(identity: Identity, row: Row) -> Identity:
    """Somebody by what he is at this moment."""
    if not row["active"]:
        raise Problem(401, "unauthenticated", "this session has ended; log in again")
    return replace(identity, role=Role(row["role"]))
