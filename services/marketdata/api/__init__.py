"""The internal API: price history, and how the feed is. For other services only, by the platform's internal token."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from fastapi import APIRouter, Depends

from services.marketdata.api import additions, chain, contracts, history
from services.marketdata.api.access import internal_only
from services.marketdata.memory import MarketMemory
from services.marketdata.store import ContractStore

if TYPE_CHECKING:
    from libs.common.runtime import Runtime


def routes(runtime: "Runtime[ContractStore, MarketMemory]") -> APIRouter:
    memory = runtime.memory
    router = APIRouter(prefix="/internal", dependencies=[Depends(internal_only(runtime.settings.internal_token))])
    router.include_router(history.routes(runtime))
    router.include_router(additions.routes(runtime))
    router.include_router(chain.routes(runtime))
    router.include_router(contracts.routes(runtime))

    @router.get("/status")
    async def status() -> dict[str, object]:
        """Whether this instance leads or stands by; the feed, its source label, how fast it ticks, how old the last
        tick is, and what waits for QuestDB. What is counted, this instance has counted.
        """
        known = {"role": runtime.lead.role.value, **asdict(memory.status)}
        last = memory.status.last_tick_at
        now = runtime.clock.now()
        age = (now - last).total_seconds() if last else None
        return {**known, "last_tick_age_s": age, "writing": memory.writing.shown(), **memory.calendar.status(now)}

    return router
