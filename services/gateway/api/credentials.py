"""What an account's broker knows it by: handed to trading's vault, and never shown again."""

from uuid import UUID

import orjson
from fastapi import Response
from pydantic import BaseModel, Field, SecretStr

from libs.common.problems import PROBLEM_JSON, Problem
from services.gateway.api import models
from services.gateway.api.edge import Router, TheEdge, Trader
from services.gateway.api.models.common import Body

router = Router(prefix="/accounts", tags=["accounts"])


class CredentialsBody(Body):
    """Zerodha: the app's `api_key`, and the day's `access_token`, which ends at about 6:00 IST."""

    api_key: SecretStr = Field(min_length=1, max_length=200)
    access_token: SecretStr = Field(min_length=1, max_length=2000)


class CredentialsSet(BaseModel):
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
    }
    path = f"/internal/accounts/{account_id}/credentials"
    status, answer = await edge.internal.put("trading", path, orjson.dumps(content))
    media = "application/json" if status == 200 else PROBLEM_JSON
    return Response(answer, status, media_type=media)
