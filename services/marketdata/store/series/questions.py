"""What is asked of QuestDB's stored ticks and candles: which rows, of which length, with which adjustments.

QuestDB's HTTP interface takes no parameters: texts from outside go through `quoted`, everything else is our own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from libs.common.contracts.ids import InstrumentId
from libs.common.trading_calendar import IST
from services.marketdata.domain.corporate_actions import Adjustment
from services.marketdata.domain.intervals import STOCKS_OPEN, Interval, grid_offset, opens_at
from services.marketdata.store.series.schema import CANDLE_COLUMNS, SUMS, sampled, view_of

TICK_COLUMNS = (
    "source",
    "ltp",
    "ltq",
    "volume",
    "oi",
    "bid",
    "ask",
    "bid_quantity",
    "ask_quantity",
    "received_at",
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PRICES = frozenset({"open", "high", "low", "close", "ltp", "bid", "ask"})
_QUANTITIES = frozenset({"volume", "ltq", "oi", "bid_quantity", "ask_quantity"})


@dataclass(frozen=True, slots=True)
class Selection:
    """Rows of one instrument that start in [start, end), oldest first; `adjustments` are the earliest first."""

    instrument: InstrumentId
    interval: Interval
    start: datetime
    end: datetime
    adjustments: Sequence[Adjustment] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return TICK_COLUMNS if self.interval is Interval.TICK else CANDLE_COLUMNS

    def sql(self, newest: int | None = None) -> str:
        """The rows, or the `newest` of them."""
        limit = f" LIMIT -{newest}" if newest is not None else ""
        # The inner query's columns are plain, so that QuestDB walks its index; the outer one multiplies and names them.
        chosen = ", ".join(self._adjusted(column) for column in self.columns)
        return f"SELECT ts AS start, {chosen} FROM ({self._rows()}{limit})"  # noqa: S608 - see the module's text

    def count(self) -> str:
        return f"SELECT count() FROM ({self._rows()})"  # noqa: S608

    def _rows(self) -> str:
        columns = ", ".join(self.columns)
        where = self._between(self.start, self.end)
        opens = opens_at(self.instrument)
        offset = grid_offset(self.interval, opens)
        match self.interval:
            case Interval.TICK:
                return f"SELECT ts, {columns} FROM ticks WHERE {where}"  # noqa: S608
            case Interval.ONE_MINUTE:
                return f"SELECT ts, {columns} FROM candles WHERE {where}"  # noqa: S608
            case longer if offset == grid_offset(longer, STOCKS_OPEN):
                return f"SELECT ts, {columns} FROM {view_of(longer)} WHERE {where}"  # noqa: S608
            case longer:
                # All the minutes of the candles that start within, and no others': parts would pass for whole candles.
                whole = self._between(_ceiled(self.start, longer, offset), _ceiled(self.end, longer, offset))
                return f"SELECT ts, {SUMS} FROM candles WHERE {whole} {sampled(longer, offset)}"  # noqa: S608

    def _between(self, start: datetime, end: datetime) -> str:
        return f"instrument = '{quoted(self.instrument)}' AND ts >= '{literal(start)}' AND ts < '{literal(end)}'"

    def _adjusted(self, column: str) -> str:
        if not self.adjustments or column not in _PRICES | _QUANTITIES:
            return column
        price = column in _PRICES
        cases = " ".join(
            f"WHEN ts < '{literal(datetime.combine(each.before, time(), IST))}'"
            f" THEN {each.price if price else each.volume!r}"
            for each in self.adjustments
        )
        product = f"{column} * CASE {cases} ELSE 1.0 END"
        return f"round({product}, 4) AS {column}" if price else f"cast(round({product}, 0) AS LONG) AS {column}"


def _ceiled(at: datetime, interval: Interval, offset: timedelta) -> datetime:
    """The first start of a candle that is not before `at`."""
    return at + (_EPOCH + offset - at) % interval.length


def quoted(text: str) -> str:
    """Safe, but not found: QuestDB 9.3 looks a doubled quote up in an index as it stands. No instrument has one."""
    return text.replace("'", "''")


def literal(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
