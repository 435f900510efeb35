"""Ticks and candles in QuestDB: written over ILP, read over its HTTP query interface.

Rows carry the application's timestamps and tables drop duplicates by (ts, instrument), so writing twice is harmless.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from urllib.parse import urlsplit

import httpx
from questdb import Sender, TimestampNanos

from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import CandleClosed, Tick

QUERY_SECONDS = 10.0
WRITE_MILLISECONDS = 5_000

_TABLES = (
    """
    CREATE TABLE IF NOT EXISTS ticks (
        instrument SYMBOL CAPACITY 65536, source SYMBOL, ltp DOUBLE, ltq LONG, volume LONG, oi LONG,
        bid DOUBLE, ask DOUBLE, bid_quantity LONG, ask_quantity LONG, received_at TIMESTAMP, ts TIMESTAMP
    ) TIMESTAMP(ts) PARTITION BY DAY TTL 3 DAYS WAL DEDUP UPSERT KEYS(ts, instrument)
    """,
    """
    CREATE TABLE IF NOT EXISTS candles (
        instrument SYMBOL CAPACITY 65536, source SYMBOL, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE,
        volume LONG, oi LONG, ts TIMESTAMP
    ) TIMESTAMP(ts) PARTITION BY DAY WAL DEDUP UPSERT KEYS(ts, instrument)
    """,
)


class Interval(StrEnum):
    ONE_MINUTE = "1m"
    FIVE_MINUTES = "5m"
    FIFTEEN_MINUTES = "15m"
    ONE_HOUR = "1h"
    ONE_DAY = "1d"


# The session begins at 09:15 IST: hours are counted from there, shorter intervals divide it already, and a day is
# the Indian date.
_ALIGNMENT = {
    Interval.ONE_HOUR: "ALIGN TO CALENDAR TIME ZONE 'Asia/Kolkata' WITH OFFSET '00:15'",
    Interval.ONE_DAY: "ALIGN TO CALENDAR TIME ZONE 'Asia/Kolkata'",
}


@dataclass(frozen=True, slots=True)
class Candle:
    start: datetime
    source: str
    open: float
    high: float
    low: float
    close: float
    volume: int
    oi: int


class TimeSeriesUnavailable(ConnectionError):
    """QuestDB did not answer, or refused."""


class TimeSeries:
    """One client for reading, on the loop; one for writing, in whichever thread calls `write`."""

    def __init__(self, url: str) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=QUERY_SECONDS)
        self._address = urlsplit(url).netloc
        self._sender: Sender | None = None

    async def close(self) -> None:
        await self._client.aclose()
        self._disconnect()

    async def create_tables(self) -> None:
        for statement in _TABLES:
            await self._query(statement)

    def write(self, ticks: Sequence[Tick], candles: Sequence[CandleClosed]) -> None:
        """Blocking: one ILP request. OSError or QuestDBError when the rows did not arrive; write them again then."""
        sender = self._connect()
        try:
            for tick in ticks:
                _add_tick(sender, tick)
            for candle in candles:
                _add_candle(sender, candle)
            sender.flush()
        except BaseException:
            self._disconnect()
            raise

    async def candles(
        self, instrument: InstrumentId, interval: Interval, start: datetime, end: datetime, limit: int
    ) -> list[Candle]:
        """The newest `limit` candles that start in [start, end), oldest first."""
        name = instrument.replace("'", "''")
        where = f"instrument = '{name}' AND ts >= '{_literal(start)}' AND ts < '{_literal(end)}'"
        # QuestDB's HTTP interface takes no parameters: the one text is quoted, the rest is ours.
        if interval is Interval.ONE_MINUTE:
            columns = "ts, source, open, high, low, close, volume, oi"
            inner = f"SELECT {columns} FROM candles WHERE {where}"  # noqa: S608
        else:
            columns = (
                "ts, last(source) source, first(open) open, max(high) high, min(low) low, last(close) close,"
                " sum(volume) volume, last(oi) oi"
            )
            aligned = _ALIGNMENT.get(interval, "ALIGN TO CALENDAR")
            inner = f"SELECT {columns} FROM candles WHERE {where} SAMPLE BY {interval} FILL(NONE) {aligned}"  # noqa: S608
        rows = await self._query(f"SELECT * FROM (({inner}) ORDER BY ts DESC LIMIT {int(limit)}) ORDER BY ts")  # noqa: S608
        return [_candle(row) for row in rows]

    async def _query(self, statement: str) -> list[list[object]]:
        try:
            answer = await self._client.get("/exec", params={"query": statement, "timings": "false"})
        except httpx.HTTPError as error:
            raise TimeSeriesUnavailable(f"QuestDB does not answer: {error!r}") from error
        if answer.status_code != httpx.codes.OK:
            raise TimeSeriesUnavailable(f"QuestDB refused {answer.status_code}: {answer.text[:300]}")
        rows: list[list[object]] = answer.json().get("dataset", [])
        return rows

    def _connect(self) -> Sender:
        if self._sender is None:
            # The caller keeps the rows and tries again, so the client must not.
            self._sender = Sender.from_conf(
                f"http::addr={self._address};auto_flush=off;retry_timeout=0;request_timeout={WRITE_MILLISECONDS};"
            )
            self._sender.establish()  # type: ignore[no-untyped-call]
        return self._sender

    def _disconnect(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.close(flush=False)


def _add_tick(sender: Sender, tick: Tick) -> None:
    sender.row(
        "ticks",
        symbols={"instrument": tick.instrument, "source": tick.source.value},
        columns={
            "ltp": tick.ltp,
            "ltq": tick.ltq,
            "volume": tick.volume,
            "oi": tick.oi,
            "bid": tick.bid,
            "ask": tick.ask,
            "bid_quantity": tick.bid_quantity,
            "ask_quantity": tick.ask_quantity,
            "received_at": tick.received_at,
        },
        at=_nanos(tick.at),
    )


def _add_candle(sender: Sender, candle: CandleClosed) -> None:
    sender.row(
        "candles",
        symbols={"instrument": candle.instrument, "source": candle.source.value},
        columns={
            "open": candle.open,
            "high": candle.high,
            "low": candle.low,
            "close": candle.close,
            "volume": candle.volume,
            "oi": candle.oi,
        },
        at=_nanos(candle.start),
    )


def _nanos(at: datetime) -> TimestampNanos:
    return TimestampNanos(round(at.timestamp() * 1_000_000) * 1_000)


def _literal(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _candle(row: Sequence[object]) -> Candle:
    start, source, opened, high, low, closed, volume, oi = row
    return Candle(
        datetime.fromisoformat(str(start)),
        str(source),
        float(str(opened)),
        float(str(high)),
        float(str(low)),
        float(str(closed)),
        int(str(volume or 0)),
        int(str(oi or 0)),
    )
