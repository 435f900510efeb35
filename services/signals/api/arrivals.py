"""The log of arrivals, asked for by the gateway on behalf of a signed-in user."""

import hmac
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query

from libs.common.contracts.ids import SignalGroupId, UserId
from libs.common.problems import Problem
from services.signals.memory import SignalsMemory
from services.signals.store import SignalsStore

if TYPE_CHECKING:
    from libs.common.runtime import Runtime


def routes(runtime: "Runtime[SignalsStore, SignalsMemory]") -> APIRouter:
    router = APIRouter()

    @router.get("/internal/webhooks/logs", summary="Arrivals, newest first; `next_before` continues the list")
    async def logs(
        user_id: UUID,
        group_id: UUID | None = None,
        before: UUID | None = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        x_internal_token: Annotated[str, Header()] = "",
    ) -> dict[str, object]:
        if not hmac.compare_digest(x_internal_token.encode(), runtime.settings.internal_token.encode()):
            raise Problem(401, "unauthorized", "X-Internal-Token is missing or wrong")
        async with runtime.pool.acquire(timeout=2) as connection:
            page = await SignalsStore(connection).arrivals(
                UserId(user_id), SignalGroupId(group_id) if group_id else None, before, limit
            )
        return {"logs": page, "next_before": page[-1]["id"] if len(page) == limit else None}

    return router
