"""The public webhooks, and the log of arrivals for the gateway."""

from typing import TYPE_CHECKING

from fastapi import APIRouter

from services.signals.api import arrivals, webhooks
from services.signals.memory import SignalsMemory
from services.signals.store import SignalsStore

if TYPE_CHECKING:
    from libs.common.runtime import Runtime


def routes(runtime: "Runtime[SignalsStore, SignalsMemory]") -> APIRouter:
    router = APIRouter()
    router.include_router(webhooks.routes(runtime))
    router.include_router(arrivals.routes(runtime))
    return router
