"""Price history, passed on from marketdata as it comes: JSON by the page, files as streams. Admins add to it."""

from collections.abc import AsyncIterator
from datetime import datetime
from enum import StrEnum
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Query, Request, Response

from libs.common.contracts.enums import Exchange
from services.gateway.api import models
from services.gateway.api.edge import Admin, Json, Known, Reader, Router, TheEdge
from services.gateway.api.entrance import upload
from services.gateway.api.market import named_instrument
from services.gateway.api.paging import Day, From, To, aware

router = Router(prefix="/market", tags=["market"])
INTERVALS = ("tick", "1m", "3m", "5m", "10m", "15m", "30m", "1h", "1d")
MARKETDATA = "marketdata"


class HistoryFormat(StrEnum):
    JSON = "json"
    CSV = "csv"
    NDJSON = "ndjson"
    PARQUET = "parquet"
    ARROW = "arrow"


class FileFormat(StrEnum):
    CSV = "csv"
    PARQUET = "parquet"


class BarLabel(StrEnum):
    """Which end of its minute a candle's time names; vendors differ, so it must be said."""

    START = "start"
    END = "end"


async def sent_as(
    identity: Known, edge: TheEdge, form: Annotated[HistoryFormat, Query(alias="format")] = HistoryFormat.JSON
) -> AsyncIterator[HistoryFormat]:
    """The format that is asked for; for a file there has to be room, until all of it is sent."""
    if form is HistoryFormat.JSON:
        yield form
        return
    with edge.memory.turns.file(identity):
        yield form


@router.get("/history/{symbol}", responses=models.PROBLEMS)
async def history(
    symbol: str,
    _: Reader,
    edge: TheEdge,
    form: Annotated[HistoryFormat, Depends(sent_as)],
    exchange: Exchange | None = None,
    interval: Annotated[str, Query(examples=list(INTERVALS))] = "1m",
    since: From = None,
    until: To = None,
    limit: Annotated[int, Query(ge=1, le=5000, description="Rows on a page of JSON")] = 500,
    adjusted: Annotated[
        bool, Query(description="As if every split, bonus and dividend since then had happened before")
    ] = False,
) -> Response:
    """Candles, or ticks (`interval=tick`), oldest first.

    JSON is the newest `limit` of the range; `next`, if not null, is the `to` of the page before it. CSV, JSON lines,
    Parquet and Arrow (IPC stream) are the whole range.
    """
    wanted = {
        "interval": interval,
        "start": _text(since),
        "end": _text(until),
        "limit": limit,
        "adjusted": str(adjusted).lower(),
        "format": form.value,
    }
    return await edge.internal.pass_on(MARKETDATA, _path(symbol, exchange), wanted)


@router.get("/history/{symbol}/quality", responses=models.PROBLEMS)
async def quality(
    symbol: str, _: Reader, edge: TheEdge, day: Day | None = None, exchange: Exchange | None = None
) -> Response:
    """A day's candles judged: minutes missing or outside the session, ticks doubled, spikes."""
    return await edge.internal.pass_on(MARKETDATA, _path(symbol, exchange, "quality"), {"day": day})


@router.post("/history/{symbol}/import", responses=models.PROBLEMS)
async def import_history(
    symbol: str,
    request: Request,
    _: Admin,
    edge: TheEdge,
    label: Annotated[BarLabel, Query(description="Which end of its minute a row's time names")],
    form: Annotated[FileFormat, Query(alias="format")] = FileFormat.CSV,
    outside: Annotated[bool, Query(description="Keep candles from outside the session too")] = False,
    exchange: Exchange | None = None,
) -> Response:
    """One-minute candles from the body, up to 64 MiB; a file with a broken row is refused as a whole, with its line.

    What is stored of a minute already is replaced, so the same file twice changes nothing.
    """
    content = upload(request, edge.settings.import_bytes, edge.settings.import_s)
    wanted = {"label": label.value, "format": form.value, "outside": str(outside).lower()}
    path = _path(symbol, exchange, "import")
    return await edge.internal.pass_on(MARKETDATA, path, wanted, body=content)


@router.post("/history/{symbol}/backfill", responses=models.PROBLEMS)
async def backfill(
    symbol: str, _: Admin, edge: TheEdge, since: From, until: To, exchange: Exchange | None = None
) -> Response:
    """Fetch one-minute candles from the broker whose history API is configured, and keep them."""
    wanted = {"start": _text(since), "end": _text(until)}
    return await edge.internal.pass_on(MARKETDATA, _path(symbol, exchange, "backfill"), wanted, body=b"")


@router.get("/intervals", responses=models.PROBLEMS)
async def intervals(_: Reader) -> Response:
    """The candle lengths that history knows."""
    return Json({"data": INTERVALS})


def _path(symbol: str, exchange: Exchange | None, part: str = "") -> str:
    instrument = quote(named_instrument(symbol, exchange))
    return f"/internal/history/{instrument}/{part}".rstrip("/")


def _text(at: datetime | None) -> str | None:
    known = aware(at)
    return known.isoformat() if known else None
