"""The whole of strategy at a glance: what it hears, what it says, what it keeps an eye on."""

from libs.common.contracts import topics
from libs.common.contracts.accounts import AccountDeleted, AccountSaved
from libs.common.contracts.algos import AlgoDeleteRequested, AlgoSaveRequested
from libs.common.contracts.base import RequestRefused
from libs.common.contracts.market import InstrumentListed, QuotesConflated
from libs.common.contracts.orders import (
    OrderCancelled,
    OrderDenied,
    OrderExpired,
    OrderModified,
    OrderRejected,
    OrderReopened,
    SquareOffCompleted,
)
from libs.common.contracts.portfolio import PositionChanged
from libs.common.contracts.signals import SignalReceived
from libs.common.contracts.users import UserAccessChanged
from libs.common.service import Service, Start, every, on, stream
from services.strategy import handlers, streams
from services.strategy.memory import StrategyMemory
from services.strategy.store import StrategyStore

BOOKKEEPING_S = 0.05
"""How long what only has to be known may wait for company; an order, a signal or a panic takes it along at once."""

app = Service(
    name="strategy",
    store=StrategyStore,
    memory=StrategyMemory,
    consumes=[
        on(topics.ACCOUNTS, AccountSaved, handlers.know_account),
        on(topics.ACCOUNTS, AccountDeleted, handlers.forget_account),
        on(topics.USERS, UserAccessChanged, handlers.know_user),
        on(topics.STRATEGY_REQUESTS, AlgoSaveRequested, handlers.save_algo, given_up=handlers.give_up_change),
        on(topics.STRATEGY_REQUESTS, AlgoDeleteRequested, handlers.delete_algo, given_up=handlers.give_up_change),
        on(topics.SIGNALS, SignalReceived, handlers.act_on_signal, given_up=handlers.give_up_signal),
        on(topics.TRADING_EVENTS, PositionChanged, handlers.book_position, patience=BOOKKEEPING_S),
        on(topics.TRADING_EVENTS, SquareOffCompleted, handlers.complete_square_off),
        on(topics.TRADING_REFUSALS, RequestRefused, handlers.square_off_refused),
        on(topics.TRADING_EVENTS, OrderDenied, handlers.end_entry, patience=BOOKKEEPING_S),
        on(topics.TRADING_EVENTS, OrderRejected, handlers.end_entry, patience=BOOKKEEPING_S),
        on(topics.TRADING_EVENTS, OrderCancelled, handlers.end_entry, patience=BOOKKEEPING_S),
        on(topics.TRADING_EVENTS, OrderExpired, handlers.end_entry, patience=BOOKKEEPING_S),
        on(topics.TRADING_EVENTS, OrderModified, handlers.change_entry, patience=BOOKKEEPING_S),
        on(topics.TRADING_EVENTS, OrderReopened, handlers.find_entry),
    ],
    streams=[
        stream(topics.CONTRACTS, InstrumentListed, streams.list_contracts, Start.BEGINNING),
        stream(topics.QUOTES, QuotesConflated, streams.note_prices, Start.RECENT),
    ],
    timers=[every(2, handlers.give_up_reversals), every(5, handlers.request_prices)],
    produces=[
        topics.ALGOS,
        topics.STRATEGY_DECISIONS,
        topics.STRATEGY_REFUSALS,
        topics.ORDER_REQUESTS,
        topics.TRADING_REQUESTS,
        topics.PRICE_REQUESTS,
    ],
)
