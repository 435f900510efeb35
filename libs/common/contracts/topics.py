"""Every Kafka topic, once. The first word of a name is the service that owns it:
the one writer of its events, or the one reader of its requests."""

from datetime import timedelta

from libs.common.contracts import (
    accounts,
    algos,
    brokers,
    market,
    masters,
    options,
    orders,
    portfolio,
    risk,
    signals,
    users,
    venue,
)
from libs.common.contracts.base import RequestRefused, Topic

# Without a retention a topic keeps everything for ever: what people saved is small, and a rebuild needs its history.
YEARS = timedelta(days=5 * 365)
MONTH = timedelta(days=30)
DAY = timedelta(days=1)
HOURS = timedelta(hours=6)
"""Ticks: some gigabytes an hour in a busy market; the day's are in QuestDB."""
HOUR = timedelta(hours=1)

ORDER_REQUESTS = Topic(
    "risk.order-requests.v1",
    orders.OrderRequested,
    orders.OrderModifyRequested,
    key="account_id",
    retention=MONTH,
)
RISK_DECISIONS = Topic(
    "risk.decisions.v1",
    orders.OrderCleared,
    orders.OrderDenied,
    orders.OrderModifyCleared,
    orders.OrderModifyRefused,
    key="account_id",
    retention=YEARS,
)
TRADING_REQUESTS = Topic(
    "trading.requests.v1",
    orders.OrderCancelRequested,
    orders.OrdersCancelRequested,
    orders.OrderSettleRequested,
    orders.SquareOffRequested,
    accounts.AccountSaveRequested,
    accounts.AccountDeleteRequested,
    brokers.PositionsCompareRequested,
    key="account_id",
    retention=MONTH,
)
PANIC_REQUESTS = Topic(
    "trading.panic-requests.v1",
    risk.PanicRequested,
    risk.PanicResetRequested,
    key="scope",
    partitions=1,
    retention=YEARS,
)
TRADING_EVENTS = Topic(
    "trading.events.v1",
    orders.OrderSubmitted,
    orders.OrderDenied,
    orders.OrderAccepted,
    orders.OrderRejected,
    orders.OrderReopened,
    orders.OrderOutcomeUnknown,
    orders.OrderSettled,
    orders.OrderTriggered,
    orders.OrderModified,
    orders.OrderModifyRefused,
    orders.OrderCancelled,
    orders.OrderCancelRefused,
    orders.OrdersCancelStarted,
    orders.OrderExpired,
    orders.FillReported,
    orders.SquareOffStarted,
    orders.SquareOffCompleted,
    portfolio.PositionChanged,
    portfolio.PositionSettled,
    portfolio.PositionUnsettled,
    portfolio.PositionAdjusted,
    portfolio.PositionUnadjusted,
    portfolio.FundsChanged,
    brokers.PositionsCompared,
    key="account_id",
    retention=YEARS,
)
PANICS = Topic(
    "trading.panics.v1",
    risk.PanicRaised,
    risk.PanicReset,
    key="scope",
    partitions=1,
)
ACCOUNTS = Topic(
    "trading.accounts.v1",
    accounts.AccountSaved,
    accounts.AccountDeleted,
    key="account_id",
)
TRADING_REFUSALS = Topic("trading.refusals.v1", RequestRefused, key="entity_id", partitions=1, retention=MONTH)

VENUE_REQUESTS = Topic(
    "walkforward.order-requests.v1",
    venue.VenueOrderRequested,
    venue.VenueModifyRequested,
    venue.VenueCancelRequested,
    key="instrument",
    retention=MONTH,
)
EXECUTIONS = Topic("walkforward.executions.v1", venue.ExecutionReported, key="account_id", retention=YEARS)

BROKER_REQUESTS = Topic(
    "trading.broker-requests.v1",
    brokers.BrokerOrderRequested,
    brokers.BrokerModifyRequested,
    brokers.BrokerCancelRequested,
    key="account_id",
    retention=YEARS,
)
BROKER_EXECUTIONS = Topic(
    "trading.broker-executions.v1",
    venue.ExecutionReported,
    brokers.PositionClosedAtBroker,
    key="account_id",
    retention=YEARS,
)
"""What brokers behind HTTP did with our orders and positions, as trading learned it from their answers and books."""

RISK_REQUESTS = Topic(
    "risk.limit-requests.v1",
    risk.RiskLimitSaveRequested,
    risk.RiskLimitDeleteRequested,
    key="limit_id",
    partitions=1,
    retention=MONTH,
)
RISK_LIMITS = Topic(
    "risk.limits.v1",
    risk.RiskLimitSaved,
    risk.RiskLimitDeleted,
    key="limit_id",
    partitions=1,
)
RISK_BREACHES = Topic("risk.breaches.v1", risk.MTMBreached, key="user_id", partitions=1, retention=YEARS)
RISK_WATCHES = Topic("risk.watches.v1", risk.WatchMoved, key="watch", partitions=1, compacted=True)
RISK_REFUSALS = Topic("risk.refusals.v1", RequestRefused, key="entity_id", partitions=1, retention=MONTH)

SIGNAL_REQUESTS = Topic(
    "signals.group-requests.v1",
    signals.SignalGroupSaveRequested,
    signals.SignalGroupDeleteRequested,
    key="group_id",
    partitions=1,
    retention=MONTH,
)
SIGNAL_GROUPS = Topic(
    "signals.groups.v1",
    signals.SignalGroupSaved,
    signals.SignalGroupDeleted,
    key="group_id",
    partitions=1,
)
SIGNALS = Topic("signals.signals.v1", signals.SignalReceived, key="group_id", retention=YEARS)
SIGNAL_REFUSALS = Topic("signals.refusals.v1", RequestRefused, key="entity_id", partitions=1, retention=MONTH)

STRATEGY_REQUESTS = Topic(
    "strategy.algo-requests.v1",
    algos.AlgoSaveRequested,
    algos.AlgoDeleteRequested,
    key="algo_id",
    partitions=1,
    retention=MONTH,
)
ALGOS = Topic(
    "strategy.algos.v1",
    algos.AlgoSaved,
    algos.AlgoDeleted,
    key="algo_id",
    partitions=1,
)
STRATEGY_DECISIONS = Topic(
    "strategy.decisions.v1",
    algos.SignalActedOn,
    algos.SignalSkipped,
    algos.LegRefused,
    algos.SquareOffRefused,
    key="algo_id",
    retention=YEARS,
)
STRATEGY_REFUSALS = Topic("strategy.refusals.v1", RequestRefused, key="entity_id", partitions=1, retention=MONTH)

CONTRACTS = Topic("marketdata.contracts.v1", market.InstrumentListed, key="instrument", compacted=True)
TICKS = Topic("marketdata.ticks.v1", market.Tick, key="instrument", retention=HOURS)
PRICE_REQUESTS = Topic(
    "marketdata.price-requests.v1", market.PricesRequested, key="needed_by", partitions=1, retention=HOUR
)
WATCHES = Topic("gateway.watches.v1", market.WatchRenewed, key="watcher", partitions=1, retention=HOUR)
QUARANTINE = Topic("marketdata.quarantine.v1", market.TickQuarantined, key="instrument", retention=DAY)
QUOTES = Topic("marketdata.quotes.v1", market.QuotesConflated, key="shard", partitions=1, retention=HOUR)
WATCHED = Topic("marketdata.watched.v1", market.WatchedConflated, key="shard", partitions=1, retention=HOUR)
CHAINS = Topic("marketdata.chains.v1", options.ChainConflated, key="chain", partitions=1, retention=HOUR)
CANDLES = Topic("marketdata.candles.v1", market.CandleClosed, key="instrument", retention=MONTH)

USERS = Topic("gateway.users.v1", users.UserAccessChanged, key="user_id", partitions=1)

MASTER_REQUESTS = Topic(
    "marketdata.master-requests.v1",
    masters.ContractsDownloadRequested,
    key="source",
    partitions=1,
    retention=MONTH,
)
MASTER_DOWNLOADS = Topic(
    "marketdata.master-downloads.v1",
    masters.ContractsDownloaded,
    masters.ContractsDownloadRefused,
    key="source",
    partitions=1,
    retention=YEARS,
)
CONTRACT_CHANGES = Topic(
    "marketdata.contract-changes.v1",
    masters.ContractAdded,
    masters.ContractExpired,
    masters.ContractWithdrawn,
    masters.ContractTermsChanged,
    masters.ExpiryRolled,
    key="underlying",
    retention=YEARS,
)
SETTLEMENTS = Topic(
    "marketdata.settlements.v1",
    masters.ContractSettled,
    masters.ContractUnsettled,
    key="instrument",
    retention=YEARS,
)
CUSTOM_SYMBOL_REQUESTS = Topic(
    "marketdata.custom-symbol-requests.v1",
    masters.CustomSymbolSaveRequested,
    masters.CustomSymbolDeleteRequested,
    key="custom_symbol_id",
    partitions=1,
    retention=MONTH,
)
CUSTOM_SYMBOLS = Topic(
    "marketdata.custom-symbols.v1",
    masters.CustomSymbolSaved,
    masters.CustomSymbolDeleted,
    key="custom_symbol_id",
    partitions=1,
    compacted=True,
)
CORPORATE_ACTION_REQUESTS = Topic(
    "marketdata.corporate-action-requests.v1",
    masters.CorporateActionsImportRequested,
    key="import_id",
    partitions=1,
    retention=MONTH,
)
CORPORATE_ACTIONS = Topic(
    "marketdata.corporate-actions.v1",
    masters.CorporateActionsImported,
    key="import_id",
    partitions=1,
    retention=YEARS,
)
MARKETDATA_REFUSALS = Topic("marketdata.refusals.v1", RequestRefused, key="entity_id", partitions=1, retention=MONTH)
