"""The tradebook, funds and holdings."""

from dataclasses import replace
from uuid import UUID

from fastapi import Response

from libs.common.contracts.enums import Exchange
from services.gateway.api import models
from services.gateway.api.edge import BookReader, Edge, Json, Reader, Router, TheEdge, no_such
from services.gateway.api.orders import narrowed
from services.gateway.api.paging import From, Limit, PageCursor, To, aware, page, read_cursor
from services.gateway.domain import views
from services.gateway.store import queries
from services.gateway.store.queries import Filter
from services.gateway.store.rows import Row, each_of

router = Router(prefix="/trading", tags=["books"])


@router.get("/tradebook/", response_model=models.Page[models.FillView], responses=models.PROBLEMS)
async def tradebook(
    identity: BookReader,
    edge: TheEdge,
    account_id: UUID | None = None,
    user_id: UUID | None = None,
    strategy_id: UUID | None = None,
    instrument: str | None = None,
    symbol: str | None = None,
    exchange: Exchange | None = None,
    since: From = None,
    until: To = None,
    limit: Limit = 50,
    cursor: PageCursor = None,
) -> Response:
    """Fills, the newest first."""
    whose = await narrowed(edge, identity, account_id, user_id, instrument, symbol, exchange)
    wanted = replace(whose, strategy_id=strategy_id, since=aware(since), until=aware(until))
    rows = await queries.fills_page(edge.runtime.pool, wanted, read_cursor(cursor), limit + 1)
    return Json(page(rows, limit, views.fill, "filled_at", "fill_id"))


@router.get("/tradebook/{account_id}", response_model=models.Page[models.FillView], responses=models.PROBLEMS)
async def account_tradebook(
    account_id: UUID, identity: BookReader, edge: TheEdge, limit: Limit = 50, cursor: PageCursor = None
) -> Response:
    await edge.visible_account(identity, account_id)
    rows = await queries.fills_page(edge.runtime.pool, Filter(account_id=account_id), read_cursor(cursor), limit + 1)
    return Json(page(rows, limit, views.fill, "filled_at", "fill_id"))


@router.get("/funds/", response_model=models.Listing[models.FundsView], responses=models.PROBLEMS)
async def funds(identity: Reader, edge: TheEdge, user_id: UUID | None = None) -> Response:
    rows = await queries.funds(edge.runtime.pool, edge.whose(identity, user_id))
    return Json({"data": [views.funds(row) for row in rows]})


@router.get("/funds/{account_id}", response_model=models.FundsView, responses=models.PROBLEMS)
async def account_funds(account_id: UUID, identity: Reader, edge: TheEdge) -> Response:
    await edge.visible_account(identity, account_id)
    rows = await queries.funds(edge.runtime.pool, None, account_id)
    if not rows:
        raise no_such("funds of account", account_id)
    return Json(views.funds(rows[0]))


@router.get("/holdings/", response_model=models.Listing[models.HoldingView], responses=models.PROBLEMS)
async def holdings(identity: Reader, edge: TheEdge, user_id: UUID | None = None) -> Response:
    """Shares bought for delivery (CNC) on an earlier Indian day and not sold since, of all your accounts."""
    return await _held(edge, await queries.positions(edge.runtime.pool, edge.whose(identity, user_id)))


@router.get("/holdings/{account_id}", response_model=models.Listing[models.HoldingView], responses=models.PROBLEMS)
async def account_holdings(account_id: UUID, identity: Reader, edge: TheEdge) -> Response:
    await edge.visible_account(identity, account_id)
    return await _held(edge, await queries.positions(edge.runtime.pool, None, account_id))


async def _held(edge: Edge, rows: list[Row]) -> Response:
    prices = edge.last_prices()
    found = await each_of(rows, lambda row: views.shares(row, prices(row["instrument"])))
    return Json({"data": [each for each in found if each is not None]})
