"""The whole of risk at a glance: what it reads, what it writes, what it does of itself."""

from libs.common.contracts import accounts, market, masters, orders, portfolio, risk, topics
from libs.common.service import Service, Start, every, on, stream
from services.risk import handlers, streams, timers
from services.risk.memory import RiskMemory
from services.risk.projections import rebuild, watch
from services.risk.store import RiskStore

BOOKKEEPING_S = 0.02
"""How long what only has to be known may wait for company; an order, a signal or a panic takes it along at once."""

app = Service(
    name="risk",
    store=RiskStore,
    memory=RiskMemory,
    consumes=[
        on(topics.ORDER_REQUESTS, orders.OrderRequested, handlers.check_order, given_up=handlers.give_up_order),
        on(topics.ORDER_REQUESTS, orders.OrderModifyRequested, handlers.check_change, given_up=handlers.give_up_change),
        on(topics.TRADING_EVENTS, portfolio.PositionChanged, handlers.take_fill, patience=BOOKKEEPING_S),
        on(topics.TRADING_EVENTS, portfolio.FundsChanged, handlers.take_funds, patience=BOOKKEEPING_S),
        on(topics.TRADING_EVENTS, orders.OrderModified, handlers.take_change, patience=BOOKKEEPING_S),
        on(topics.TRADING_EVENTS, orders.OrderModifyRefused, handlers.drop_change, patience=BOOKKEEPING_S),
        on(topics.TRADING_EVENTS, orders.OrderDenied, handlers.release, patience=BOOKKEEPING_S),
        on(topics.TRADING_EVENTS, orders.OrderRejected, handlers.release, patience=BOOKKEEPING_S),
        on(topics.TRADING_EVENTS, orders.OrderCancelled, handlers.release, patience=BOOKKEEPING_S),
        on(topics.TRADING_EVENTS, orders.OrderExpired, handlers.release, patience=BOOKKEEPING_S),
        on(topics.TRADING_EVENTS, orders.OrderReopened, handlers.reopen),
        on(topics.ACCOUNTS, accounts.AccountSaved, handlers.know_account),
        on(topics.ACCOUNTS, accounts.AccountDeleted, handlers.forget_account),
        on(topics.PANICS, risk.PanicRaised, handlers.halt),
        on(topics.PANICS, risk.PanicReset, handlers.lift_halt),
        on(topics.CORPORATE_ACTIONS, masters.CorporateActionsImported, handlers.note_actions),
        on(topics.RISK_REQUESTS, risk.RiskLimitSaveRequested, handlers.save_limit, given_up=handlers.give_up_limit),
        on(topics.RISK_REQUESTS, risk.RiskLimitDeleteRequested, handlers.delete_limit, given_up=handlers.give_up_limit),
    ],
    streams=[
        stream(topics.CONTRACTS, market.InstrumentListed, streams.list_instruments, Start.BEGINNING),
        stream(topics.QUOTES, market.QuotesConflated, streams.revalue, Start.RECENT),
    ],
    produces=[
        topics.RISK_DECISIONS,
        topics.RISK_LIMITS,
        topics.RISK_BREACHES,
        topics.RISK_WATCHES,
        topics.RISK_REFUSALS,
        topics.TRADING_REQUESTS,
        topics.PRICE_REQUESTS,
    ],
    timers=[
        every(1, timers.follow),
        every(5, timers.request_prices),
        every(timers.ASK_AGAIN_S, timers.end_sessions),
        every(60, timers.forget),
    ],
    background=[timers.act_on_watches],
    committed=watch.committed,
)

retold = Service(
    name="risk",
    store=RiskStore,
    memory=RiskMemory,
    consumes=[
        on(topics.RISK_DECISIONS, orders.OrderCleared, rebuild.cleared),
        on(topics.RISK_DECISIONS, orders.OrderModifyCleared, rebuild.change_cleared),
        on(topics.RISK_DECISIONS, orders.OrderDenied, rebuild.denied),
        on(topics.TRADING_EVENTS, orders.OrderDenied, rebuild.denied),
        on(topics.TRADING_EVENTS, portfolio.PositionChanged, handlers.move_position),
        on(topics.TRADING_EVENTS, portfolio.FundsChanged, handlers.take_funds),
        on(topics.TRADING_EVENTS, orders.OrderModified, handlers.take_change),
        on(topics.TRADING_EVENTS, orders.OrderModifyRefused, handlers.drop_change),
        on(topics.TRADING_EVENTS, orders.OrderRejected, handlers.release),
        on(topics.TRADING_EVENTS, orders.OrderCancelled, handlers.release),
        on(topics.TRADING_EVENTS, orders.OrderExpired, handlers.release),
        on(topics.TRADING_EVENTS, orders.OrderReopened, handlers.reopen),
        on(topics.ACCOUNTS, accounts.AccountSaved, handlers.know_account),
        on(topics.ACCOUNTS, accounts.AccountDeleted, handlers.forget_account),
        on(topics.PANICS, risk.PanicRaised, handlers.halt),
        on(topics.PANICS, risk.PanicReset, handlers.lift_halt),
        on(topics.CORPORATE_ACTIONS, masters.CorporateActionsImported, handlers.note_actions),
        on(topics.RISK_LIMITS, risk.RiskLimitSaved, rebuild.limit_saved),
        on(topics.RISK_LIMITS, risk.RiskLimitDeleted, rebuild.limit_deleted),
        on(topics.RISK_BREACHES, risk.MTMBreached, rebuild.breached),
        on(topics.RISK_WATCHES, risk.WatchMoved, rebuild.watch_moved),
    ],
)
"""What `python -m services.risk rebuild` reads: decisions as they were told, instead of the requests for them."""
