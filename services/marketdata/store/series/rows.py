"""Rows on their way into QuestDB, over ILP. Blocking: for the thread of whoever writes."""

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlsplit

import numpy as np
from questdb import Sender, TimestampMicros, TimestampNanos

from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import CandleClosed
from services.marketdata.domain.candles import Micros, micros

WRITE_MILLISECONDS = 10_000

Matrix = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Levels = Sequence[tuple[float, float, float]]
"""Price, quantity and number of orders of each level, the best first."""


class TickRow(NamedTuple):
    """A tuple: tens of thousands are made in a second."""

    instrument: InstrumentId
    source: str
    at: Micros
    received_at: Micros
    ltp: float
    ltq: int
    volume: int
    oi: int
    bid: float
    ask: float
    bid_quantity: int
    ask_quantity: int
    bids: Levels = ()
    asks: Levels = ()


class CandleRow(NamedTuple):
    instrument: InstrumentId
    source: str
    start: Micros
    open: float
    high: float
    low: float
    close: float
    volume: int
    oi: int


def candle_row(candle: CandleClosed) -> CandleRow:
    return CandleRow(
        candle.instrument,
        candle.source.value,
        micros(candle.start),
        candle.open,
        candle.high,
        candle.low,
        candle.close,
        candle.volume,
        candle.oi,
    )


class RowWriter:
    """Rows gather until `flush`, which returns once QuestDB has them in its log: a killed QuestDB keeps them then.

    An OSError or QuestDBError from `flush` means that they may not have arrived: write them all again, with a new
    writer. Repeats are harmless.
    """

    def __init__(self, url: str) -> None:
        self._sender = Sender.from_conf(
            f"http::addr={urlsplit(url).netloc};auto_flush=off;retry_timeout=0;request_timeout={WRITE_MILLISECONDS};"
        )
        self._sender.establish()  # type: ignore[no-untyped-call]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """What was not flushed is forgotten."""
        self._sender.close(flush=False)

    def add_ticks(self, ticks: Iterable[TickRow]) -> None:
        row = self._sender.row
        for tick in ticks:
            row(
                "ticks",
                symbols={"instrument": tick.instrument, "source": tick.source},
                columns={
                    "ltp": tick.ltp,
                    "ltq": tick.ltq,
                    "volume": tick.volume,
                    "oi": tick.oi,
                    "bid": tick.bid,
                    "ask": tick.ask,
                    "bid_quantity": tick.bid_quantity,
                    "ask_quantity": tick.ask_quantity,
                    "received_at": TimestampMicros(tick.received_at),
                    "bids": _by_row(tick.bids) if tick.bids else None,
                    "asks": _by_row(tick.asks) if tick.asks else None,
                },
                at=TimestampNanos(tick.at * 1_000),
            )

    def add_candles(self, candles: Iterable[CandleRow], table: str = "candles") -> None:
        for candle in candles:
            self._sender.row(
                table,
                symbols={"instrument": candle.instrument, "source": candle.source},
                columns={
                    "open": candle.open,
                    "high": candle.high,
                    "low": candle.low,
                    "close": candle.close,
                    "volume": candle.volume,
                    "oi": candle.oi,
                },
                at=TimestampNanos(candle.start * 1_000),
            )

    def flush(self) -> None:
        self._sender.flush()


def _by_row(levels: Levels) -> Matrix:
    """QuestDB's manner: the first row holds the prices, the second the quantities, the third the orders."""
    return np.ascontiguousarray(np.array(levels, dtype=np.float64).T)
