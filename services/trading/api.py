"""The internal API: an account's broker credentials, written here, shown nowhere; and what its broker posts to us."""

import re
import secrets
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, IPvAnyAddress, SecretStr

from libs.common.contracts.enums import Broker
from libs.common.contracts.ids import AccountId
from libs.common.problems import Problem
from libs.common.settings import load
from libs.common.telemetry import log
from services.trading.adapters.zerodha.client import is_ours
from services.trading.adapters.zerodha.translate import is_postback
from services.trading.memory import TradingMemory
from services.trading.settings import TradingSettings
from services.trading.store import TradingStore
from services.trading.store.brokers.calls import BOOKS
from services.trading.store.brokers.credentials import Credentials, Sealed, Secrets, Vault, VaultLocked

if TYPE_CHECKING:
    from libs.common.runtime import Runtime


_VISIBLE = re.compile("[!-~]+")


def _visible(secret: SecretStr) -> SecretStr:
    if not _VISIBLE.fullmatch(secret.get_secret_value()):
        raise ValueError("a blank, a line's end or a character that nobody sees came along: copy it without")
    return secret


Key = Annotated[SecretStr, AfterValidator(_visible)]
"""Goes into a header. With anything else in it no call could leave, and each order would be of unknown outcome."""


class Body(BaseModel):
    """`user_id` is whom the gateway identified as the owner."""

    model_config = ConfigDict(extra="forbid")

    user_id: UUID
    api_key: Key = Field(min_length=1, max_length=200)
    access_token: Key = Field(min_length=1, max_length=2000)
    api_secret: Key | None = Field(default=None, min_length=1, max_length=200)
    source_address: IPvAnyAddress | None = None


def routes(runtime: "Runtime[TradingStore, TradingMemory]") -> APIRouter:
    token = runtime.settings.internal_token.encode()
    vault = Vault(load(TradingSettings).vault_secret.get_secret_value())

    def authenticated(x_internal_token: Annotated[str, Header()] = "") -> None:
        if not secrets.compare_digest(x_internal_token.encode(), token):
            raise Problem(401, "unauthenticated", "X-Internal-Token is missing or wrong")

    router = APIRouter(prefix="/internal", dependencies=[Depends(authenticated)])
    _take_credentials(router, runtime, vault)
    _take_postbacks(router, runtime, vault)
    return router


def _take_credentials(router: APIRouter, runtime: "Runtime[TradingStore, TradingMemory]", vault: Vault) -> None:
    @router.put("/accounts/{account_id}/credentials")
    async def set_credentials(account_id: UUID, body: Body) -> dict[str, object]:
        """Replace them. The answer tells how often they were set, and nothing of them."""
        ours = AccountId(account_id)
        source = str(body.source_address) if body.source_address else None
        if source is not None and not is_ours(source):
            detail = f"{source} is no address of the machine that trades: nothing could leave from it for your broker"
            raise Problem(422, "address_not_ours", detail, source_address=source)
        async with runtime.transaction(user_id=body.user_id) as work:
            await work.store.enter()
            account = await work.store.accounts.get(ours)
            if account is None or account.deleted or account.user_id != body.user_id:
                raise Problem(404, "not_found", f"there is no account {account_id}")
            if account.broker is Broker.PAPER:
                raise Problem(422, "invalid", "a paper account has no broker to log in to")
            found = Secrets(
                body.api_key.get_secret_value(),
                body.access_token.get_secret_value(),
                body.api_secret.get_secret_value() if body.api_secret else None,
                source,
            )
            sealed = vault.seal(ours, account.broker, found)
            version = await work.store.credentials.save(ours, account.broker, sealed, work.now)
        return {"account_id": account_id, "broker": account.broker, "version": version}


def _take_postbacks(router: APIRouter, runtime: "Runtime[TradingStore, TradingMemory]", vault: Vault) -> None:
    @router.post("/accounts/{account_id}/postback", status_code=204)
    async def postback(account_id: UUID, request: Request) -> Response:
        """The account's broker says that something happened to an order.

        Its word is only taken for a reason to look: the order book tells what happened. So a postback that comes
        twice, late, out of order or never changes nothing but how soon we know.
        """
        ours, body = AccountId(account_id), await request.body()
        async with runtime.pool.acquire(timeout=2) as connection:
            sealed = await Credentials(connection).get(ours, Broker.ZERODHA)
            secret = _api_secret(vault, ours, sealed) if sealed else None
            if secret is None or not is_postback(body, secret):
                log.warning("postback_refused", account_id=str(ours), has_secret=secret is not None)
                raise Problem(403, "forbidden", "this is no postback of the account's broker")
            await connection.execute("SELECT pg_notify($1::text, $2::text)", BOOKS, str(ours))
        return Response(status_code=204)


def _api_secret(vault: Vault, account_id: AccountId, sealed: Sealed) -> str | None:
    try:
        return vault.unseal(account_id, Broker.ZERODHA, sealed).api_secret
    except VaultLocked as error:
        log.error("vault_locked", account_id=str(account_id), error=str(error))
        return None
