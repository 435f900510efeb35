"""The public API: what a client may ask. Routes read projections or send one request; they decide nothing."""

from fastapi import APIRouter, Depends

from libs.common.settings import load
from services.gateway.api import (
    accounts,
    admin,
    algos,
    auth,
    books,
    market,
    orders,
    positions,
    risk,
    signals,
    stream,
    system,
)
from services.gateway.api.edge import Edge, GatewayRuntime
from services.gateway.settings import GatewaySettings

_PARTS = (orders, positions, books, accounts, market, signals, algos, risk, auth, admin, system)


def routes(runtime: GatewayRuntime) -> APIRouter:
    """Orders come first: the road that has to be fast is the first that is looked at."""
    edge = Edge(runtime, load(GatewaySettings))
    router = APIRouter(prefix="/api/v2", dependencies=[Depends(edge.enter)])
    for part in _PARTS:
        router.include_router(part.router)
    router.include_router(stream.router)
    return router
