"""QuestDB's tables and views. Rows carry the application's timestamps; tables keep one row per (ts, instrument).

Ticks are kept for three days (`archive` keeps them longer, as Parquet files), candles until somebody drops them.
Longer candles are materialized views of the one-minute ones: QuestDB brings them up to date after every write,
whatever its order, so history never adds up more than a day's candles by itself.
"""

from datetime import timedelta

from services.marketdata.domain.intervals import STOCKS_OPEN, SUMMED, Interval, grid_offset

TICK_DAYS = 3

_CANDLES = """
    CREATE TABLE IF NOT EXISTS {} (
        instrument SYMBOL {}, source SYMBOL, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE,
        volume LONG, oi LONG, ts TIMESTAMP
    ) TIMESTAMP(ts) PARTITION BY MONTH WAL DEDUP UPSERT KEYS(ts, instrument)
"""
CANDLES = _CANDLES.format("candles", "CAPACITY 65536 INDEX")
"""By the month: a reader maps every column of every partition, and ten years of days are half of what Linux lets a
process map (vm.max_map_count). Two such readers at once ended QuestDB."""
TICKS = f"""
    CREATE TABLE IF NOT EXISTS ticks (
        instrument SYMBOL CAPACITY 65536, source SYMBOL, ltp DOUBLE, ltq LONG, volume LONG, oi LONG,
        bid DOUBLE, ask DOUBLE, bid_quantity LONG, ask_quantity LONG, received_at TIMESTAMP, ts TIMESTAMP,
        bids DOUBLE[][], asks DOUBLE[][]
    ) TIMESTAMP(ts) PARTITION BY DAY TTL {TICK_DAYS} DAYS WAL DEDUP UPSERT KEYS(ts, instrument)
"""

# What tables of an earlier release lack.
NEW_COLUMNS = (
    "ALTER TABLE ticks ADD COLUMN IF NOT EXISTS bids DOUBLE[][]",
    "ALTER TABLE ticks ADD COLUMN IF NOT EXISTS asks DOUBLE[][]",
)
OLD_CANDLES = "candles_by_day"
"""What was partitioned by the day, from when it is set aside until all of it is copied."""
PARTITIONED_BY_DAY = f"""
    SELECT table_name FROM tables()
    WHERE table_name = 'candles' AND partitionBy = 'DAY' OR table_name = '{OLD_CANDLES}'
"""  # noqa: S608 - our own words
_COPIED = "candles SELECT instrument, source, open, high, low, close, volume, oi, ts FROM"
COPY_OLD_CANDLES = f"INSERT INTO {_COPIED} candles_by_day"
ARRIVING = "arriving_"
"""How tables begin in which candles gather that are to be taken over together or not at all; a UUIDv7 follows."""
ARRIVED = "SELECT table_name FROM tables() WHERE table_name LIKE 'arriving_%'"

INVALID = "SELECT view_name FROM materialized_views() WHERE view_status = 'invalid' AND view_name LIKE 'candles_%'"
"""A view gives up when somebody drops a part of its table, by hand say."""
REFRESH = "REFRESH MATERIALIZED VIEW {} FULL"
SUSPENDED = "SELECT name FROM wal_tables() WHERE suspended"

CANDLE_COLUMNS = ("source", "open", "high", "low", "close", "volume", "oi")
SUMS = (
    "last(source) source, first(open) open, max(high) high, min(low) low, last(close) close,"
    " sum(volume) volume, last(oi) oi"
)


def view_of(interval: Interval) -> str:
    return f"candles_{interval.value}"


def resume(table: str) -> str:
    what = "MATERIALIZED VIEW" if table in map(view_of, SUMMED) else "TABLE"
    return f"ALTER {what} {table} RESUME WAL"


def sampled(interval: Interval, offset: timedelta) -> str:
    """QuestDB's grid: whole intervals since 1970 UTC, moved by `offset`."""
    minutes = offset // timedelta(minutes=1)
    return f"SAMPLE BY {interval.value} ALIGN TO CALENDAR WITH OFFSET '{minutes // 60:02}:{minutes % 60:02}'"


def arriving(table: str) -> str:
    return _CANDLES.format(table, "")


def take_over(table: str) -> str:
    """In one transaction: without ATOMIC QuestDB commits after every million rows."""
    return f"INSERT ATOMIC INTO {_COPIED} {table}"


def drop_views() -> list[str]:
    return [f"DROP MATERIALIZED VIEW IF EXISTS {view_of(each)}" for each in SUMMED]


def views() -> list[str]:
    """Each counted from 09:15 IST, a day from the Indian midnight."""
    return [
        f"CREATE MATERIALIZED VIEW IF NOT EXISTS {view_of(each)} WITH BASE candles AS"  # noqa: S608 - our own words
        f" (SELECT ts, instrument, {SUMS} FROM candles {sampled(each, grid_offset(each, STOCKS_OPEN))})"
        " PARTITION BY MONTH"
        for each in SUMMED
    ]
