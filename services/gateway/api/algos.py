"""Algos: what to trade when a signal comes."""

from typing import Any
from uuid import UUID

from fastapi import Request, Response

from libs.common.contracts.algos import Algo, AlgoDeleted, AlgoDeleteRequested, AlgoSaved, AlgoSaveRequested
from libs.common.contracts.ids import AlgoId
from services.gateway.api import models
from services.gateway.api.edge import Edge, Json, Leaver, Reader, Router, TheEdge, Trader, no_such
from services.gateway.api.owned import Owned, expected, shown
from services.gateway.domain.roles import Identity
from services.gateway.store.entities import Kind

router = Router(prefix="/algos", tags=["algos"])
_ANSWERS = {**models.PROBLEMS, **models.TAKEN}
_ALGOS = Owned(Kind.ALGO, AlgoSaved, AlgoDeleted)


@router.get("/", response_model=models.Listing[models.AlgoView], responses=models.PROBLEMS)
async def algos(identity: Reader, edge: TheEdge, user_id: UUID | None = None) -> Response:
    return await _ALGOS.of_user(edge, identity, user_id)


@router.post("/", status_code=201, response_model=models.AlgoView, responses=_ANSWERS)
async def create(body: models.AlgoBody, request: Request, identity: Trader, edge: TheEdge) -> Response:
    async def run(request_id: UUID, again: bool) -> Response:
        algo = Algo(algo_id=AlgoId(request_id), user_id=identity.user_id, **body.model_dump())
        await _check_owned(edge, identity, algo)
        return await _save(edge, identity, request_id, algo, 0, again=again, status=201)

    return await edge.commands.once(request, identity, run)


@router.get("/{algo_id}", response_model=models.AlgoView, responses=models.PROBLEMS)
async def algo(algo_id: UUID, identity: Reader, edge: TheEdge) -> Response:
    return Json(await _ALGOS.visible(edge, identity, algo_id))


@router.put("/{algo_id}", response_model=models.AlgoView, responses=_ANSWERS)
async def change(algo_id: UUID, body: models.AlgoChange, request: Request, identity: Trader, edge: TheEdge) -> Response:
    fresh = body.model_dump(exclude_unset=True, exclude_none=True, exclude={"version"})
    return await _change(edge, identity, request, algo_id, fresh, body.version)


@router.delete("/{algo_id}", status_code=204, responses=_ANSWERS)
async def delete(algo_id: UUID, request: Request, identity: Trader, edge: TheEdge) -> Response:
    wish = AlgoDeleteRequested(algo_id=AlgoId(algo_id), user_id=identity.user_id)
    return await _ALGOS.delete(edge, identity, request, algo_id, wish)


@router.post("/{algo_id}/activate", response_model=models.AlgoView, responses=_ANSWERS)
async def activate(algo_id: UUID, request: Request, identity: Trader, edge: TheEdge) -> Response:
    return await _change(edge, identity, request, algo_id, {"active": True}, None)


@router.post("/{algo_id}/deactivate", response_model=models.AlgoView, responses=_ANSWERS)
async def deactivate(algo_id: UUID, request: Request, identity: Leaver, edge: TheEdge) -> Response:
    """It enters nothing more; an exit still closes what it holds."""
    return await _change(edge, identity, request, algo_id, {"active": False}, None)


async def _change(
    edge: Edge, identity: Identity, request: Request, algo_id: UUID, fresh: dict[str, Any], version: int | None
) -> Response:
    async def run(request_id: UUID, again: bool) -> Response:
        stored = await _ALGOS.own(edge, identity, algo_id)
        algo = Algo.model_validate({**stored, **fresh})
        await _check_owned(edge, identity, algo, before=Algo.model_validate(stored))
        return await _save(edge, identity, request_id, algo, expected(version, stored), again=again)

    return await edge.commands.once(request, identity, run)


async def _check_owned(edge: Edge, identity: Identity, algo: Algo, before: Algo | None = None) -> None:
    """An algo trades in its owner's accounts, on its owner's signals. What it named before was his, and is not asked
    about again: an account or a group that he deleted since must not keep him from switching the algo off.
    """
    accounts = {linked.account_id for linked in before.accounts} if before else set()
    groups = {mapping.group_id for mapping in before.mappings} if before else set()
    for linked in algo.accounts:
        if linked.account_id not in accounts:
            await edge.own_account(identity, linked.account_id)
    for mapping in algo.mappings:
        if mapping.group_id not in groups and await edge.owner(Kind.SIGNAL_GROUP, mapping.group_id) != identity.user_id:
            raise no_such("signal group", mapping.group_id)


async def _save(
    edge: Edge, identity: Identity, request_id: UUID, algo: Algo, expected: int, *, again: bool, status: int = 200
) -> Response:
    wish = AlgoSaveRequested(algo_id=algo.algo_id, user_id=identity.user_id, algo=algo, expected_version=expected)
    return await _ALGOS.save(
        edge, identity, request_id, wish, lambda done: shown(done.algo, done.version), again=again, status=status
    )
