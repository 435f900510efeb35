"""Signal groups: the receivers of alerts, and what to paste into TradingView."""

from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import Query, Request, Response

from libs.common.contracts.enums import SignalSource
from libs.common.contracts.ids import SignalGroupId
from libs.common.contracts.signals import (
    SignalGroup,
    SignalGroupDeleted,
    SignalGroupDeleteRequested,
    SignalGroupSaved,
    SignalGroupSaveRequested,
)
from libs.common.problems import PROBLEM_JSON
from libs.common.security import WebhookSecrets
from services.gateway.api import models
from services.gateway.api.edge import Edge, Json, Leaver, Reader, Router, TheEdge, Trader
from services.gateway.api.owned import Owned, expected, shown
from services.gateway.domain.roles import Identity, refusal_to_change
from services.gateway.store.entities import Kind
from services.gateway.store.rows import Row
from services.gateway.store.signals import decisions_about

router = Router(tags=["signals"])
_ANSWERS = {**models.PROBLEMS, **models.TAKEN}
_GROUPS = Owned(Kind.SIGNAL_GROUP, SignalGroupSaved, SignalGroupDeleted)
_Before = Annotated[UUID | None, Query(description="`next_cursor` of the page before")]
_Limit = Annotated[int, Query(ge=1, le=500)]
_Said = Annotated[str | None, Query(max_length=40)]


@router.get("/signals/", response_model=models.Listing[models.SignalGroupView], responses=models.PROBLEMS)
async def groups(identity: Reader, edge: TheEdge, user_id: UUID | None = None) -> Response:
    return await _GROUPS.of_user(edge, identity, user_id)


@router.post("/signals/", status_code=201, response_model=models.SignalGroupWithWebhook, responses=_ANSWERS)
async def create(body: models.SignalGroupBody, request: Request, identity: Trader, edge: TheEdge) -> Response:
    """The answer holds the webhook's URLs, its token and signing key, and the messages to paste."""

    async def run(request_id: UUID, again: bool) -> Response:
        group = SignalGroup(group_id=SignalGroupId(request_id), user_id=identity.user_id, **body.model_dump())
        return await _save(edge, identity, request_id, group, 0, again=again, status=201)

    return await edge.commands.once(request, identity, run, secret=True)


@router.get(
    "/signals/{signal_id}",
    response_model=models.SignalGroupWithWebhook | models.SignalGroupView,
    responses=models.PROBLEMS,
)
async def group(signal_id: UUID, identity: Reader, edge: TheEdge) -> Response:
    """The webhook's secrets are shown to its owner alone, and to nobody who may only look: with them he could trade."""
    row = await _GROUPS.visible(edge, identity, signal_id)
    if row["user_id"] != str(identity.user_id) or refusal_to_change(identity) is not None:
        return Json(row)
    return Json({**row, "webhook": _webhook(edge, SignalGroup.model_validate(row))})


@router.put("/signals/{signal_id}", response_model=models.SignalGroupWithWebhook, responses=_ANSWERS)
async def change(
    signal_id: UUID, body: models.SignalGroupChange, request: Request, identity: Trader, edge: TheEdge
) -> Response:
    fresh = body.model_dump(exclude_unset=True, exclude={"version"})
    return await _change(edge, identity, request, signal_id, fresh, body.version)


@router.delete("/signals/{signal_id}", status_code=204, responses=_ANSWERS)
async def delete(signal_id: UUID, request: Request, identity: Trader, edge: TheEdge) -> Response:
    wish = SignalGroupDeleteRequested(group_id=SignalGroupId(signal_id), user_id=identity.user_id)
    return await _GROUPS.delete(edge, identity, request, signal_id, wish)


@router.post("/signals/{signal_id}/activate", response_model=models.SignalGroupWithWebhook, responses=_ANSWERS)
async def activate(signal_id: UUID, request: Request, identity: Trader, edge: TheEdge) -> Response:
    return await _change(edge, identity, request, signal_id, {"active": True}, None)


@router.post("/signals/{signal_id}/deactivate", response_model=models.SignalGroupWithWebhook, responses=_ANSWERS)
async def deactivate(signal_id: UUID, request: Request, identity: Leaver, edge: TheEdge) -> Response:
    """Alerts are refused until it is active again."""
    return await _change(edge, identity, request, signal_id, {"active": False}, None)


@router.post("/signals/{signal_id}/rotate", response_model=models.SignalGroupWithWebhook, responses=_ANSWERS)
async def rotate(signal_id: UUID, request: Request, identity: Trader, edge: TheEdge) -> Response:
    """New URL, token and signing key; the old ones stop working."""

    async def run(request_id: UUID, again: bool) -> Response:
        stored = await _GROUPS.own(edge, identity, signal_id)
        group = SignalGroup.model_validate({**stored, "rotation": stored["rotation"] + 1})
        return await _save(edge, identity, request_id, group, stored["version"], again=again)

    return await edge.commands.once(request, identity, run, secret=True)


@router.get("/signals/{signal_id}/logs", responses=models.PROBLEMS)
async def group_logs(
    signal_id: UUID, identity: Reader, edge: TheEdge, limit: _Limit = 100, cursor: _Before = None
) -> Response:
    """Every alert that arrived, what became of it, and what your algos decided about it, the newest first."""
    row = await _GROUPS.visible(edge, identity, signal_id)
    return await _logs(edge, UUID(row["user_id"]), signal_id, limit, cursor)


@router.get("/webhooks/logs/", responses=models.PROBLEMS)
async def logs(
    identity: Reader,
    edge: TheEdge,
    user_id: UUID | None = None,
    group_id: UUID | None = None,
    limit: _Limit = 100,
    cursor: _Before = None,
) -> Response:
    """The same over all your groups."""
    return await _logs(edge, edge.whose(identity, user_id), group_id, limit, cursor)


@router.post("/webhooks/{signal_id}/test", response_model=models.WebhookTrial, responses=models.PROBLEMS)
async def try_out(
    signal_id: UUID, request: Request, identity: Trader, edge: TheEdge, action: _Said = None, signal_type: _Said = None
) -> Response:
    """What would become of the alert in the body if it came now, by a URL that says its `action` or `signal_type` where
    that does not. Nothing is kept, counted or traded.
    """
    await _GROUPS.own(edge, identity, signal_id)
    path, body = f"/internal/webhooks/{signal_id}/test", await request.body()
    wanted = {"user_id": identity.user_id, "action": action, "signal_type": signal_type}
    status, content = await edge.internal.post("signals", path, body, wanted)
    media = "application/json" if status == 200 else PROBLEM_JSON
    return Response(content, status, media_type=media)


async def _logs(edge: Edge, user_id: UUID, group_id: UUID | None, limit: int, before: UUID | None) -> Response:
    wanted = {"user_id": user_id, "group_id": group_id, "before": before, "limit": limit}
    status, content = await edge.internal.get("signals", "/internal/webhooks/logs", wanted)
    if status >= 400:
        return Response(content, status, media_type="application/problem+json")
    found = orjson.loads(content)
    became = {UUID(arrival["signal_id"]) for arrival in found["logs"] if arrival["signal_id"]}
    decided = await decisions_about(edge.runtime.pool, user_id, became) if became else {}
    told = [
        {**arrival, "decisions": decided.get(UUID(arrival["signal_id"]), []) if arrival["signal_id"] else []}
        for arrival in found["logs"]
    ]
    return Json({"data": told, "next_cursor": found["next_before"]})


async def _change(
    edge: Edge, identity: Identity, request: Request, group_id: UUID, fresh: dict[str, Any], version: int | None
) -> Response:
    kept = {name: value for name, value in fresh.items() if value is not None or name == "expiry_date"}

    async def run(request_id: UUID, again: bool) -> Response:
        stored = await _GROUPS.own(edge, identity, group_id)
        group = SignalGroup.model_validate({**stored, **kept})
        return await _save(edge, identity, request_id, group, expected(version, stored), again=again)

    return await edge.commands.once(request, identity, run, secret=True)


async def _save(
    edge: Edge,
    identity: Identity,
    request_id: UUID,
    group: SignalGroup,
    expected: int,
    *,
    again: bool,
    status: int = 200,
) -> Response:
    wish = SignalGroupSaveRequested(
        group_id=group.group_id, user_id=identity.user_id, group=group, expected_version=expected
    )

    def show(done: SignalGroupSaved) -> Row:
        return {**shown(done.group, done.version), "webhook": _webhook(edge, done.group)}

    return await _GROUPS.save(edge, identity, request_id, wish, show, again=again, status=status)


def _webhook(edge: Edge, group: SignalGroup) -> dict[str, object]:
    secrets = WebhookSecrets(edge.settings.webhook_secret)
    base = edge.settings.signals_public_url.rstrip("/") + "/api/v2/webhooks"
    token = secrets.token(group.group_id, group.rotation)
    return {
        "webhook_url": f"{base}/custom/{secrets.url_id(group.group_id, group.rotation)}",
        "tradingview_url": f"{base}/tradingview?token={token}",
        "token": token,
        "signing_key": secrets.signing_key(group.group_id, group.rotation).decode(),
        "payloads": {kind: _payload(group, kind) for kind in ("entry", "exit")},
    }


def _payload(group: SignalGroup, kind: str) -> dict[str, object]:
    """The alert message to paste; TradingView fills in what stands in braces."""
    tradingview = group.source is SignalSource.TRADINGVIEW
    return {
        "strategy_id": str(group.group_id),
        "signal_type": kind,
        "symbol": "{{ticker}}" if tradingview else "NIFTY",
        "exchange": "{{exchange}}" if tradingview else None,
        "action": "buy" if kind == "entry" else "sell",
        "price": "market",
        "timestamp": "{{timenow}}" if tradingview else None,
        "alert_name": f"{group.name} {kind}",
    }
