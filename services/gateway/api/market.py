"""Quotes and contracts."""


from fastapi import Response

from libs.common.contracts.enums import Exchange
from libs.common.contracts.ids import InstrumentId
from libs.common.problems import Problem
from services.gateway.api import models
from services.gateway.api.edge import Json, Reader, Router, TheEdge
from services.gateway.domain.symbols import instrument_of
from services.gateway.store import instruments

router = Router(prefix="/market", tags=["market"])


@router.get("/quotes/{symbol}", response_model=models.QuoteView, responses=models.PROBLEMS)
async def quote_of(symbol: str, _: Reader, edge: TheEdge, exchange: Exchange | None = None) -> Response:
    """`NSE:SBIN`, or `SBIN?exchange=NSE`. The quote says where its price comes from, its age, and if it is stale."""
    instrument = named_instrument(symbol, exchange)
    found = edge.memory.quotes.show(instrument, edge.runtime.clock.now())
    if found is None:
        raise Problem(404, "no_quote", f"no quote of {instrument} has been heard", instrument=instrument)
    return Json(found)


@router.post("/quotes/bulk", response_model=models.QuotesFound, responses=models.PROBLEMS)
async def quotes_of(body: models.QuotesWanted, _: Reader, edge: TheEdge) -> Response:
    wanted = [named_instrument(symbol, None) for symbol in body.symbols]
    found = edge.memory.quotes.show_all(wanted, edge.runtime.clock.now())
    heard = {shown["instrument"] for shown in found}
    return Json({"data": found, "missing": [each for each in wanted if each not in heard]})


@router.get("/exchanges", responses=models.PROBLEMS)
async def exchanges(_: Reader, edge: TheEdge) -> Response:
    """The exchanges and how many instruments of each are known."""
    counts = {row["exchange"]: row["instruments"] for row in await instruments.exchanges(edge.runtime.pool)}
    return Json({"data": [{"exchange": each, "instruments": counts.get(each, 0)} for each in Exchange]})


def named_instrument(symbol: str, exchange: Exchange | None) -> InstrumentId:
    found = instrument_of(symbol, exchange)
    if found is None:
        raise Problem(422, "invalid", f"instrument {symbol!r}: write NSE:SBIN, or SBIN?exchange=NSE")
    return found
