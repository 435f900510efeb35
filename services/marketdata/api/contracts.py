"""The contract master for other services: one instrument of any day, brokers' own names, expiries, downloads."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import date, datetime
from typing import TYPE_CHECKING

from fastapi import APIRouter

from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.masters import MasterSource
from libs.common.problems import Problem
from libs.common.settings import load
from services.marketdata.adapters.masters import FORMATS
from services.marketdata.domain.expiries import ListedExpiry, roles, with_months
from services.marketdata.memory import MarketMemory
from services.marketdata.settings import MarketDataSettings
from services.marketdata.store import ContractStore

if TYPE_CHECKING:
    from libs.common.runtime import Runtime

    MarketRuntime = Runtime[ContractStore, MarketMemory]


_SHOWN = ("wanted_at", "attempts", "good_at", "checksum", "contracts", "unreadable", "failed_at", "reason")


def routes(runtime: "MarketRuntime") -> APIRouter:
    router = APIRouter(prefix="/contracts")
    answers = Answers(runtime)
    for path, endpoint in (
        ("/downloads", answers.downloads),
        ("/lookup", answers.lookup),
        ("/expiries/{underlying}", answers.expiries),
        ("/corporate-actions/{instrument}", answers.corporate_actions),
        ("/instrument/{instrument}", answers.instrument),
    ):
        router.add_api_route(path, endpoint)
    return router


class Answers:
    def __init__(self, runtime: "MarketRuntime") -> None:
        self._runtime = runtime

    @asynccontextmanager
    async def _store(self) -> AsyncIterator[ContractStore]:
        async with self._runtime.pool.acquire(timeout=2) as connection:
            yield ContractStore(connection)

    @property
    def _today(self) -> date:
        return self._runtime.memory.calendar.trading_day(self._runtime.clock.now())

    async def downloads(self) -> dict[str, object]:
        """How each broker's instrument dump stands: where it comes from, the last good one, the last refusal."""
        settings, now = load(MarketDataSettings), self._runtime.clock.now()
        async with self._store() as store:
            known = {row["source"]: row for row in await store.downloads.all()}
        shown = [_download(known.get(source.value) or {}, source, settings, now) for source in FORMATS]
        return {"at": settings.masters_at.isoformat("minutes"), "data": shown}

    async def lookup(
        self, source: MasterSource, token: str | None = None, symbol: str | None = None, exchange: str | None = None
    ) -> dict[str, object]:
        """The instruments that a broker's own token or symbol means; those listed today come first."""
        if token is None and symbol is None:
            raise Problem(422, "invalid", "name the broker's token or its symbol")
        async with self._store() as store:
            rows = await store.look_up(source, token=token, symbol=symbol, exchange=exchange)
        if not rows:
            what = f"token {token}" if token is not None else f"symbol {symbol}"
            raise Problem(404, "not_found", f"{source.value} knows no {what}")
        return {"data": [dict(row) for row in rows]}

    async def expiries(self, underlying: str) -> dict[str, object]:
        """The listed expiries by exchange and kind, which are a month's, and who is current and next."""
        async with self._store() as store:
            found = await store.expiries(underlying)
        if not found:
            raise Problem(404, "underlying_unknown", f"no contract on {underlying!r} is listed", underlying=underlying)
        series = [_series(exchange, kind, own, self._today) for (exchange, _, kind), own in sorted(found.items())]
        return {"underlying": underlying, "data": series}

    async def corporate_actions(self, instrument: str) -> dict[str, object]:
        """The splits, bonuses and dividends that adjust an instrument's history, the earliest first."""
        async with self._store() as store:
            found = await store.corporate_actions.of(InstrumentId(instrument))
        return {"instrument": instrument, "data": found}

    async def instrument(self, instrument: str) -> dict[str, object]:
        """What an instrument is or was, and what every broker calls it."""
        async with self._store() as store:
            found = await store.find(InstrumentId(instrument))
            if found is None:
                detail = f"{instrument!r} is not in the contract master, nor was it"
                raise Problem(404, "instrument_unknown", detail, instrument=instrument)
            brokers = await store.brokers_of(found.instrument)
        return {
            **found.model_dump(mode="json"),
            "expired": found.expiry is not None and found.expiry < self._today,
            "brokers": [dict(row) for row in brokers],
        }


def _series(exchange: str, kind: str, listed: list[ListedExpiry], today: date) -> dict[str, object]:
    months = with_months(expiry for expiry in listed if expiry.day >= today)
    return {
        "exchange": exchange,
        "kind": kind,
        "roles": roles(listed, today),
        "expiries": [
            {"expiry": day, "cycle": "monthly" if monthly else "weekly", "days": (day - today).days}
            for day, monthly in months.items()
        ],
    }


def _download(
    said: Mapping[str, object], source: MasterSource, settings: MarketDataSettings, now: datetime
) -> dict[str, object]:
    configured = source in settings.masters
    return {
        "source": source.value,
        "status": _status(said, now, configured=configured),
        "configured": configured,
        "publishes": bool(FORMATS[source].published),
        **{name: said.get(name) for name in _SHOWN},
    }


def _status(said: Mapping[str, object], now: datetime, *, configured: bool) -> str:
    until = said.get("running_until")
    if isinstance(until, datetime) and until > now:
        return "running"
    happened = {"waiting": "wanted_at", "refused": "failed_at", "good": "good_at"}
    never = "never" if configured else "not_configured"
    return next((status for status, when in happened.items() if said.get(when) is not None), never)
