"""One-minute candles from a broker's history API in Kite Connect's dialect.

`GET /instruments/historical/{token}/minute?from=&to=&oi=1`; a candle is [start, open, high, low, close, volume, oi] and
its time the start of its minute. A request covers at most 60 days, and three a second are allowed.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import httpx

from libs.common.contracts.ids import InstrumentId
from libs.common.trading_calendar import IST
from services.marketdata.domain.candles import micros
from services.marketdata.store.series import CandleRow

WINDOW = timedelta(days=60)
BETWEEN_SECONDS = 0.34
ATTEMPTS = 4
SECONDS = 15.0
SOURCE = "BACKFILLED"
TOO_MANY = 429


class HistoryRefused(ConnectionError):
    """The broker did not give the candles; says what it said."""


class KiteHistory:
    def __init__(self, base_url: str, api_key: str, access_token: str) -> None:
        headers = {"X-Kite-Version": "3", "Authorization": f"token {api_key}:{access_token}"}
        self._client = httpx.AsyncClient(base_url=base_url, headers=headers, timeout=SECONDS)

    async def close(self) -> None:
        await self._client.aclose()

    async def minutes(
        self, instrument: InstrumentId, token: str, start: datetime, end: datetime
    ) -> AsyncIterator[list[CandleRow]]:
        """The candles that start in [start, end), a window at a time."""
        since = start
        while since < end:
            until = min(since + WINDOW, end)
            yield [
                row
                for row in _rows(instrument, await self._ask(token, since, until))
                if micros(since) <= row.start < micros(until)
            ]
            since = until
            if since < end:
                await asyncio.sleep(BETWEEN_SECONDS)

    async def _ask(self, token: str, since: datetime, until: datetime) -> Mapping[str, Any]:
        wanted = {"from": _text(since), "to": _text(until), "oi": "1"}
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = await self._client.get(f"/instruments/historical/{token}/minute", params=wanted)
            except httpx.HTTPError as error:
                raise HistoryRefused(f"the broker's history API does not answer: {error!r}") from error
            if answer.status_code != TOO_MANY or attempt == ATTEMPTS:
                return _data(answer)
            await asyncio.sleep(BETWEEN_SECONDS * 2**attempt)
        raise AssertionError("the last attempt returns")


def _data(answer: httpx.Response) -> Mapping[str, Any]:
    try:
        document: dict[str, Any] = answer.json()
    except ValueError as error:
        raise HistoryRefused(f"the broker answered {answer.status_code} without JSON") from error
    if answer.status_code != httpx.codes.OK or document.get("status") != "success":
        said = document.get("message") or document.get("error_type") or "no reason"
        raise HistoryRefused(f"the broker answered {answer.status_code}: {said}")
    data: Mapping[str, Any] = document["data"]
    return data


def _rows(instrument: InstrumentId, data: Mapping[str, Any]) -> list[CandleRow]:
    try:
        return [
            CandleRow(
                instrument,
                SOURCE,
                micros(datetime.fromisoformat(at)),
                float(opened),
                float(high),
                float(low),
                float(close),
                int(volume),
                int(rest[0]) if rest else 0,
            )
            for at, opened, high, low, close, volume, *rest in data["candles"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise HistoryRefused(f"the broker's candles cannot be read: {error!r}") from error


def _text(at: datetime) -> str:
    return at.astimezone(IST).strftime("%Y-%m-%d %H:%M:%S")
