"""Marketdata's own metrics."""

from prometheus_client import Counter, Gauge

TICKS = Counter("marketdata_ticks", "Ticks passed on", ["source"])
REFUSED = Counter("marketdata_ticks_refused", "Bad ticks, by fault", ["fault"])
QUARANTINED = Counter("marketdata_ticks_quarantined", "Bad ticks told on their own topic")
TICKER_RECONNECTS = Gauge("marketdata_ticker_reconnects", "Connections to brokers' tickers that were made anew")
TICKERS_CONNECTED = Gauge("marketdata_tickers_connected", "Connections to brokers' tickers that stand")
TICKERS_POLLED = Gauge("marketdata_tickers_polled", "Logins asked for quotes over HTTP: a connection gives none")
TICKER_TAKEOVERS = Gauge("marketdata_ticker_takeovers", "Times that another source took over an instrument")
STRANGERS = Gauge("marketdata_ticks_of_strangers", "Packets of instruments that nobody asked for")
WANTED = Gauge("marketdata_instruments_wanted", "Instruments asked of the live feed", ["fate"])
LATE = Gauge("marketdata_ticks_late", "Ticks received too late for their minute's candle")
MISSED = Counter("marketdata_candles_missed", "Candles to be repaired: Kafka brought ticks of theirs too late")
REPAIRED = Counter("marketdata_candles_repaired", "Candles made again from stored ticks, and said again")
FUTURE = Counter("marketdata_ticks_future", "Ticks whose receipt lies far ahead of our clock; in no candle")
UNREADABLE = Counter("marketdata_ticks_unreadable", "Messages of the tick topic that are no ticks")
CANDLES = Counter("marketdata_candles", "Candles closed")
ROWS = Counter("marketdata_series_rows", "Rows written to QuestDB", ["table"])
ROWS_WAITING = Gauge("marketdata_series_rows_waiting", "Ticks in Kafka that are not in QuestDB yet")
WRITER_FAILURES = Counter("marketdata_series_failures", "Times that the writer began again from its last commit")
REDIS_FAILURES = Counter(
    "marketdata_redis_failures", "Failed writes of the latest quotes, and looks whether they are there"
)
LAST_TICK = Gauge("marketdata_last_tick_timestamp_seconds", "Exchange time of the newest tick")
SETTLED = Counter("marketdata_contracts_settled", "Expired contracts, by whether their price was told", ["outcome"])
MASTERS = Counter("marketdata_master_downloads", "Brokers' instrument dumps", ["source", "outcome"])
