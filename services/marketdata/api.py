"""The internal API: price history, and how the feed is. For other services only, by the platform's internal token."""

import secrets
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Header, Query

from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed
from libs.common.problems import Problem
from services.marketdata.memory import MarketMemory
from services.marketdata.store import ContractStore, Interval

if TYPE_CHECKING:
    from libs.common.runtime import Runtime

MOST_CANDLES = 5_000
DEFAULT_SPAN = {
    Interval.ONE_MINUTE: timedelta(days=1),
    Interval.FIVE_MINUTES: timedelta(days=5),
    Interval.FIFTEEN_MINUTES: timedelta(days=15),
    Interval.ONE_HOUR: timedelta(days=60),
    Interval.ONE_DAY: timedelta(days=730),
}


def routes(runtime: "Runtime[ContractStore, MarketMemory]") -> APIRouter:
    memory = runtime.memory
    token = runtime.settings.internal_token.encode()

    def authenticated(x_internal_token: Annotated[str, Header()] = "") -> None:
        if not secrets.compare_digest(x_internal_token.encode(), token):
            raise Problem(401, "unauthenticated", "X-Internal-Token is missing or wrong")

    router = APIRouter(prefix="/internal", dependencies=[Depends(authenticated)])

    @router.get("/history/{instrument}")
    async def history(
        instrument: str,
        interval: str = Interval.ONE_MINUTE,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: Annotated[int, Query(ge=1, le=MOST_CANDLES)] = 500,
    ) -> dict[str, object]:
        """The newest `limit` candles that start in [start, end), oldest first. Times without an offset are refused."""
        contract = _listed(memory, instrument)
        chosen = _interval(interval)
        until = _aware(end, "end") or runtime.clock.now()
        since = _aware(start, "start") or until - DEFAULT_SPAN[chosen]
        candles = await memory.series.candles(contract.instrument, chosen, since, until, limit)
        return {"instrument": contract.instrument, "interval": chosen, "candles": [asdict(c) for c in candles]}

    @router.get("/status")
    async def status() -> dict[str, object]:
        """The feed, its source label, how fast it ticks and how old the last tick is."""
        known = asdict(memory.status)
        last = memory.status.last_tick_at
        age = (runtime.clock.now() - last).total_seconds() if last else None
        return {**known, "last_tick_age_s": age, "rows_waiting": len(memory.tick_rows), "late": memory.candles.late}

    return router


def _listed(memory: MarketMemory, instrument: str) -> InstrumentListed:
    contract = memory.listed.get(InstrumentId(instrument))
    if contract is None:
        raise Problem(404, "instrument_unknown", f"{instrument!r} is not in the contract master", instrument=instrument)
    return contract


def _interval(text: str) -> Interval:
    try:
        return Interval(text)
    except ValueError:
        known = ", ".join(Interval)
        raise Problem(422, "interval_unknown", f"interval {text!r} is not one of {known}", interval=text) from None


def _aware(at: datetime | None, name: str) -> datetime | None:
    if at is not None and at.tzinfo is None:
        raise Problem(422, "invalid", f"{name} has no offset: write it as 2026-11-24T09:15:00+05:30")
    return at
