"""The whole of trading at a glance."""

from libs.common.contracts import topics
from libs.common.contracts.accounts import AccountDeleteRequested, AccountSaveRequested
from libs.common.contracts.brokers import (
    BrokerCancelRequested,
    BrokerModifyRequested,
    BrokerOrderRequested,
    PositionClosedAtBroker,
    PositionsCompareRequested,
)
from libs.common.contracts.masters import ContractSettled, ContractUnsettled, CorporateActionsImported
from libs.common.contracts.orders import (
    OrderCancelRequested,
    OrderCleared,
    OrderDenied,
    OrderModifyCleared,
    OrderModifyRefused,
    OrdersCancelRequested,
    OrderSettleRequested,
    SquareOffRequested,
)
from libs.common.contracts.risk import PanicRequested, PanicResetRequested
from libs.common.contracts.venue import ExecutionReported
from libs.common.service import Service, every, on
from services.trading import api, effects
from services.trading.effects import comparing
from services.trading.handlers import (
    accounts,
    archive,
    broker_calls,
    comparisons,
    corporate_actions,
    executions,
    funds,
    given_up,
    orders,
    panics,
    settlements,
    settling,
    square_offs,
)
from services.trading.memory import TradingMemory
from services.trading.store import TradingStore

app = Service(
    name="trading",
    store=TradingStore,
    memory=TradingMemory,
    consumes=[
        on(topics.RISK_DECISIONS, OrderCleared, orders.submit_order, given_up=given_up.deny),
        on(topics.RISK_DECISIONS, OrderDenied, orders.record_denial, given_up=given_up.tell_denial),
        on(topics.RISK_DECISIONS, OrderModifyCleared, orders.modify_order, given_up=given_up.refuse_change),
        on(topics.RISK_DECISIONS, OrderModifyRefused, orders.record_modify_refusal, given_up=given_up.tell_refusal),
        on(topics.TRADING_REQUESTS, OrderCancelRequested, orders.cancel_order, given_up=given_up.refuse_cancel),
        on(topics.TRADING_REQUESTS, OrdersCancelRequested, orders.cancel_orders, given_up=given_up.refuse),
        on(topics.TRADING_REQUESTS, OrderSettleRequested, settling.settle_order, given_up=given_up.refuse),
        on(topics.TRADING_REQUESTS, SquareOffRequested, square_offs.start_square_off, given_up=given_up.refuse),
        on(topics.TRADING_REQUESTS, AccountSaveRequested, accounts.save_account, given_up=given_up.refuse),
        on(topics.TRADING_REQUESTS, AccountDeleteRequested, accounts.delete_account, given_up=given_up.refuse),
        on(topics.TRADING_REQUESTS, PositionsCompareRequested, comparisons.ask, given_up=given_up.refuse),
        on(topics.PANIC_REQUESTS, PanicRequested, panics.raise_panic, given_up=given_up.refuse),
        on(topics.PANIC_REQUESTS, PanicResetRequested, panics.reset_panic, given_up=given_up.refuse),
        on(topics.EXECUTIONS, ExecutionReported, executions.apply_execution),
        on(topics.BROKER_EXECUTIONS, ExecutionReported, executions.apply_execution),
        on(topics.BROKER_EXECUTIONS, PositionClosedAtBroker, settlements.follow_broker),
        on(topics.BROKER_REQUESTS, BrokerOrderRequested, broker_calls.record, given_up=given_up.refuse_call),
        on(topics.BROKER_REQUESTS, BrokerModifyRequested, broker_calls.record, given_up=given_up.refuse_call),
        on(topics.BROKER_REQUESTS, BrokerCancelRequested, broker_calls.record, given_up=given_up.refuse_call),
        on(topics.SETTLEMENTS, ContractSettled, settlements.note),
        on(topics.SETTLEMENTS, ContractUnsettled, settlements.tell),
        on(topics.CORPORATE_ACTIONS, CorporateActionsImported, corporate_actions.note),
    ],
    timers=[
        every(1, square_offs.sweep),
        every(1, funds.begin_days),
        every(10, settlements.settle),
        every(10, corporate_actions.book),
        every(20, archive.archive),
    ],
    produces=[
        topics.TRADING_EVENTS,
        topics.ACCOUNTS,
        topics.PANICS,
        topics.TRADING_REFUSALS,
        topics.VENUE_REQUESTS,
        topics.BROKER_REQUESTS,
        topics.BROKER_EXECUTIONS,
        topics.ORDER_REQUESTS,
    ],
    routes=api.routes,
    background=[effects.work_for_brokers, comparing.compare_with_brokers],
)
