"""The whole of the gateway at a glance: what it shows comes from these events, what it asks goes to these topics."""

from libs.common.contracts import topics
from libs.common.contracts.accounts import AccountDeleted, AccountSaved
from libs.common.contracts.algos import (
    AlgoDeleted,
    AlgoSaved,
    LegRefused,
    SignalActedOn,
    SignalSkipped,
    SquareOffRefused,
)
from libs.common.contracts.base import RequestRefused
from libs.common.contracts.brokers import PositionsCompared
from libs.common.contracts.market import InstrumentListed, QuotesConflated, WatchedConflated
from libs.common.contracts.masters import CorporateActionsImported, CustomSymbolDeleted, CustomSymbolSaved
from libs.common.contracts.options import ChainConflated
from libs.common.contracts.orders import (
    FillReported,
    OrderAccepted,
    OrderCancelled,
    OrderCancelRefused,
    OrderDenied,
    OrderExpired,
    OrderModified,
    OrderModifyRefused,
    OrderOutcomeUnknown,
    OrderRejected,
    OrderReopened,
    OrdersCancelStarted,
    OrderSettled,
    OrderSubmitted,
    OrderTriggered,
    SquareOffCompleted,
    SquareOffStarted,
)
from libs.common.contracts.portfolio import (
    FundsChanged,
    PositionAdjusted,
    PositionChanged,
    PositionSettled,
    PositionUnadjusted,
    PositionUnsettled,
)
from libs.common.contracts.risk import MTMBreached, PanicRaised, PanicReset, RiskLimitDeleted, RiskLimitSaved
from libs.common.contracts.signals import SignalGroupDeleted, SignalGroupSaved, SignalReceived
from libs.common.service import Service, Start, every, on, stream
from services.gateway import handlers, streams, timers
from services.gateway.api import entrance, routes
from services.gateway.api.stream import recheck, sockets
from services.gateway.memory import GatewayMemory
from services.gateway.projections import books, contracts, entities, risk, signals
from services.gateway.store import GatewayStore

BOOKKEEPING_S = 0.02
"""How long what only has to be known may wait for company; an order, a signal or a panic takes it along at once."""

app = Service(
    name="gateway",
    store=GatewayStore,
    memory=GatewayMemory,
    consumes=[
        on(topics.TRADING_EVENTS, OrderSubmitted, books.submitted, patience=BOOKKEEPING_S),
        on(topics.TRADING_EVENTS, OrderDenied, books.denied),
        on(topics.TRADING_EVENTS, OrderAccepted, books.accepted),
        on(topics.TRADING_EVENTS, OrderReopened, books.accepted),
        on(topics.TRADING_EVENTS, OrderRejected, books.ended_or_unknown),
        on(topics.TRADING_EVENTS, OrderOutcomeUnknown, books.ended_or_unknown),
        on(topics.TRADING_EVENTS, OrderSettled, books.settled_by_hand),
        on(topics.TRADING_EVENTS, OrderTriggered, books.triggered),
        on(topics.TRADING_EVENTS, OrderModified, books.modified),
        on(topics.TRADING_EVENTS, OrderModifyRefused, books.modify_refused),
        on(topics.TRADING_EVENTS, OrderCancelled, books.cancelled),
        on(topics.TRADING_EVENTS, OrderCancelRefused, books.cancelled),
        on(topics.TRADING_EVENTS, OrdersCancelStarted, books.cancel_started),
        on(topics.TRADING_EVENTS, OrderExpired, books.ended_or_unknown),
        on(topics.TRADING_EVENTS, FillReported, books.filled),
        on(topics.TRADING_EVENTS, PositionChanged, books.position_changed, patience=BOOKKEEPING_S),
        on(topics.TRADING_EVENTS, PositionSettled, books.settled, patience=BOOKKEEPING_S),
        on(topics.TRADING_EVENTS, PositionUnsettled, risk.needs_a_look),
        on(topics.TRADING_EVENTS, PositionAdjusted, risk.needs_a_look),
        on(topics.TRADING_EVENTS, PositionUnadjusted, risk.needs_a_look),
        on(topics.TRADING_EVENTS, FundsChanged, books.funds_changed, patience=BOOKKEEPING_S),
        on(topics.TRADING_EVENTS, PositionsCompared, books.positions_compared),
        on(topics.TRADING_EVENTS, SquareOffStarted, risk.square_off_changed),
        on(topics.TRADING_EVENTS, SquareOffCompleted, risk.square_off_changed),
        on(topics.ACCOUNTS, AccountSaved, entities.saved),
        on(topics.ACCOUNTS, AccountDeleted, entities.deleted),
        on(topics.ALGOS, AlgoSaved, entities.saved),
        on(topics.ALGOS, AlgoDeleted, entities.deleted),
        on(topics.SIGNAL_GROUPS, SignalGroupSaved, entities.saved),
        on(topics.SIGNAL_GROUPS, SignalGroupDeleted, entities.deleted),
        on(topics.RISK_LIMITS, RiskLimitSaved, entities.saved),
        on(topics.RISK_LIMITS, RiskLimitDeleted, entities.deleted),
        on(topics.TRADING_REFUSALS, RequestRefused, entities.refused),
        on(topics.SIGNAL_REFUSALS, RequestRefused, entities.refused),
        on(topics.STRATEGY_REFUSALS, RequestRefused, entities.refused),
        on(topics.RISK_REFUSALS, RequestRefused, entities.refused),
        on(topics.PANICS, PanicRaised, risk.panic_changed),
        on(topics.PANICS, PanicReset, risk.panic_changed),
        on(topics.RISK_BREACHES, MTMBreached, risk.breached),
        on(topics.SIGNALS, SignalReceived, signals.received),
        on(topics.STRATEGY_DECISIONS, SignalActedOn, signals.decided),
        on(topics.STRATEGY_DECISIONS, SignalSkipped, signals.decided),
        on(topics.STRATEGY_DECISIONS, LegRefused, risk.needs_a_look),
        on(topics.STRATEGY_DECISIONS, SquareOffRefused, risk.needs_a_look),
        on(topics.CONTRACTS, InstrumentListed, contracts.listed),
        on(topics.CUSTOM_SYMBOLS, CustomSymbolSaved, entities.saved),
        on(topics.CUSTOM_SYMBOLS, CustomSymbolDeleted, entities.deleted),
        on(topics.CORPORATE_ACTIONS, CorporateActionsImported, entities.imported),
        on(topics.MARKETDATA_REFUSALS, RequestRefused, entities.refused),
    ],
    streams=[
        stream(topics.QUOTES, QuotesConflated, streams.quotes, Start.RECENT, prompt=True),
        stream(topics.WATCHED, WatchedConflated, streams.watched, Start.LATEST, prompt=True),
        stream(topics.CHAINS, ChainConflated, streams.chains, Start.LATEST, prompt=True),
    ],
    timers=[every(60, timers.forget), every(30, timers.tell_access)],
    produces=[
        topics.ORDER_REQUESTS,
        topics.TRADING_REQUESTS,
        topics.PANIC_REQUESTS,
        topics.RISK_REQUESTS,
        topics.SIGNAL_REQUESTS,
        topics.STRATEGY_REQUESTS,
        topics.WATCHES,
        topics.USERS,
        topics.MASTER_REQUESTS,
        topics.CUSTOM_SYMBOL_REQUESTS,
        topics.CORPORATE_ACTION_REQUESTS,
    ],
    routes=routes,
    entrance=entrance,
    sockets=sockets,
    background=[recheck],
    committed=handlers.tell,
)
