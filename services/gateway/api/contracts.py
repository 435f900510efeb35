"""The contract master: search, what an instrument is and every broker calls it, expiries, brokers' dumps."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated
from urllib.parse import quote
from uuid import UUID

import orjson
from fastapi import Query, Request, Response

from libs.common.contracts.enums import Exchange, InstrumentKind, OptionType
from libs.common.contracts.masters import ContractsDownloadRequested, MasterSource
from libs.common.problems import Problem
from services.gateway.api import models
from services.gateway.api.edge import Admin, Edge, Json, Reader, Router, TheEdge
from services.gateway.api.market import named_instrument
from services.gateway.api.models import contracts as views
from services.gateway.api.paging import Day
from services.gateway.domain.search import parse
from services.gateway.store import instruments

router = Router(prefix="/market/contracts", tags=["contracts"])
_DOWNLOADS = "/api/v2/market/contracts/download"


@router.get("/search", response_model=views.InstrumentsFound, responses=models.PROBLEMS)
async def search(
    _: Reader,
    edge: TheEdge,
    q: Annotated[str, Query(max_length=80, examples=["NIFTY 24000 CE"])] = "",
    exchange: Exchange | None = None,
    kind: InstrumentKind | None = None,
    underlying: Annotated[str | None, Query(max_length=40)] = None,
    expiry: Day | None = None,
    strike: Annotated[Decimal | None, Query(gt=0, max_digits=12)] = None,
    option_type: OptionType | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
) -> Response:
    """Every word must begin a part of the symbol, the name, the strike or the expiry. A word that begins nothing
    known is taken for the nearest one that does.
    """
    named = underlying.upper() if underlying else None
    filters = instruments.Filters(exchange, kind, named, expiry, strike, option_type)
    pool, spelling = edge.runtime.pool, edge.memory.spelling
    query, underlyings = parse(q), await spelling.underlyings(pool)
    if q.strip() and query.says_nothing:
        return Json({"data": [], "corrected": None})
    rows = await instruments.search(pool, query, filters, underlyings, limit)
    if rows or not query.names:
        return Json({"data": rows, "corrected": None})
    meant = await spelling.meant(pool, query.names)
    for guess in query.with_names(meant):
        rows = await instruments.search(pool, guess, filters, underlyings, limit)
        if rows:
            return Json({"data": rows, "corrected": " ".join((*guess.names, *guess.numbers))})
    return Json({"data": [], "corrected": None})


@router.get("/download", response_model=views.Downloads, responses=models.PROBLEMS)
async def downloads(_: Reader, edge: TheEdge) -> Response:
    """How each broker's instrument dump stands: the last good one, and why the last one was refused."""
    return await _of_marketdata(edge, "/internal/contracts/downloads")


@router.post("/download", status_code=202, responses={**models.PROBLEMS, **models.TAKEN})
async def download(body: views.DownloadWanted, request: Request, identity: Admin, edge: TheEdge) -> Response:
    """Fetch dumps now. For admins; GET tells how it went."""

    async def run(request_id: UUID, _: bool) -> Response:
        sources = body.sources or await _configured(edge)
        if not sources:
            raise Problem(409, "not_configured", "no broker's dump is configured: set MARKETDATA_MASTERS")
        for source in sources:
            wish = ContractsDownloadRequested(source=source, user_id=identity.user_id)
            await edge.runtime.send(wish, user_id=identity.user_id)
        content = {"id": str(request_id), "status": "PENDING", "status_url": _DOWNLOADS}
        return Json(content | {"sources": sources}, 202, {"Location": _DOWNLOADS})

    return await edge.commands.once(request, identity, run)


@router.get("/lookup", response_model=models.Listing[views.TokenMeaning], responses=models.PROBLEMS)
async def lookup(
    _: Reader,
    edge: TheEdge,
    source: MasterSource,
    token: Annotated[str | None, Query(max_length=80)] = None,
    symbol: Annotated[str | None, Query(max_length=80)] = None,
    exchange: Exchange | None = None,
) -> Response:
    """The instruments that a broker's own token or symbol means; those listed today come first."""
    wanted = {"source": source, "token": token, "symbol": symbol, "exchange": exchange}
    return await _of_marketdata(edge, "/internal/contracts/lookup", wanted)


@router.get("/expiries/{underlying}", response_model=views.Expiries, responses=models.PROBLEMS)
async def expiries(underlying: str, _: Reader, edge: TheEdge) -> Response:
    """The listed expiries by exchange and kind, which are a month's, and who is current and next."""
    return await _of_marketdata(edge, f"/internal/contracts/expiries/{quote(underlying.upper(), safe='')}")


@router.get("/{symbol}", response_model=views.InstrumentDetails, responses=models.PROBLEMS)
async def instrument(symbol: str, _: Reader, edge: TheEdge, exchange: Exchange | None = None) -> Response:
    """What an instrument is, or was before it expired, and every broker's own symbol and token of it."""
    name = named_instrument(symbol, exchange)
    return await _of_marketdata(edge, f"/internal/contracts/instrument/{quote(name, safe=':')}")


async def _configured(edge: Edge) -> list[MasterSource]:
    _, content = await edge.internal.get("marketdata", "/internal/contracts/downloads", {})
    return [MasterSource(each["source"]) for each in orjson.loads(content)["data"] if each["configured"]]


async def _of_marketdata(edge: Edge, path: str, wanted: Mapping[str, object] | None = None) -> Response:
    status, content = await edge.internal.get("marketdata", path, wanted or {})
    media = "application/json" if status < 400 else "application/problem+json"
    return Response(content, status, media_type=media)
