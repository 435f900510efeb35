"""The whole of marketdata at a glance: it reads nothing from Kafka; one feed drives it."""

from libs.common.contracts import topics
from libs.common.service import Service
from services.marketdata import api, streams
from services.marketdata.memory import MarketMemory
from services.marketdata.store import ContractStore

app = Service(
    name="marketdata",
    store=ContractStore,
    memory=MarketMemory,
    produces=[topics.CONTRACTS, topics.TICKS, topics.QUOTES, topics.CANDLES],
    routes=api.routes,
    background=[streams.run_feed, streams.save_quotes, streams.write_series],
)
