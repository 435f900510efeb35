"""Positions: what is held, what it is worth, and closing it."""

import asyncio
from typing import Annotated
from uuid import UUID

from fastapi import Query, Request, Response

from libs.common import ids
from libs.common.contracts.enums import SquareOffReason
from libs.common.contracts.ids import AccountId, InstrumentId, SquareOffId
from libs.common.contracts.orders import SquareOffCompleted, SquareOffRequested
from libs.common.problems import Problem
from services.gateway.api import models
from services.gateway.api.edge import BookReader, Edge, Json, Leaver, Reader, Router, TheEdge, listing, no_such
from services.gateway.api.orders import meant, own_accounts
from services.gateway.domain import roles, views
from services.gateway.domain.roles import Identity
from services.gateway.domain.valuation import Holding, exposure
from services.gateway.store import instruments, queries
from services.gateway.store.entities import Kind
from services.gateway.store.rows import Row, each_of, told_of_each

router = Router(prefix="/trading/positions", tags=["positions"])
_Closings = models.Listing[models.SquareOffView]
_STARTED: dict[int | str, dict[str, object]] = {
    202: {"model": _Closings, "description": "Some go on: ask what became of them at `square-offs/{square_off_id}`"}
}
OpenOnly = Annotated[bool, Query(alias="open", description="Leave out what is flat")]


@router.get("/", response_model=models.Listing[models.PositionView], responses=models.PROBLEMS)
async def all_positions(
    identity: Reader, edge: TheEdge, user_id: UUID | None = None, open_only: OpenOnly = False
) -> Response:
    """Net positions of all your accounts, valued at the last price: those that are open, and those that were traded
    on the present trading day.
    """
    return await _shown(edge, await queries.positions(edge.runtime.pool, edge.whose(identity, user_id)), open_only)


@router.get("/pnl", response_model=models.Pnl, responses=models.PROBLEMS)
async def pnl(
    identity: BookReader, edge: TheEdge, account_id: UUID | None = None, user_id: UUID | None = None
) -> Response:
    """Today's profit and loss: in all, by account, and by strategy as each strategy's own book has it."""
    owner, account = await edge.books_of(identity, user_id, account_id)
    pool = edge.runtime.pool
    rows = await queries.positions(pool, owner, account)
    books = await queries.strategy_positions(pool, owner, account)
    total = exposure(await _holdings(edge, rows))

    async def by(key: str, of: list[Row]) -> list[dict[str, object]]:
        return await _grouped(edge, of, key, await queries.ever_traded(pool, key, owner, account))

    return Json(
        {
            **views.profit(total),
            "accounts": await by("account_id", rows),
            "strategies": await by("strategy_id", books),
        }
    )


@router.get("/square-offs/{square_off_id}", response_model=models.SquareOffView, responses=models.PROBLEMS)
async def square_off(square_off_id: UUID, identity: Reader, edge: TheEdge) -> Response:
    row = await queries.square_off(edge.runtime.pool, square_off_id)
    if row is None or not roles.may_see(identity, row["user_id"]):
        raise no_such("square-off", square_off_id)
    return Json(views.square_off(row))


@router.get("/{account_id}", response_model=models.Listing[models.PositionView], responses=models.PROBLEMS)
async def account_positions(account_id: UUID, identity: Reader, edge: TheEdge, open_only: OpenOnly = False) -> Response:
    """Of one account."""
    await edge.visible_account(identity, account_id)
    return await _shown(edge, await queries.positions(edge.runtime.pool, None, account_id), open_only)


@router.post("/close", response_model=_Closings, responses={**models.PROBLEMS, **_STARTED})
async def close(body: models.ClosePositions, request: Request, identity: Leaver, edge: TheEdge) -> Response:
    """Cancel what is pending and close what is open, of a position or of a strategy. 202 while it lasts."""

    async def run(request_id: UUID, again: bool) -> Response:
        if body.strategy_id is not None:
            await edge.own_strategy(identity, body.strategy_id)
        if body.strategy_id is not None and body.account_id is None:
            accounts = await queries.strategy_accounts(edge.runtime.pool, identity.user_id, body.strategy_id)
        else:
            accounts = await own_accounts(edge, identity, body.account_id)
        accounts = meant(edge, accounts, request_id, again=again)
        wishes = [_wish(account_id, request_id, identity, body) for account_id in accounts]
        slip = await _slip(edge, identity, body, accounts)
        answer = await _square_off(edge, identity, wishes, again)
        if slip is not None and answer.status_code == 200:
            raise slip
        return answer

    return await edge.commands.once(request, identity, run)


@router.post("/close-all", response_model=_Closings, responses={**models.PROBLEMS, **_STARTED})
async def close_all(request: Request, identity: Leaver, edge: TheEdge, body: models.CloseAll | None = None) -> Response:
    """Of one account, or of all of yours."""

    async def run(request_id: UUID, again: bool) -> Response:
        accounts = await own_accounts(edge, identity, body.account_id if body else None)
        accounts = meant(edge, accounts, request_id, again=again)
        wishes = [_wish(account_id, request_id, identity, None) for account_id in accounts]
        return await _square_off(edge, identity, wishes, again)

    return await edge.commands.once(request, identity, run)


async def _slip(edge: Edge, identity: Identity, body: models.ClosePositions, accounts: list[UUID]) -> Problem | None:
    """What is named and unknown, as far as is known here: that keeps nobody from closing it. But who is told that it is
    completed takes his position for closed.
    """
    pool = edge.runtime.pool
    if (strategy_id := body.strategy_id) is not None:
        traded = await queries.strategy_accounts(pool, identity.user_id, strategy_id)
        if not traded and await edge.ever_owner(Kind.ALGO, strategy_id) != identity.user_id:
            detail = f"no algo, order or position of yours is of strategy {strategy_id}: nothing was closed"
            return Problem(404, "not_found", detail)
    if (name := body.instrument) is None or await instruments.known(pool, [name]):
        return None
    held = [row["instrument"] for account_id in accounts for row in await queries.positions(pool, None, account_id)]
    if name in held:
        return None
    detail = f"{name} is not in the contract master, and you hold none: nothing was closed"
    return Problem(404, "instrument_unknown", detail, instrument=name)


def _wish(
    account_id: UUID, request_id: UUID, identity: Identity, body: models.ClosePositions | None
) -> SquareOffRequested:
    return SquareOffRequested(
        square_off_id=SquareOffId(ids.derive(request_id, account_id)),
        account_id=AccountId(account_id),
        user_id=identity.user_id,
        strategy_id=body.strategy_id if body else None,
        instrument=InstrumentId(body.instrument) if body and body.instrument else None,
        product=body.product if body else None,
        reason=SquareOffReason.CLOSE,
    )


async def _square_off(edge: Edge, identity: Identity, wishes: list[SquareOffRequested], again: bool) -> Response:
    async def one(wish: SquareOffRequested) -> dict[str, object]:
        done = await edge.commands.ask(wish, wish.square_off_id, SquareOffCompleted, identity=identity, again=again)
        completed = done if isinstance(done, SquareOffCompleted) else None
        return {
            "square_off_id": wish.square_off_id,
            "account_id": wish.account_id,
            "status": views.square_off_status(completed) if completed else "PENDING",
            "reason": wish.reason,
            "expired": completed.expired if completed else (),
            "left": [each.model_dump(mode="json") for each in completed.left] if completed else (),
        }

    async with edge.memory.turns.turn_in_accounts(identity, len(wishes)):
        found = await asyncio.gather(*(one(wish) for wish in wishes))
    return Json({"data": found}, 202 if any(f["status"] == "PENDING" for f in found) else 200)


async def _shown(edge: Edge, rows: list[Row], open_only: bool) -> Response:
    prices = edge.last_prices()
    kept = (row for row in rows if row["quantity"] or not open_only)
    return listing(await told_of_each(kept, lambda row: views.position(row, prices(row["instrument"]))))


async def _grouped(edge: Edge, rows: list[Row], by: str, keys: list[UUID]) -> list[dict[str, object]]:
    """Each of the keys, also where there is nothing to show of it."""
    groups: dict[object, list[Holding]] = {key: [] for key in keys}
    for row, held in zip(rows, await _holdings(edge, rows), strict=True):
        groups.setdefault(row[by], []).append(held)
    return await each_of(groups.items(), lambda group: {by: group[0], **views.profit(exposure(group[1]))})


async def _holdings(edge: Edge, rows: list[Row]) -> list[Holding]:
    prices = edge.last_prices()
    return await each_of(rows, lambda row: views.holding(row, prices(row["instrument"])))
