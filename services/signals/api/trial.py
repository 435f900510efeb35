"""What would become of an alert, asked by the gateway for the group's owner: nothing is kept, counted or passed on."""

import hmac
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Request

from libs.common.contracts.ids import SignalGroupId, SignalId
from libs.common.contracts.signals import SignalReceived
from libs.common.ids import new_id
from libs.common.problems import Problem
from libs.common.trading_calendar import IST
from services.signals.api.bodies import read_body
from services.signals.api.judging import judge, said_in_url, understand, whole
from services.signals.domain import fates, payloads
from services.signals.domain.fates import Accepted, Outcome, Refusal
from services.signals.memory import SignalsMemory
from services.signals.store import SignalsStore

if TYPE_CHECKING:
    from libs.common.runtime import Runtime


def routes(runtime: "Runtime[SignalsStore, SignalsMemory]") -> APIRouter:
    router = APIRouter()
    settings = runtime.memory.settings

    @router.post("/internal/webhooks/{group_id}/test", summary="What would become of this alert now")
    async def test(
        group_id: UUID,
        user_id: UUID,
        request: Request,
        action: str | None = None,
        signal_type: str | None = None,
        x_internal_token: Annotated[str, Header()] = "",
    ) -> dict[str, object]:
        if not hmac.compare_digest(x_internal_token.encode(), runtime.settings.internal_token.encode()):
            raise Problem(401, "unauthorized", "X-Internal-Token is missing or wrong")
        body = await read_body(request, settings)
        said = said_in_url(action, signal_type)
        return _told(await _outcome(runtime, SignalGroupId(group_id), user_id, body, said))

    return router


async def _outcome(
    runtime: "Runtime[SignalsStore, SignalsMemory]",
    group_id: SignalGroupId,
    user_id: UUID,
    body: bytes | Refusal,
    said: Mapping[str, str],
) -> Outcome:
    """What a real alert would hear in the same order, less the credential, the signature and the rate."""
    memory, at = runtime.memory, runtime.clock.now()
    async with runtime.pool.acquire(timeout=2) as connection:
        store = SignalsStore(connection)
        receiver = await store.find(group_id)
        if receiver is None or receiver.group.user_id != user_id:
            raise Problem(404, "not_found", f"there is no signal group {group_id}")
        refusal = fates.admit(receiver, at.astimezone(IST).date())
        if refusal:
            return refusal
        if isinstance(body, Refusal):
            return body
        payload = whole(payloads.decode(body), said)
        if isinstance(payload, Refusal):
            return payload
        alert = understand(payload, memory.settings, at)
        if isinstance(alert, Refusal):
            return alert
        content_hash = payloads.fingerprint(body, payload)
        signal_id = SignalId(new_id())
        return await judge(store, memory, receiver, alert, content_hash=content_hash, signal_id=signal_id, at=at)


def _told(outcome: Outcome) -> dict[str, object]:
    fate, reason, _ = fates.told(outcome)
    understood = None
    if isinstance(outcome, Accepted):
        names = set(SignalReceived.model_fields) - {"signal_id", "group_id", "user_id", "received_at"}
        understood = outcome.signal.model_dump(mode="json", include=names)
    field = outcome.field if isinstance(outcome, Refusal) else None
    return {"fate": fate, "reason": reason, "field": field, "signal": understood}
