"""The whole of marketdata at a glance: one feed, the leader's, drives it; the others stand by and answer like it.

Who leads holds partition 0, and what is asked for here has no other: it hears all needs and requests.
"""

from libs.common.contracts import topics
from libs.common.contracts.market import InstrumentListed, PricesRequested, QuotesConflated, WatchRenewed
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
        on(
            topics.CUSTOM_SYMBOL_REQUESTS,
            CustomSymbolSaveRequested,
            handlers.save_custom_symbol,
            given_up=handlers.give_up,
        ),
        on(
            topics.CUSTOM_SYMBOL_REQUESTS,
            CustomSymbolDeleteRequested,
            handlers.delete_custom_symbol,
            given_up=handlers.give_up,
        ),
        on(
            topics.CORPORATE_ACTION_REQUESTS,
            CorporateActionsImportRequested,
            handlers.import_corporate_actions,
            given_up=handlers.give_up,
        ),
    ],
    streams=[stream(topics.WATCHES, WatchRenewed, streams.note_watchers, Start.RECENT)],
    produces=[
        topics.CONTRACTS,
        topics.CONTRACT_CHANGES,
        topics.SETTLEMENTS,
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
    leader=[
        streams.run_feed,
        streams.keep_masters,
        streams.tell_watchers,
        streams.tell_chains,
        streams.save_quotes,
        streams.find_lost_quotes,
        streams.settle_expired,
        streams.refill_views,
        streams.write_series,
    ],
    standby=[streams.stand_by, streams.keep_books],
    follows=[
        stream(topics.QUOTES, QuotesConflated, streams.follow_quotes, Start.RECENT),
        stream(topics.PRICE_REQUESTS, PricesRequested, streams.follow_needs, Start.RECENT),
        stream(topics.CONTRACTS, InstrumentListed, streams.follow_master, Start.RECENT),
    ],
    background=[
        streams.forget_watchers,
        streams.repair_candles,
    ],
    committed=streams.note_custom_symbols,
)
