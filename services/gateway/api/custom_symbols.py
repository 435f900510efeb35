"""Custom symbols: baskets and spreads of instruments, which quote like any other as `CUSTOM:<symbol>`."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Request, Response

from libs.common.contracts.enums import Exchange
from libs.common.contracts.masters import (
    CustomSymbol,
    CustomSymbolDeleted,
    CustomSymbolDeleteRequested,
    CustomSymbolSaved,
    CustomSymbolSaveRequested,
)
from services.gateway.api import models
from services.gateway.api.edge import Edge, Json, Reader, Router, TheEdge, Trader, no_such
from services.gateway.api.market import named_instrument
from services.gateway.api.models import contracts as views
from services.gateway.api.owned import Owned, expected, shown
from services.gateway.domain.roles import Identity
from services.gateway.store import entities
from services.gateway.store.entities import Kind
from services.gateway.store.rows import Row

router = Router(prefix="/market/custom-symbols", tags=["custom symbols"])
_ANSWERS = {**models.PROBLEMS, **models.TAKEN}
_SYMBOLS = Owned(Kind.CUSTOM_SYMBOL, CustomSymbolSaved, CustomSymbolDeleted)


@router.get("/", response_model=models.Page[views.CustomSymbolView], responses=models.PROBLEMS)
async def symbols(
    _: Reader, edge: TheEdge, limit: Annotated[int, Query(ge=1, le=500)] = 500, cursor: UUID | None = None
) -> Response:
    """Everybody's, oldest first: a custom symbol quotes for all, and only its owner changes it."""
    rows = await entities.of_everybody(edge.runtime.pool, Kind.CUSTOM_SYMBOL, limit + 1, cursor)
    following = rows[limit - 1]["custom_symbol_id"] if len(rows) > limit else None
    return Json({"data": [_named(row) for row in rows[:limit]], "next_cursor": following})


@router.post("/", status_code=201, response_model=views.CustomSymbolView, responses=_ANSWERS)
async def create(body: views.CustomSymbolBody, request: Request, identity: Trader, edge: TheEdge) -> Response:
    async def run(request_id: UUID, again: bool) -> Response:
        terms = {**body.model_dump(), "custom_symbol_id": request_id, "user_id": identity.user_id}
        return await _save(edge, identity, request_id, terms, 0, again=again, status=201)

    return await edge.commands.once(request, identity, run)


@router.get("/{custom_symbol_id}", response_model=views.CustomSymbolView, responses=models.PROBLEMS)
async def symbol(custom_symbol_id: UUID, _: Reader, edge: TheEdge) -> Response:
    row = await entities.find(edge.runtime.pool, Kind.CUSTOM_SYMBOL, custom_symbol_id)
    if row is None:
        raise no_such("custom symbol", custom_symbol_id)
    return Json(_named(row))


@router.put("/{custom_symbol_id}", response_model=views.CustomSymbolView, responses=_ANSWERS)
async def change(
    custom_symbol_id: UUID, body: views.CustomSymbolChange, request: Request, identity: Trader, edge: TheEdge
) -> Response:
    """Its legs, name or tick; the symbol stays what it is."""

    async def run(request_id: UUID, again: bool) -> Response:
        stored = await _SYMBOLS.own(edge, identity, custom_symbol_id)
        fresh = body.model_dump(exclude_unset=True, exclude_none=True, exclude={"version"})
        version = expected(body.version, stored)
        return await _save(edge, identity, request_id, {**stored, **fresh}, version, again=again)

    return await edge.commands.once(request, identity, run)


@router.delete("/{custom_symbol_id}", status_code=204, responses=_ANSWERS)
async def delete(custom_symbol_id: UUID, request: Request, identity: Trader, edge: TheEdge) -> Response:
    wish = CustomSymbolDeleteRequested(custom_symbol_id=custom_symbol_id, user_id=identity.user_id)
    return await _SYMBOLS.delete(edge, identity, request, custom_symbol_id, wish)


async def _save(
    edge: Edge, identity: Identity, request_id: UUID, terms: Row, expected: int, *, again: bool, status: int = 200
) -> Response:
    legs = [{**leg, "instrument": named_instrument(leg["instrument"], None)} for leg in terms["legs"]]
    wanted = CustomSymbol.model_validate({**terms, "legs": legs})
    wish = CustomSymbolSaveRequested(
        custom_symbol_id=wanted.custom_symbol_id,
        user_id=identity.user_id,
        custom_symbol=wanted,
        expected_version=expected,
    )

    def show(done: CustomSymbolSaved) -> Row:
        return _named(shown(done.custom_symbol, done.version))

    return await _SYMBOLS.save(edge, identity, request_id, wish, show, again=again, status=status)


def _named(row: Row) -> Row:
    return {**row, "instrument": f"{Exchange.CUSTOM}:{row['symbol']}"}
