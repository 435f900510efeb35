"""What an account's broker knows it by, handed to trading's vault and never shown again; and what the broker posts."""

from uuid import UUID

import orjson
from fastapi import Request, Response
from pydantic import Field, IPvAnyAddress, SecretStr

from libs.common.problems import PROBLEM_JSON, Problem, unavailable
from services.gateway.api import models
from services.gateway.api.edge import Router, TheEdge, Trader
from services.gateway.api.models.common import Answer, Body

router = Router(prefix="/accounts", tags=["accounts"])
MAX_POSTBACK = 16_384


class CredentialsBody(Body):
    """Zerodha: the app's `api_key`, and the day's `access_token`, which ends at about 6:00 IST.

    With the app's `api_secret` its postbacks are taken, sent to `/api/v2/accounts/{account_id}/postback`. With a
    `source_address`, the one that the broker knows the account by, what is asked for the account leaves from there or
    not at all; it must be an address of the machine that trades.
    """

    api_key: SecretStr = Field(min_length=1, max_length=200)
    access_token: SecretStr = Field(min_length=1, max_length=2000)
    api_secret: SecretStr | None = Field(default=None, min_length=1, max_length=200)
    source_address: IPvAnyAddress | None = None


class CredentialsSet(Answer):
    """`version` counts how often they were set."""

    account_id: UUID
    broker: str
    version: int


@router.put("/{account_id}/credentials", response_model=CredentialsSet, responses=models.PROBLEMS)
async def set_credentials(account_id: UUID, body: CredentialsBody, identity: Trader, edge: TheEdge) -> Response:
    """Replace the account's broker credentials. Only its owner can, and not with an API key."""
    if identity.by_key:
        raise Problem(403, "forbidden", "broker credentials are set by a person who logged in, not with an API key")
    await edge.own_account(identity, account_id)
    content = {
        "user_id": str(identity.user_id),
        "api_key": body.api_key.get_secret_value(),
        "access_token": body.access_token.get_secret_value(),
        **({"api_secret": body.api_secret.get_secret_value()} if body.api_secret else {}),
        **({"source_address": str(body.source_address)} if body.source_address else {}),
    }
    path = f"/internal/accounts/{account_id}/credentials"
    status, answer = await edge.internal.put("trading", path, orjson.dumps(content))
    media = "application/json" if status == 200 else PROBLEM_JSON
    return Response(answer, status, media_type=media)


@router.post("/{account_id}/postback", status_code=204, responses=models.PROBLEMS)
async def postback(account_id: UUID, request: Request, edge: TheEdge) -> Response:
    """For the broker: something happened to an order of the account. Signed, so nobody logs in for it."""
    body = await request.body()
    if not 0 < len(body) <= MAX_POSTBACK:
        raise Problem(413 if body else 400, "invalid", f"a postback has 1 to {MAX_POSTBACK} bytes")
    if edge.postbacks.locked():
        raise unavailable("too many postbacks are being passed on at once")
    async with edge.postbacks:
        status, answer = await edge.internal.post("trading", f"/internal/accounts/{account_id}/postback", body)
    return Response(answer, status, media_type=PROBLEM_JSON) if status >= 400 else Response(status_code=204)
