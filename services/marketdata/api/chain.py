"""Depth, and option chains with their Greeks."""

from datetime import date
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Response

from libs.common.contracts.enums import Exchange
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import Tick, is_old
from libs.common.problems import Problem
from services.marketdata.domain.chain import ChainIndex, ChainKey
from services.marketdata.domain.ticks import depth_of
from services.marketdata.memory import MarketMemory
from services.marketdata.store import ContractStore

if TYPE_CHECKING:
    from libs.common.runtime import Runtime

    MarketRuntime = Runtime[ContractStore, MarketMemory]

MOST_STRIKES = 500


def routes(runtime: "MarketRuntime") -> APIRouter:
    router = APIRouter()
    memory = runtime.memory

    @router.get("/depth/{instrument}")
    async def depth(instrument: str, levels: Annotated[int, Query(ge=1, le=20)] = 5) -> dict[str, object]:
        """The newest order book, its age, and how many levels the feed gives (which may be fewer than asked for)."""
        tick = _book(memory, InstrumentId(instrument))
        found = depth_of(tick).model_dump(mode="json")
        bids, asks = found["bids"][:levels], found["asks"][:levels]
        now = runtime.clock.now()
        market_open = memory.calendar.is_open(Exchange(instrument.partition(":")[0]), now)
        return {
            **found,
            "bids": bids,
            "asks": asks,
            "ltp": tick.ltp,
            "levels": max(len(bids), len(asks)),
            "age_s": round((now - tick.at).total_seconds(), 3),
            "stale": market_open and is_old(tick.at, now),
            "market_open": market_open,
        }

    @router.get("/option-chain/{symbol}")
    async def option_chain(
        symbol: str,
        exchange: Exchange | None = None,
        expiry: date | None = None,
        strikes: Annotated[int | None, Query(ge=0, le=MOST_STRIKES)] = None,
    ) -> Response:
        """The chain of one expiry, the nearest unless told otherwise."""
        index = await memory.desk.index(memory.listed)
        now = runtime.clock.now()
        name = _found(index, symbol, exchange)
        key = ChainKey(*name, expiry or memory.desk.nearest(*name, now))
        contracts = memory.desk.contracts(key)
        if contracts is None:
            detail = f"{key.underlying} has no options that expire on {key.expiry} on {key.exchange}"
            listed = [f"{each}" for each in index.expiries(key.exchange, key.underlying)]
            raise Problem(404, "expiry_unknown", detail, expiries=listed)
        chain = memory.desk.chain_of(contracts, now, strikes)
        return Response(chain.__pydantic_serializer__.to_json(chain), media_type="application/json")

    @router.get("/option-chain/{symbol}/expiries")
    async def expiries_of(symbol: str, exchange: Exchange | None = None) -> dict[str, object]:
        """The expiries that are listed, the nearest first."""
        index = await memory.desk.index(memory.listed)
        found, underlying = _found(index, symbol, exchange)
        return {"exchange": found, "underlying": underlying, "expiries": index.expiries(found, underlying)}

    return router


def _book(memory: MarketMemory, instrument: InstrumentId) -> Tick:
    if instrument not in memory.listed:
        detail = f"{instrument!r} is not in the contract master"
        raise Problem(404, "instrument_unknown", detail, instrument=instrument)
    tick = memory.book(instrument)
    if tick is None:
        raise Problem(404, "no_depth", f"no book of {instrument} has been heard", instrument=instrument)
    return tick


def _found(index: ChainIndex, symbol: str, exchange: Exchange | None) -> tuple[Exchange, str]:
    found = index.find(symbol, exchange)
    if found is None:
        raise Problem(404, "chain_unknown", f"no options on {symbol!r} are listed", symbol=symbol)
    return found
