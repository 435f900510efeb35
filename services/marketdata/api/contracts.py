"""The contract master for other services: one instrument of any day, brokers' own names, expiries, downloads."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from fastapi import APIRouter

from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.masters import MasterSource
from libs.common.problems import Problem
from libs.common.settings import load
from services.marketdata.adapters.masters import FORMATS
from services.marketdata.domain.expiries import roles, with_months
from services.marketdata.memory import MarketMemory
from services.marketdata.settings import MarketDataSettings
from services.marketdata.store import ContractStore

if TYPE_CHECKING:
    from libs.common.runtime import Runtime

    MarketRuntime = Runtime[ContractStore, MarketMemory]


def routes(runtime: "MarketRuntime") -> APIRouter:
    router = APIRouter(prefix="/contracts")

    @router.get("/downloads")
    async def downloads() -> dict[str, object]:
        """How each broker's instrument dump stands: where it comes from, the last good one, the last refusal."""
        settings = load(MarketDataSettings)
        async with runtime.pool.acquire(timeout=2) as connection:
            known = {row["source"]: row for row in await ContractStore(connection).downloads.all()}
        now = runtime.clock.now()
        return {
            "at": settings.masters_at.isoformat("minutes"),
            "data": [_download(known.get(source.value) or {}, source, settings, now) for source in FORMATS],
        }

    @router.get("/lookup")
    async def lookup(
        source: MasterSource, token: str | None = None, symbol: str | None = None, exchange: str | None = None
    ) -> dict[str, object]:
        """The instruments that a broker's own token or symbol means; those listed today come first."""
        if token is None and symbol is None:
            raise Problem(422, "invalid", "name the broker's token or its symbol")
        async with runtime.pool.acquire(timeout=2) as connection:
            rows = await ContractStore(connection).look_up(source, token=token, symbol=symbol, exchange=exchange)
        if not rows:
            what = f"token {token}" if token is not None else f"symbol {symbol}"
            raise Problem(404, "not_found", f"{source.value} knows no {what}")
        return {"data": [dict(row) for row in rows]}

    @router.get("/expiries/{underlying}")
    async def expiries(underlying: str) -> dict[str, object]:
        """The listed expiries of an underlying by exchange and kind, which are a month's, and who is current and next."""
        async with runtime.pool.acquire(timeout=2) as connection:
            found = await ContractStore(connection).expiries(underlying)
        if not found:
            raise Problem(404, "underlying_unknown", f"no contract on {underlying!r} is listed", underlying=underlying)
        today = runtime.memory.calendar.trading_day(runtime.clock.now())
        return {
            "underlying": underlying,
            "data": [
                {
                    "exchange": exchange,
                    "kind": kind,
                    "roles": roles(listed, today),
                    "expiries": [
                        {"expiry": day, "cycle": "monthly" if monthly else "weekly", "days": (day - today).days}
                        for day, monthly in with_months(e for e in listed if e.day >= today).items()
                    ],
                }
                for (exchange, _, kind), listed in sorted(found.items())
            ],
        }

    @router.get("/corporate-actions/{instrument}")
    async def corporate_actions(instrument: str) -> dict[str, object]:
        """The splits, bonuses and dividends that adjust an instrument's history, the earliest first."""
        async with runtime.pool.acquire(timeout=2) as connection:
            found = await ContractStore(connection).corporate_actions.of(InstrumentId(instrument))
        return {"instrument": instrument, "data": found}

    @router.get("/instrument/{instrument}")
    async def instrument_of(instrument: str) -> dict[str, object]:
        """What an instrument is or was, and what every broker calls it."""
        async with runtime.pool.acquire(timeout=2) as connection:
            store = ContractStore(connection)
            found = await store.find(InstrumentId(instrument))
            if found is None:
                detail = f"{instrument!r} is not in the contract master, nor was it"
                raise Problem(404, "instrument_unknown", detail, instrument=instrument)
            brokers = await store.brokers_of(found.instrument)
        today = runtime.memory.calendar.trading_day(runtime.clock.now())
        return {
            **found.model_dump(mode="json", exclude={"broker_token"}),
            "expired": found.expiry is not None and found.expiry < today,
            "brokers": [dict(row) for row in brokers],
        }

    return router


def _download(
    said: Mapping[str, object], source: MasterSource, settings: MarketDataSettings, now: datetime
) -> dict[str, object]:
    configured, until = source in settings.masters, said.get("running_until")
    running = isinstance(until, datetime) and until > now
    good, failed = said.get("good_at"), said.get("failed_at")
    if running:
        status = "running"
    elif said.get("wanted_at") is not None:
        status = "waiting"
    elif failed is not None:
        status = "refused"
    elif good is not None:
        status = "good"
    else:
        status = "never" if configured else "not_configured"
    names = ("wanted_at", "attempts", "good_at", "checksum", "contracts", "unreadable", "failed_at", "reason")
    return {
        "source": source.value,
        "status": status,
        "configured": configured,
        "publishes": bool(FORMATS[source].published),
        **{name: said.get(name) for name in names},
    }
