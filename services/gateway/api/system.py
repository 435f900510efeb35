"""How the platform is, as far as the gateway knows; and what became of a request."""

import asyncio
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from uuid import UUID

import orjson
from fastapi import Response
from prometheus_client import REGISTRY

from libs.common import ids
from libs.common.contracts.ids import UserId
from services.gateway.api import models
from services.gateway.api.edge import Edge, Json, Reader, Router, TheEdge, no_such
from services.gateway.domain import idempotency
from services.gateway.domain.roles import may_see

router = Router(prefix="/system", tags=["system"])
_DEGRADED: dict[int | str, dict[str, Any]] = {
    503: {"description": "A part that it needs is away", "content": {"application/json": {"schema": {}}}}
}


@router.get("/health", responses=_DEGRADED)
async def health(edge: TheEdge) -> Response:
    """Whether the gateway can do its work, as of the last second; 503 when not. Redis may be away: it only makes things
    faster.
    """
    parts = await _parts(edge)
    good = parts["postgres"] and parts["kafka"] and parts["consumer"]
    return Json({"status": "ok" if good else "degraded", "parts": parts}, 200 if good else 503)


@router.get("/status", responses=models.PROBLEMS)
async def status(_: Reader, edge: TheEdge) -> Response:
    """The parts, how far the projections lag, the feed (its label, how old its newest price is), and to which day the
    holidays of the exchanges are known.
    """
    quotes, now = edge.memory.quotes, edge.runtime.clock.now()
    return Json(
        {
            "parts": await _parts(edge),
            "consumer_lag": _lag(),
            "feed": quotes.feed(now),
            "calendar": edge.memory.calendar.status(now),
            "stream_clients": len(edge.memory.hub),
            "admission": {
                "orders_under_way": edge.memory.admission.under_way,
                "limit": int(edge.memory.admission.limit),
                "refused": edge.memory.admission.refused,
            },
            "instances": "one" if edge.memory.siblings.alone else "several",
        }
    )


@router.get("/version")
async def version_of() -> Response:
    try:
        number = version("openalgo-enhanced")
    except PackageNotFoundError:
        number = "0.1.0"
    return Json({"name": "openalgo-enhanced", "version": number, "api": "v2"})


@router.get("/requests/{request_id}", responses=models.PROBLEMS)
async def request_outcome(request_id: UUID, identity: Reader, edge: TheEdge) -> Response:
    """What became of a request that was answered with 202: the event that ended it, for a day. 404 for one that was
    asked for longer ago, or cannot have been, and of which no end is known.
    """
    found = await edge.memory.endings.at(request_id)
    if found is None:
        asked_at, now = ids.unix_time(request_id), edge.runtime.clock.now()
        if request_id.version != 7 or not idempotency.may_be_under_way(asked_at, now):
            raise no_such("request", request_id)
        return Json({"id": request_id, "status": "PENDING"})
    event = orjson.loads(found[1])
    if (owner := event.get("user_id")) is not None and not may_see(identity, UserId(UUID(owner))):
        raise no_such("request", request_id)
    return Json({"id": request_id, "status": "ENDED", "type": found[0], "event": event})


async def _parts(edge: Edge) -> dict[str, bool]:
    servers, ready = await edge.servers.take(lambda: _servers(edge)), edge.runtime.ready
    return {**servers, "consumer": ready.get("consumer", True), "streams": ready.get("streams", True)}


async def _servers(edge: Edge) -> dict[str, bool]:
    needed, redis = await asyncio.gather(edge.runtime.servers(), edge.memory.cache.answers())
    return {**needed, "redis": redis}


def _lag() -> dict[str, float]:
    """Messages behind the end, by topic."""
    found: dict[str, float] = {}
    for metric in REGISTRY.collect():
        if metric.name == "consumer_lag_messages":
            for sample in metric.samples:
                topic = sample.labels["topic"]
                found[topic] = found.get(topic, 0) + sample.value
    return found
