"""Price history: a page of JSON, or all of it as a stream of CSV, Parquet, Arrow or JSON lines."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import orjson
from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed
from libs.common.contracts.masters import CorporateActionKind
from libs.common.problems import Problem
from libs.common.trading_calendar import IST
from services.marketdata.adapters import arrow
from services.marketdata.domain.corporate_actions import (
    LONGEST_PAUSE,
    Adjustment,
    CorporateAction,
    NotAdjustable,
    adjustment_factors,
)
from services.marketdata.domain.intervals import Interval
from services.marketdata.memory import MarketMemory
from services.marketdata.store import ContractStore
from services.marketdata.store.series import Format, Selection, TimeSeries

if TYPE_CHECKING:
    from libs.common.runtime import Runtime

    MarketRuntime = Runtime[ContractStore, MarketMemory]

MOST_ROWS = 5_000
DEFAULT_ROWS = 500
FIRST_YEAR, LAST_YEAR = 1900, 2200
EARLIEST = datetime.fromisoformat("1990-01-01T00:00:00+05:30")


class Answer(StrEnum):
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"
    ARROW = "arrow"
    NDJSON = "ndjson"


MEDIA = {
    Answer.JSON: "application/json",
    Answer.CSV: "text/csv",
    Answer.PARQUET: "application/vnd.apache.parquet",
    Answer.ARROW: "application/vnd.apache.arrow.stream",
    Answer.NDJSON: "application/x-ndjson",
}


def routes(runtime: "MarketRuntime") -> APIRouter:
    router = APIRouter()
    memory = runtime.memory

    @router.get("/history/{instrument}")
    async def history(
        instrument: str,
        interval: str = Interval.ONE_MINUTE,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = DEFAULT_ROWS,
        adjusted: bool = False,
        form: Annotated[str, Query(alias="format")] = Answer.JSON,
    ) -> Response:
        """Candles, or ticks, that start in [start, end), oldest first.

        JSON holds the newest `limit` of them; `next` is the `end` to ask for the page before. Every other format is
        all of them, streamed. Times without an offset are refused. `adjusted`: as if every split, bonus and dividend
        since then had happened before.
        """
        contract = await listed(runtime, instrument)
        answer = _answer(form)
        selection = Selection(
            contract.instrument,
            interval_of(interval),
            aware(start, "start") or EARLIEST,
            aware(end, "end") or runtime.clock.now() + timedelta(days=1),
        )
        if selection.start >= selection.end:
            raise Problem(422, "invalid", f"start {selection.start} is not before end {selection.end}")
        if adjusted:
            selection = await _adjusted(runtime, selection)
        if answer is Answer.JSON:
            return await _page(memory, selection, limit, adjusted=adjusted)
        return await _stream(memory, selection, answer)

    return router


async def _page(memory: MarketMemory, selection: Selection, limit: int, *, adjusted: bool) -> Response:
    rows = await memory.series.rows(selection, limit + 1)
    more, rows = len(rows) > limit, rows[-limit:]
    body = {
        "instrument": selection.instrument,
        "interval": selection.interval,
        "adjusted": adjusted,
        "candles": rows,
        "next": rows[0]["start"] if more else None,
    }
    return Response(orjson.dumps(body), media_type=MEDIA[Answer.JSON])


async def _stream(memory: MarketMemory, selection: Selection, answer: Answer) -> Response:
    match answer:
        case Answer.CSV:
            chunks = memory.series.export(selection, Format.CSV)
        case Answer.PARQUET:
            chunks = memory.series.export(selection, Format.PARQUET)
        case Answer.ARROW:
            chunks = arrow.as_arrow(memory.series.export(selection, Format.CSV))
        case _:
            chunks = arrow.as_json_lines(memory.series.export(selection, Format.CSV))
    # Before the first byte a refusal can still be told.
    first = await anext(chunks, b"")
    name = f"{selection.instrument.replace(':', '-')}-{selection.interval}.{answer}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(_rest(first, chunks), media_type=MEDIA[answer], headers=headers)


async def _rest(first: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in chunks:
        yield chunk


async def _adjusted(runtime: "MarketRuntime", selection: Selection) -> Selection:
    """For the splits, bonuses and dividends since the selection's beginning; those announced for later wait."""
    async with runtime.pool.acquire(timeout=2) as connection:
        actions = await ContractStore(connection).corporate_actions.of(selection.instrument)
    since, today = selection.start.astimezone(IST).date(), runtime.clock.now().astimezone(IST).date()
    due = [action for action in actions if since < action.ex_date <= today]
    try:
        return replace(selection, adjustments=await _factors(runtime.memory.series, selection.instrument, due))
    except NotAdjustable as error:
        raise Problem(409, "not_adjustable", str(error), instrument=selection.instrument) from error


async def _factors(
    series: TimeSeries, instrument: InstrumentId, actions: Sequence[CorporateAction]
) -> Sequence[Adjustment]:
    """A dividend from before the first stored candle changes nothing that can be read."""
    due, closes = list(actions), dict[date, float]()
    for action in [each for each in actions if each.kind is CorporateActionKind.DIVIDEND]:
        ex = datetime.combine(action.ex_date, time(), IST)
        before = await series.close_before(instrument, ex)
        if before is None:
            due.remove(action)
        elif ex - before[0] <= LONGEST_PAUSE:
            closes[action.ex_date] = before[1]
    return adjustment_factors(due, closes)


async def listed(runtime: "MarketRuntime", instrument: str) -> InstrumentListed:
    """An instrument of today, or of any day before: what expired keeps its history."""
    contract = runtime.memory.listed.get(InstrumentId(instrument))
    if contract is None:
        async with runtime.pool.acquire(timeout=2) as connection:
            contract = await ContractStore(connection).find(InstrumentId(instrument))
    if contract is None:
        raise Problem(404, "instrument_unknown", f"{instrument!r} is not in the contract master", instrument=instrument)
    return contract


def interval_of(text: str) -> Interval:
    try:
        return Interval(text)
    except ValueError:
        known = ", ".join(Interval)
        raise Problem(422, "interval_unknown", f"interval {text!r} is not one of {known}", interval=text) from None


def _answer(text: str) -> Answer:
    try:
        return Answer(text)
    except ValueError:
        known = ", ".join(Answer)
        raise Problem(422, "format_unknown", f"format {text!r} is not one of {known}", format=text) from None


def aware(at: datetime | None, name: str) -> datetime | None:
    if at is not None and at.tzinfo is None:
        raise Problem(422, "invalid", f"{name} has no offset: write it as 2026-11-24T09:15:00+05:30")
    if at is not None:
        within_reason(at.date(), name)
    return at


def within_reason(day: date, name: str) -> date:
    """Beyond these years a time cannot be moved by an offset, nor asked for in QuestDB."""
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise Problem(422, "invalid", f"{name} is of the year {day.year}, not from {FIRST_YEAR} to {LAST_YEAR}")
    return day
