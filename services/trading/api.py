"""The internal API: an account's broker credentials. Written here, shown nowhere."""

import secrets
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from libs.common.contracts.enums import Broker
from libs.common.contracts.ids import AccountId
from libs.common.problems import Problem
from libs.common.service import Memory
from libs.common.settings import load
from services.trading.settings import TradingSettings
from services.trading.store import TradingStore
from services.trading.store.brokers.credentials import Secrets, Vault

if TYPE_CHECKING:
    from libs.common.runtime import Runtime


class Body(BaseModel):
    """`user_id` is whom the gateway identified as the owner."""

    model_config = ConfigDict(extra="forbid")

    user_id: UUID
    api_key: SecretStr = Field(min_length=1, max_length=200)
    access_token: SecretStr = Field(min_length=1, max_length=2000)


def routes(runtime: "Runtime[TradingStore, Memory]") -> APIRouter:
    token = runtime.settings.internal_token.encode()
    vault = Vault(load(TradingSettings).vault_secret.get_secret_value())

    def authenticated(x_internal_token: Annotated[str, Header()] = "") -> None:
        if not secrets.compare_digest(x_internal_token.encode(), token):
            raise Problem(401, "unauthenticated", "X-Internal-Token is missing or wrong")

    router = APIRouter(prefix="/internal", dependencies=[Depends(authenticated)])

    @router.put("/accounts/{account_id}/credentials")
    async def set_credentials(account_id: UUID, body: Body) -> dict[str, object]:
        """Replace them. The answer tells how often they were set, and nothing of them."""
        ours = AccountId(account_id)
        async with runtime.transaction(user_id=body.user_id) as work:
            await work.store.enter()
            account = await work.store.accounts.get(ours)
            if account is None or account.deleted or account.user_id != body.user_id:
                raise Problem(404, "not_found", f"there is no account {account_id}")
            if account.broker is Broker.PAPER:
                raise Problem(422, "invalid", "a paper account has no broker to log in to")
            found = Secrets(body.api_key.get_secret_value(), body.access_token.get_secret_value())
            sealed = vault.seal(ours, account.broker, found)
            version = await work.store.credentials.save(ours, account.broker, sealed, work.now)
        return {"account_id": account_id, "broker": account.broker, "version": version}

    return router
