"""QuestDB's tables and views. Rows carry the application's timestamps; tables keep one row per (ts, instrument).

Ticks are kept for three days (`archive` keeps them longer, as Parquet files), candles until somebody drops them.
Longer candles are materialized views of the one-minute ones: QuestDB brings them up to date after every write,
whatever its order, so history never adds up more than a day's candles by itself.
"""

from datetime import timedelta

from services.marketdata.domain.intervals import STOCKS_OPEN, SUMMED, Interval, grid_offset

TICK_DAYS = 3

TABLES = (
    f"""
    CREATE TABLE IF NOT EXISTS ticks (
        instrument SYMBOL CAPACITY 65536, source SYMBOL, ltp DOUBLE, ltq LONG, volume LONG, oi LONG,
        bid DOUBLE, ask DOUBLE, bid_quantity LONG, ask_quantity LONG, received_at TIMESTAMP, ts TIMESTAMP,
        bids DOUBLE[][], asks DOUBLE[][]
    ) TIMESTAMP(ts) PARTITION BY DAY TTL {TICK_DAYS} DAYS WAL DEDUP UPSERT KEYS(ts, instrument)
    """,
    """
    CREATE TABLE IF NOT EXISTS candles (
        instrument SYMBOL CAPACITY 65536 INDEX, source SYMBOL, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE,
        volume LONG, oi LONG, ts TIMESTAMP
    ) TIMESTAMP(ts) PARTITION BY DAY WAL DEDUP UPSERT KEYS(ts, instrument)
    """,
    # Tables of an earlier release.
    "ALTER TABLE ticks ADD COLUMN IF NOT EXISTS bids DOUBLE[][]",
    "ALTER TABLE ticks ADD COLUMN IF NOT EXISTS asks DOUBLE[][]",
)
INDEXED = "SELECT \"indexed\" FROM table_columns('candles') WHERE \"column\" = 'instrument'"
ADD_INDEX = "ALTER TABLE candles ALTER COLUMN instrument ADD INDEX"

CANDLE_COLUMNS = ("source", "open", "high", "low", "close", "volume", "oi")
SUMS = (
    "last(source) source, first(open) open, max(high) high, min(low) low, last(close) close,"
    " sum(volume) volume, last(oi) oi"
)


def view_of(interval: Interval) -> str:
    return f"candles_{interval.value}"


def sampled(interval: Interval, offset: timedelta) -> str:
    """QuestDB's grid: whole intervals since 1970 UTC, moved by `offset`."""
    minutes = offset // timedelta(minutes=1)
    return f"SAMPLE BY {interval.value} ALIGN TO CALENDAR WITH OFFSET '{minutes // 60:02}:{minutes % 60:02}'"


def views() -> list[str]:
    """Each counted from 09:15 IST, a day from the Indian midnight."""
    return [
        f"CREATE MATERIALIZED VIEW IF NOT EXISTS {view_of(each)} WITH BASE candles AS"  # noqa: S608 - our own words
        f" (SELECT ts, instrument, {SUMS} FROM candles {sampled(each, grid_offset(each, STOCKS_OPEN))})"
        " PARTITION BY MONTH"
        for each in SUMMED
    ]
