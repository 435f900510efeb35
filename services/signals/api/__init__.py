"""The public webhooks; for the gateway the log of arrivals, and what would become of an alert."""

from typing import TYPE_CHECKING

from fastapi import APIRouter

from services.signals.api import arrivals, trial, webhooks
from services.signals.memory import SignalsMemory
from services.signals.store import SignalsStore

if TYPE_CHECKING:
    from libs.common.runtime import Runtime


def routes(runtime: "Runtime[SignalsStore, SignalsMemory]") -> APIRouter:
    router = APIRouter()
    for part in (webhooks, arrivals, trial):
        router.routes.extend(part.routes(runtime).routes)
    return router
