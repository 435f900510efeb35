"""History that did not come from the feed: files, a broker's history API; and what a day's candles are worth."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request

from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed
from libs.common.contracts.masters import MasterSource
from libs.common.problems import Problem
from libs.common.settings import MarketHours, load
from libs.common.trading_calendar import TradingCalendar
from services.marketdata.adapters.candle_files import CandleFileTooLong, CandleFileUnreadable, Form
from services.marketdata.adapters.kite_history import HistoryRefused, KiteHistory
from services.marketdata.api import keeping
from services.marketdata.api.history import aware, listed, within_reason
from services.marketdata.api.uploads import Uploads
from services.marketdata.memory import MarketMemory
from services.marketdata.settings import BarLabel, HistorySettings
from services.marketdata.store import ContractStore

if TYPE_CHECKING:
    from libs.common.runtime import Runtime

    MarketRuntime = Runtime[ContractStore, MarketMemory]


SPEAKER = MasterSource.ZERODHA
"""Whose tokens the history API's dialect (Kite Connect) takes."""
LONGEST_BACKFILL = timedelta(days=366)
"""Seven questions to the broker. More would take longer than a client's request lasts, go on, and be sent again."""


def routes(runtime: "MarketRuntime") -> APIRouter:
    router = APIRouter()
    memory = runtime.memory
    sessions = TradingCalendar(MarketHours.EXCHANGE)
    importing = Uploads(load(HistorySettings))
    backfilling = asyncio.Lock()

    @router.get("/history/{instrument}/quality")
    async def quality(instrument: str, day: date | None = None) -> dict[str, object]:
        contract = await listed(runtime, instrument)
        now = runtime.clock.now()
        wanted = within_reason(day, "day") if day else memory.calendar.trading_day(now)
        return await keeping.quality(memory.series, memory.calendar, contract.instrument, wanted, now)

    @router.post("/history/{instrument}/import")
    async def import_candles(
        instrument: str,
        request: Request,
        label: BarLabel,
        form: Annotated[Form, Query(alias="format")] = Form.CSV,
        outside: bool = False,
    ) -> dict[str, object]:
        contract = await listed(runtime, instrument)
        try:
            async with importing.uploaded(request) as file:
                found = await keeping.import_candles(
                    memory.series, contract.instrument, file, form, label, None if outside else sessions
                )
        except CandleFileTooLong as error:
            raise Problem(413, "too_large", str(error)) from error
        except CandleFileUnreadable as error:
            raise Problem(422, "file_unreadable", str(error)) from error
        return {"instrument": contract.instrument, **asdict(found)}

    @router.post("/history/{instrument}/backfill")
    async def backfill(instrument: str, start: datetime, end: datetime) -> dict[str, object]:
        contract = await listed(runtime, instrument)
        since, until = _period(start, end)
        async with _alone(backfilling):
            return {"instrument": contract.instrument, "kept": await _backfill(runtime, contract, since, until)}

    return router


def _period(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    since, until = aware(start, "start"), aware(end, "end")
    if since is None or until is None or since >= until:
        raise Problem(422, "invalid", f"start {start} is not before end {end}")
    if until - since > LONGEST_BACKFILL:
        detail = f"{(until - since).days} days: ask for {LONGEST_BACKFILL.days} at most, or backfill by command"
        raise Problem(422, "invalid", detail)
    return since, until


@contextlib.asynccontextmanager
async def _alone(backfilling: asyncio.Lock) -> AsyncIterator[None]:
    """The broker counts our requests: of two backfills at once both would be refused in the middle."""
    if backfilling.locked():
        detail = "the broker is being asked for other candles; send this again when it has given them"
        raise Problem(429, "busy", detail, headers={"Retry-After": "5"})
    async with backfilling:
        yield


async def _backfill(runtime: "MarketRuntime", contract: InstrumentListed, since: datetime, until: datetime) -> int:
    broker, series = broker_history(), runtime.memory.series
    try:
        token, lot = await _called(runtime, contract.instrument)
        now = runtime.clock.now()
        return await keeping.backfill(series, broker, contract.instrument, token, since, until, now, lot)
    except HistoryRefused as error:
        raise Problem(502, "broker_refused", str(error)) from error
    finally:
        await broker.close()


async def _called(runtime: "MarketRuntime", instrument: InstrumentId) -> tuple[str, int]:
    """What the broker behind the history API calls it, by its dump, and units in what it counts. What has expired keeps
    its token until the exchange gives that to another contract, with whose candles the broker would answer.
    """
    async with runtime.pool.acquire(timeout=2) as connection:
        store = ContractStore(connection)
        known = next((row for row in await store.brokers_of(instrument) if row["source"] == SPEAKER.value), None)
        if known is None:
            detail = f"{SPEAKER.value}'s dump has no {instrument}: name it in MARKETDATA_MASTERS"
            raise Problem(422, "no_broker_token", f"{detail}, or backfill by command with the token")
        token = str(known["token"])
        if not known["listed"]:
            newest = (await store.look_up(SPEAKER, token=token, symbol=None, exchange=None))[0]["instrument"]
            if newest != instrument:
                detail = f"{SPEAKER.value}'s token {token} of {instrument} means {newest} now"
                raise Problem(422, "no_broker_token", f"{detail}, whose candles would be kept under the wrong name")
        return token, (await store.lots(SPEAKER)).get(instrument, 1)


def broker_history() -> KiteHistory:
    settings = load(HistorySettings)
    if not settings.url:
        raise Problem(422, "not_configured", "no history API is configured: set MARKETDATA_HISTORY_URL")
    return KiteHistory(settings.url, settings.api_key, settings.access_token.get_secret_value())
