"""The public API: what a client may ask. Routes read projections or send one request; they decide nothing."""

from fastapi import APIRouter
from starlette.types import ASGIApp

from libs.common.settings import load
from services.gateway.api import (
    accounts,
    admin,
    algos,
    auth,
    books,
    contracts,
    corporate_actions,
    credentials,
    custom_symbols,
    history,
    market,
    orders,
    positions,
    risk,
    settling,
    signals,
    stream,
    system,
)
from services.gateway.api.edge import Edge, GatewayRuntime
from services.gateway.api.entrance import Entrance
from services.gateway.settings import GatewaySettings

_PARTS = (
    orders,
    settling,
    positions,
    books,
    accounts,
    credentials,
    market,
    contracts,
    custom_symbols,
    corporate_actions,
    history,
    signals,
    algos,
    risk,
    auth,
    admin,
    system,
    stream,
)


def routes(runtime: GatewayRuntime) -> APIRouter:
    """Orders come first: the road that has to be fast is the first that is looked at."""
    router = APIRouter()
    for part in _PARTS:
        router.routes.extend(part.router.routes)
    return router


def entrance(runtime: GatewayRuntime, app: ASGIApp) -> ASGIApp:
    runtime.memory.edge = edge = Edge(runtime, load(GatewaySettings))
    return Entrance(app, edge, {orders.PLACE: orders.refuses_to_place})
