"""Trading accounts."""

from typing import Any
from uuid import UUID

from fastapi import Request, Response

from libs.common.contracts.accounts import (
    Account,
    AccountDeleted,
    AccountDeleteRequested,
    AccountSaved,
    AccountSaveRequested,
)
from libs.common.contracts.brokers import EXCHANGES_AT, PositionsCompared, PositionsCompareRequested
from libs.common.contracts.enums import Broker, OrderType, Product, Validity
from libs.common.contracts.ids import AccountId
from services.gateway.api import models
from services.gateway.api.commands import pending_request
from services.gateway.api.edge import Edge, Json, Leaver, Reader, Router, TheEdge, Trader
from services.gateway.api.owned import Owned, expected, shown
from services.gateway.domain import views
from services.gateway.domain.roles import Identity
from services.gateway.store import broker_positions, queries
from services.gateway.store.entities import Kind

router = Router(prefix="/accounts", tags=["accounts"])
_ANSWERS = {**models.PROBLEMS, **models.TAKEN}
_ACCOUNTS = Owned(Kind.ACCOUNT, AccountSaved, AccountDeleted)


@router.get("/", response_model=models.Listing[models.AccountView], responses=models.PROBLEMS)
async def accounts(identity: Reader, edge: TheEdge, user_id: UUID | None = None) -> Response:
    return await _ACCOUNTS.of_user(edge, identity, user_id)


@router.post("/", status_code=201, response_model=models.AccountView, responses=_ANSWERS)
async def create(body: models.AccountBody, request: Request, identity: Trader, edge: TheEdge) -> Response:
    async def run(request_id: UUID, again: bool) -> Response:
        account = Account(account_id=AccountId(request_id), user_id=identity.user_id, **body.model_dump())
        return await _save(edge, identity, request_id, account, 0, again=again, status=201)

    return await edge.commands.once(request, identity, run)


@router.get("/brokers/supported", responses=models.PROBLEMS)
async def brokers(_: Reader) -> Response:
    """The brokers an account may be at, and what each takes."""
    common = {"products": list(Product), "order_types": list(OrderType), "validities": list(Validity)}
    told: dict[Broker, dict[str, Any]] = {
        Broker.PAPER: {"name": "Paper trading against live or replayed prices"},
        Broker.ZERODHA: {"name": "Zerodha, by Kite Connect: orders", "credentials": ["api_key", "access_token"]},
    }
    return Json({"data": [{"broker": at, **of, "exchanges": EXCHANGES_AT[at], **common} for at, of in told.items()]})


@router.get("/{account_id}", response_model=models.AccountView, responses=models.PROBLEMS)
async def account(account_id: UUID, identity: Reader, edge: TheEdge) -> Response:
    return Json(await _ACCOUNTS.visible(edge, identity, account_id))


@router.put("/{account_id}", response_model=models.AccountView, responses=_ANSWERS)
async def change(
    account_id: UUID, body: models.AccountChange, request: Request, identity: Trader, edge: TheEdge
) -> Response:
    return await _change(edge, identity, request, account_id, body)


@router.delete("/{account_id}", status_code=204, responses=_ANSWERS)
async def delete(account_id: UUID, request: Request, identity: Trader, edge: TheEdge) -> Response:
    """409 while the account has open orders, or positions in what has not expired."""
    wish = AccountDeleteRequested(account_id=AccountId(account_id), user_id=identity.user_id)
    return await _ACCOUNTS.delete(edge, identity, request, account_id, wish)


@router.post("/{account_id}/activate", response_model=models.AccountView, responses=_ANSWERS)
async def activate(account_id: UUID, request: Request, identity: Trader, edge: TheEdge) -> Response:
    return await _change(edge, identity, request, account_id, models.AccountChange(active=True))


@router.post("/{account_id}/deactivate", response_model=models.AccountView, responses=_ANSWERS)
async def deactivate(account_id: UUID, request: Request, identity: Leaver, edge: TheEdge) -> Response:
    """New orders are denied; what is open stays."""
    return await _change(edge, identity, request, account_id, models.AccountChange(active=False))


@router.get("/{account_id}/status", responses=models.PROBLEMS)
async def status(account_id: UUID, identity: Reader, edge: TheEdge) -> Response:
    """Whether the account may trade, what stops it, and what is open in it."""
    stored = await _ACCOUNTS.visible(edge, identity, account_id)
    pool = edge.runtime.pool
    halts = await queries.panics_over(pool, ["ALL", f"USER:{stored['user_id']}", f"ACCOUNT:{account_id}"])
    funds = await queries.funds(pool, None, account_id)
    return Json(
        {
            "account_id": account_id,
            "broker": stored["broker"],
            "active": stored["active"],
            "can_trade": stored["active"] and not halts,
            "halted_by": halts,
            **await queries.count_open(pool, account_id),
            "funds": views.funds(funds[0]) if funds else None,
            "broker_positions": views.broker_positions(account_id, await broker_positions.find(pool, account_id)),
        }
    )


@router.get("/{account_id}/broker-positions", response_model=models.BrokerPositions, responses=models.PROBLEMS)
async def differences(account_id: UUID, identity: Reader, edge: TheEdge) -> Response:
    """Where our positions and the broker's differ, as of the last change of that. Looked at every minute while a
    market is open; nothing is traded or booked because of it.
    """
    await edge.visible_account(identity, account_id)
    return Json(views.broker_positions(account_id, await broker_positions.find(edge.runtime.pool, account_id)))


@router.post("/{account_id}/broker-positions/compare", response_model=models.BrokerPositions, responses=_ANSWERS)
async def compare(account_id: UUID, request: Request, identity: Trader, edge: TheEdge) -> Response:
    """Look now, whatever the hour. 202 when the answer takes longer: a difference counts when it was seen twice,
    seconds apart.
    """

    async def run(request_id: UUID, again: bool) -> Response:
        whose = await edge.visible_account(identity, account_id)
        wish = PositionsCompareRequested(account_id=whose, user_id=identity.user_id)
        done = await edge.commands.ask(wish, request_id, PositionsCompared, identity=identity, again=again)
        if not isinstance(done, PositionsCompared):
            return pending_request(request_id)
        return Json(views.broker_positions(account_id, done.model_dump(mode="json")))

    return await edge.commands.once(request, identity, run)


async def _change(
    edge: Edge, identity: Identity, request: Request, account_id: UUID, body: models.AccountChange
) -> Response:
    fresh = body.model_dump(exclude_unset=True, exclude_none=True, exclude={"version"})

    async def run(request_id: UUID, again: bool) -> Response:
        stored = await _ACCOUNTS.own(edge, identity, account_id)
        account = Account.model_validate({**stored, **fresh})
        return await _save(edge, identity, request_id, account, expected(body.version, stored), again=again)

    return await edge.commands.once(request, identity, run)


async def _save(
    edge: Edge, identity: Identity, request_id: UUID, account: Account, expected: int, *, again: bool, status: int = 200
) -> Response:
    wish = AccountSaveRequested(
        account_id=account.account_id, user_id=identity.user_id, account=account, expected_version=expected
    )
    return await _ACCOUNTS.save(
        edge, identity, request_id, wish, lambda done: shown(done.account, done.version), again=again, status=status
    )
