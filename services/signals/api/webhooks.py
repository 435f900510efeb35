"""POST an alert. What came of it is told by the status; every answer but 202 and 200 is a problem with a reason."""

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Header, Query, Request, Response

from libs.common.clock import stopwatch
from libs.common.contracts.ids import SignalGroupId
from libs.common.problems import Problem
from services.signals.api.bodies import read_body
from services.signals.api.judging import said_in_url
from services.signals.api.reception import Call, receive
from services.signals.domain import alerts, payloads
from services.signals.domain.fates import Accepted, Duplicate, Fate, Outcome, Refusal
from services.signals.memory import SignalsMemory
from services.signals.store import SignalsStore

if TYPE_CHECKING:
    from libs.common.runtime import Runtime

STATUS = {
    Fate.UNAUTHORIZED: 401,
    Fate.MAY_NOT_TRADE: 403,
    Fate.DISABLED: 403,
    Fate.EXPIRED: 410,
    Fate.RATE_LIMITED: 429,
    Fate.OVERSIZED: 413,
    Fate.REQUEST_TIMEOUT: 408,
    Fate.MALFORMED: 400,
    Fate.INVALID: 422,
    Fate.STALE: 422,
    Fate.MARKET_CLOSED: 403,
    Fate.DAILY_LIMIT: 429,
}
"""ACCEPTED is 202 and DUPLICATE 200: a sender that repeats itself did nothing wrong."""
Said = Annotated[str | None, Query(max_length=40, description="where the body does not say it, as ChartInk's does not")]
_UNREAD = (Fate.OVERSIZED, Fate.REQUEST_TIMEOUT)
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Taken before", "content": {"application/json": {"schema": {}}}},
    **{
        status: {"description": ", ".join(f"`{fate.value.lower()}`" for fate in STATUS if STATUS[fate] == status)}
        for status in sorted(set(STATUS.values()))
    },
}


def routes(runtime: "Runtime[SignalsStore, SignalsMemory]") -> APIRouter:
    router = APIRouter(prefix="/api/v2/webhooks", tags=["webhooks"])
    settings = runtime.memory.settings

    @router.post(
        "/tradingview",
        status_code=202,
        summary="An alert for the signal group named by its `strategy_id`",
        responses=_ANSWERS,
    )
    async def tradingview(
        request: Request,
        token: Annotated[str | None, Query(max_length=200)] = None,
        strategy_id: Annotated[UUID | None, Query()] = None,
        action: Said = None,
        signal_type: Said = None,
    ) -> Response:
        began = stopwatch()
        body = await read_body(request, settings)
        if isinstance(body, Refusal) and token is None:
            raise _problem(body)  # the token may stand in what was not read
        payload = body if isinstance(body, Refusal) else payloads.decode(body)
        named = _named_group(strategy_id, payload)
        in_body = alerts.read_token(payload) if isinstance(payload, dict) else None
        said = said_in_url(action, signal_type)
        call = Call(named, body, payload, _source(request), began, said, token=token or in_body or "")
        return _answer(await receive(runtime, call))

    @router.post(
        "/custom/{webhook_id}",
        status_code=202,
        summary="An alert for the signal group that owns this URL",
        responses=_ANSWERS,
    )
    async def custom(
        request: Request,
        webhook_id: str,
        x_signature: Annotated[str | None, Header()] = None,
        action: Said = None,
        signal_type: Said = None,
    ) -> Response:
        began = stopwatch()
        body = await read_body(request, settings)
        group_id = runtime.memory.secrets.parse(webhook_id)
        if group_id is None:
            raise _unknown()
        payload = body if isinstance(body, Refusal) else payloads.decode(body)
        said = said_in_url(action, signal_type)
        call = Call(group_id, body, payload, _source(request), began, said, url_id=webhook_id, signature=x_signature)
        return _answer(await receive(runtime, call))

    return router


def _named_group(strategy_id: UUID | None, payload: payloads.Payload | payloads.Malformed | Refusal) -> SignalGroupId:
    """Without a URL of its own the webhook is known by the body, or by `strategy_id` in the query."""
    if strategy_id is not None:
        return SignalGroupId(strategy_id)
    match payload:
        case Refusal():
            raise _problem(payload)
        case payloads.Malformed(problem):
            raise Problem(400, "malformed", problem)
        case _:
            named = alerts.read_group_id(payload)
    if isinstance(named, alerts.Invalid):
        raise Problem(422, "invalid", f"{named.field}: {named.problem}", field=named.field)
    return named


def _answer(outcome: Outcome | None) -> Response:
    match outcome:
        case None:
            raise _unknown()
        case Accepted(signal):
            return _json({"status": "accepted", "signal_id": signal.signal_id}, 202)
        case Duplicate(signal_id):
            return _json({"status": "duplicate", "signal_id": signal_id}, 200)
        case Refusal():
            raise _problem(outcome)


def _problem(refusal: Refusal) -> Problem:
    headers = {} if refusal.retry_after_s is None else {"Retry-After": str(refusal.retry_after_s)}
    if refusal.fate in _UNREAD:
        headers["Connection"] = "close"
    extra = {"field": refusal.field} if refusal.field else {}
    return Problem(STATUS[refusal.fate], refusal.fate.value.lower(), refusal.reason, headers=headers, **extra)


def _json(content: dict[str, object], status: int) -> Response:
    return Response(orjson.dumps(content, default=str), status, media_type="application/json")


def _unknown() -> Problem:
    """The same words whether there is no such group or its secret is wrong."""
    return Problem(401, "unauthorized", "there is no such webhook, or its token is wrong")


def _source(request: Request) -> str:
    return request.client.host if request.client else ""
