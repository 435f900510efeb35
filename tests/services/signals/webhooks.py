"""How a sender reaches a webhook, and what became of it: for the tests of signals."""

import os
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from libs.common.contracts.signals import SignalGroup
from libs.common.security import WebhookSecrets

SECRET = os.environ.setdefault("SIGNALS_WEBHOOK_SECRET", "a secret for tests alone")
SECRETS = WebhookSecrets(SECRET)
"""What webhook addresses derive from, as the service under test is told it."""

TRADINGVIEW = "/api/v2/webhooks/tradingview"


Make = Callable[..., Awaitable[SignalGroup]]


def token(group: SignalGroup) -> str:
    return SECRETS.token(group.group_id, group.rotation)


def custom(group: SignalGroup) -> str:
    return f"/api/v2/webhooks/custom/{SECRETS.url_id(group.group_id, group.rotation)}"


def alert(group: SignalGroup, **fields: object) -> dict[str, object]:
    return {"strategy_id": str(group.group_id), "token": token(group), "action": "buy", "symbol": "NIFTY", **fields}


async def logged(client: httpx.AsyncClient, group: SignalGroup, limit: int = 100) -> list[dict[str, Any]]:
    answer = await client.get(
        "/internal/webhooks/logs",
        params={"user_id": str(group.user_id), "limit": limit},
        headers={"X-Internal-Token": os.environ["INTERNAL_TOKEN"]},
    )
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["logs"]
    return rows


async def the_fate(client: httpx.AsyncClient, group: SignalGroup) -> tuple[str, str]:
    [row] = await logged(client, group)
    return row["fate"], row["reason"]


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["code"] == code
    assert body["detail"]
    return body
