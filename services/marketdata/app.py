"""The whole of marketdata at a glance: one feed drives it; people ask for dumps, custom symbols, corporate actions."""

from libs.common.contracts import topics
from libs.common.contracts.market import PricesRequested, WatchRenewed
from libs.common.contracts.masters import (
    ContractsDownloadRequested,
    CorporateActionsImportRequested,
    CustomSymbolDeleteRequested,
    CustomSymbolSaveRequested,
)
from libs.common.service import Service, Start, on, stream
from services.marketdata import api, handlers, streams
from services.marketdata.memory import MarketMemory
from services.marketdata.store import ContractStore

app = Service(
    name="marketdata",
    store=ContractStore,
    memory=MarketMemory,
    consumes=[
        on(topics.PRICE_REQUESTS, PricesRequested, handlers.note_need, patience=0.5),
        on(topics.MASTER_REQUESTS, ContractsDownloadRequested, handlers.request_download),
        on(topics.CUSTOM_SYMBOL_REQUESTS, CustomSymbolSaveRequested, handlers.save_custom_symbol),
        on(topics.CUSTOM_SYMBOL_REQUESTS, CustomSymbolDeleteRequested, handlers.delete_custom_symbol),
        on(topics.CORPORATE_ACTION_REQUESTS, CorporateActionsImportRequested, handlers.import_corporate_actions),
    ],
    streams=[stream(topics.WATCHES, WatchRenewed, streams.note_watchers, Start.RECENT)],
    produces=[
        topics.CONTRACTS,
        topics.CONTRACT_CHANGES,
        topics.MASTER_DOWNLOADS,
        topics.CUSTOM_SYMBOLS,
        topics.CORPORATE_ACTIONS,
        topics.MARKETDATA_REFUSALS,
        topics.TICKS,
        topics.QUARANTINE,
        topics.QUOTES,
        topics.WATCHED,
        topics.CHAINS,
        topics.CANDLES,
    ],
    routes=api.routes,
    background=[
        streams.run_feed,
        streams.keep_masters,
        streams.save_quotes,
        streams.forget_watchers,
        streams.tell_watchers,
        streams.tell_chains,
        streams.write_series,
        streams.repair_candles,
    ],
    committed=streams.note_custom_symbols,
)
