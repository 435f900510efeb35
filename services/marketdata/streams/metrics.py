"""Marketdata's own metrics."""

from prometheus_client import Counter, Gauge

TICKS = Counter("marketdata_ticks", "Ticks passed on", ["source"])
REFUSED = Counter("marketdata_ticks_refused", "Bad ticks, by fault", ["fault"])
LATE = Gauge("marketdata_ticks_late", "Ticks that came after their minute's candle was closed")
CANDLES = Counter("marketdata_candles", "Candles closed")
ROWS = Counter("marketdata_series_rows", "Rows written to QuestDB", ["table"])
ROWS_WAITING = Gauge("marketdata_series_rows_waiting", "Rows not yet written to QuestDB")
ROWS_DROPPED = Counter("marketdata_series_rows_dropped", "Rows given up because QuestDB was away too long", ["table"])
REDIS_FAILURES = Counter("marketdata_redis_failures", "Failed writes of the latest quotes")
LAST_TICK = Gauge("marketdata_last_tick_timestamp_seconds", "Exchange time of the newest tick")
