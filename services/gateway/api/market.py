"""Quotes, depth and option chains."""

import re
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import quote

import orjson
from fastapi import Query, Response
from httpx import codes

from libs.common.contracts.enums import Exchange
from libs.common.contracts.ids import InstrumentId
from libs.common.problems import Problem, unavailable
from services.gateway.api import models
from services.gateway.api.edge import Edge, Json, Reader, Router, TheEdge
from services.gateway.api.paging import Day
from services.gateway.domain.symbols import instrument_of
from services.gateway.store import instruments

router = Router(prefix="/market", tags=["market"])
_CHAIN = re.compile(rb'\{"chain":"([^"\\]+)"')
"""How marketdata's answer begins: several hundred kilobytes are not read for the name in it."""


@router.get("/quotes/{symbol}", response_model=models.QuoteAsked, responses=models.PROBLEMS)
async def quote_of(symbol: str, _: Reader, edge: TheEdge, exchange: Exchange | None = None) -> Response:
    """`NSE:SBIN`, or `SBIN?exchange=NSE`. The quote says where its price comes from, its age, and if it is stale."""
    instrument = named_instrument(symbol, exchange)
    now = edge.runtime.clock.now()
    found = edge.memory.quotes.show(instrument, now)
    if found is not None:
        return Json({**found, "asked_since": edge.memory.watching.ask(instrument)})
    _check_that_we_hear(edge)
    is_open = edge.memory.quotes.market_open(instrument, now)
    if not await instruments.known(edge.runtime.pool, [instrument]):
        raise Problem(404, "instrument_unknown", f"{instrument} is not in the contract master", instrument=instrument)
    since = edge.memory.watching.ask(instrument)
    when = "open, and its feed is asked for one: try again in a second" if is_open else "closed"
    detail = f"no quote of {instrument} has been heard; its market is {when}"
    headers = {"Retry-After": "1"} if is_open else None
    more = {"instrument": instrument, "market_open": is_open, "asked_since": since}
    raise Problem(404, "no_quote", detail, headers=headers, **more)


@router.post("/quotes/bulk", response_model=models.QuotesFound, responses=models.PROBLEMS)
async def quotes_of(body: models.QuotesWanted, _: Reader, edge: TheEdge) -> Response:
    """`missing` names what has no quote, `unknown` those of them that are not listed: no quote will come."""
    wanted = [named_instrument(symbol, None) for symbol in body.symbols]
    found = edge.memory.quotes.show_all(wanted, edge.runtime.clock.now())
    heard = {str(shown["instrument"]) for shown in found}
    missing = [each for each in wanted if each not in heard]
    known: set[InstrumentId] = set()
    if missing:
        _check_that_we_hear(edge)
        known = await instruments.known(edge.runtime.pool, set(missing))
    edge.memory.watching.ask(*heard)
    since = edge.memory.watching.ask(*known)
    unknown = [each for each in missing if each not in known]
    return Json({"data": found, "missing": missing, "unknown": unknown, "asked_since": since})


@router.get("/exchanges", responses=models.PROBLEMS)
async def exchanges(_: Reader, edge: TheEdge) -> Response:
    """The exchanges and how many instruments of each are known."""
    counts = {row["exchange"]: row["instruments"] for row in await instruments.exchanges(edge.runtime.pool)}
    return Json({"data": [{"exchange": each, "instruments": counts.get(each, 0)} for each in Exchange]})


@router.get("/depth/{symbol}", response_model=models.DepthView, responses=models.PROBLEMS)
async def depth_of(
    symbol: str,
    _: Reader,
    edge: TheEdge,
    exchange: Exchange | None = None,
    levels: Annotated[int, Query(ge=1, le=20)] = 5,
) -> Response:
    """The order book: the best five levels, or twenty where the feed gives them."""
    instrument = named_instrument(symbol, exchange)
    status, content = await edge.internal.get("marketdata", f"/internal/depth/{quote(instrument)}", {"levels": levels})
    told = orjson.loads(content) if status == codes.NOT_FOUND else {}
    if status == codes.OK or told.get("code") == "no_depth":
        since = edge.memory.watching.ask(instrument)
        if told:
            detail = f"{told['detail']}; its feed is asked for one: try again in a second"
            content = orjson.dumps({**told, "detail": detail, "asked_since": since})
    return _answer(status, content)


@router.get("/option-chain/{symbol}", response_model=models.ChainView, responses=models.PROBLEMS)
async def option_chain(
    symbol: str,
    _: Reader,
    edge: TheEdge,
    exchange: Exchange | None = None,
    expiry: Day | None = None,
    strikes: Annotated[int | None, Query(ge=0, le=500, description="below and above the money; all if absent")] = None,
) -> Response:
    """`NIFTY`, `NSE_INDEX:NIFTY` or `NSE:SBIN`: prices, open interest, volatility and Greeks of every strike.

    The nearest expiry unless one is named. `pcr` and `max_pain` are of the whole chain, whatever `strikes`.
    A live feed carries a chain for a minute from when it was asked for: where `asked_since` is now, prices are on
    their way.
    """
    wanted = {"exchange": exchange, "expiry": expiry, "strikes": strikes}
    status, content = await edge.internal.get("marketdata", f"/internal/option-chain/{quote(symbol)}", wanted)
    if status == codes.OK and (named := _CHAIN.match(content)):
        since = edge.memory.watching.ask_chain(named[1].decode())
        content = b'{"asked_since":%b,%b' % (orjson.dumps(since), content[1:])
    return _answer(status, content)


@router.get("/option-chain/{symbol}/expiries", response_model=models.Expiries, responses=models.PROBLEMS)
async def expiries(symbol: str, _: Reader, edge: TheEdge, exchange: Exchange | None = None) -> Response:
    """The expiries of an underlying's options, the nearest first."""
    return await _of_marketdata(edge, f"/internal/option-chain/{quote(symbol)}/expiries", {"exchange": exchange})


@router.get("/indices", responses=models.PROBLEMS)
async def indices(_: Reader, edge: TheEdge) -> Response:
    """The indices that are known, each with its quote where one was heard."""
    now = edge.runtime.clock.now()
    rows = await instruments.indices(edge.runtime.pool)
    return Json({"data": [{**row, "quote": edge.memory.quotes.show(row["instrument"], now)} for row in rows]})


async def _of_marketdata(edge: Edge, path: str, wanted: Mapping[str, object]) -> Response:
    return _answer(*await edge.internal.get("marketdata", path, wanted))


def _answer(status: int, content: bytes) -> Response:
    return Response(content, status, media_type="application/json" if status < 400 else "application/problem+json")


def _check_that_we_hear(edge: Edge) -> None:
    """Right after its start a gateway cannot tell what has no price from what it has not heard of yet."""
    if not edge.runtime.ready.get("streams", True):
        raise unavailable("this gateway has just been started and does not hear prices yet")


def named_instrument(symbol: str, exchange: Exchange | None) -> InstrumentId:
    found = instrument_of(symbol, exchange)
    if found is None:
        raise Problem(422, "invalid", f"instrument {symbol!r}: write NSE:SBIN, or SBIN?exchange=NSE")
    return found
