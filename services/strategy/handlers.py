"""Load, decide, save, say. No rule lives here."""

from collections.abc import Sequence
from uuid import UUID

from libs.common.contracts.accounts import AccountDeleted, AccountSaved
from libs.common.contracts.algos import (
    Algo,
    AlgoDeleted,
    AlgoDeleteRequested,
    AlgoSaved,
    AlgoSaveRequested,
    SignalSkipped,
)
from libs.common.contracts.base import GIVEN_UP, Event, Message, RequestRefused
from libs.common.contracts.enums import EntryLegs, OrderPurpose, PriceNeed
from libs.common.contracts.ids import AccountId, AlgoId, InstrumentId, SquareOffId, StrategyId
from libs.common.contracts.market import PricesRequested
from libs.common.contracts.orders import (
    OrderCancelled,
    OrderDenied,
    OrderExpired,
    OrderModified,
    OrderRejected,
    OrderReopened,
    SquareOffCompleted,
    SquareOffRequested,
)
from libs.common.contracts.portfolio import PositionChanged
from libs.common.contracts.signals import SignalReceived
from libs.common.contracts.users import UserAccessChanged
from libs.common.service import Context
from services.strategy.domain import algos, decisions, holdings, stocks
from services.strategy.domain.algos import KnownAccount
from services.strategy.domain.decisions import Decision, Situation
from services.strategy.domain.holdings import Holding
from services.strategy.domain.legs import is_listed, may_choose
from services.strategy.memory import StrategyMemory
from services.strategy.store import StrategyStore

Ctx = Context[StrategyStore, StrategyMemory]


async def know_account(event: AccountSaved, ctx: Ctx) -> Sequence[Event]:
    account = event.account
    ctx.store.save_account(event.account_id, KnownAccount(account.user_id, account.name, account.active))
    return []


async def forget_account(event: AccountDeleted, ctx: Ctx) -> Sequence[Event]:
    ctx.store.forget_account(event.account_id)
    for holding in ctx.store.holdings_in(event.account_id):
        ctx.store.save_holding(holdings.left_for_good(holding))
    return []


async def know_user(event: UserAccessChanged, ctx: Ctx) -> Sequence[Event]:
    ctx.store.save_user(event)
    return []


async def save_algo(request: AlgoSaveRequested, ctx: Ctx) -> Sequence[Event]:
    known = ctx.store.algo(request.algo_id)
    groups = {mapping.group_id for mapping in request.algo.mappings}
    others = {algo.algo_id: algo for group_id in groups for algo in ctx.store.algos_of(group_id)}
    event = algos.decide_save(known.algo, known.version, request, ctx.store.accounts, others.values())
    if isinstance(event, AlgoSaved):
        for holding in ctx.store.holdings(request.algo_id) if known.algo else ():
            if algos.turns(_algo_of(holding, ctx), stocks.part(event.algo, holding.stock)):
                ctx.store.save_holding(holdings.turned(holding))
        ctx.store.save_algo(event.algo, event.version)
    return [event]


async def delete_algo(request: AlgoDeleteRequested, ctx: Ctx) -> Sequence[Event]:
    known = ctx.store.algo(request.algo_id)
    held = decisions.as_listed(ctx.store.holdings(request.algo_id), _situation(ctx).market)
    occupied = any(holding.occupied for holding in held)
    event = algos.decide_delete(known.algo, occupied, request)
    if isinstance(event, AlgoDeleted):
        ctx.store.delete_algo(request.algo_id)
    return [event]


async def act_on_signal(signal: SignalReceived, ctx: Ctx) -> Sequence[Message]:
    situation, named = _situation(ctx), stocks.named_in(signal)
    said: list[Message] = []
    for algo in ctx.store.algos_of(signal.group_id):
        held, closings = ctx.store.holdings(algo.algo_id), ctx.store.algo(algo.algo_id).closings
        said.extend(_settle(decisions.decide(algo, held, signal, situation, closings, named), ctx))
        closed = algos.closed_by(algo, signal, named)
        if closed:
            ctx.store.save_closed(algo.algo_id, signal.received_at, closed)
    return said


async def give_up_change(request: AlgoSaveRequested | AlgoDeleteRequested, ctx: Ctx) -> Sequence[Event]:
    """A person discarded it."""
    return [algos.refused(request, "given_up", GIVEN_UP)]


async def give_up_signal(signal: SignalReceived, ctx: Ctx) -> Sequence[Event]:
    """Its log would show it as taken for ever."""
    return [
        SignalSkipped(algo_id=algo.algo_id, user_id=algo.user_id, signal_id=signal.signal_id, reason=GIVEN_UP)
        for algo in ctx.store.algos_of(signal.group_id)
    ]


async def book_position(event: PositionChanged, ctx: Ctx) -> Sequence[Message]:
    if event.strategy_id is None:
        return []
    holding = _holding(event.strategy_id, event.account_id, event.instrument, ctx)
    if holding is None:
        return []
    booked = holdings.booked(
        holding, event.instrument, event.product, event.book.quantity, event.order_id, event.fill_quantity
    )
    if event.order_id not in holding.lost:
        return _advance(booked, ctx)
    algo = _algo_of(holding, ctx)
    return _settle(decisions.entry_came_late(algo, booked, event.order_id, event.instrument, _situation(ctx)), ctx)


async def end_entry(event: OrderDenied | OrderRejected | OrderCancelled | OrderExpired, ctx: Ctx) -> Sequence[Message]:
    if event.strategy_id is None:
        return []
    holding = _holding(event.strategy_id, event.account_id, event.instrument, ctx)
    if holding is None:
        return []
    if event.order_id not in holding.entries:
        return _advance(holdings.ended(holding, event.order_id), ctx) if event.order_id in holding.lost else []
    algo = _algo_of(holding, ctx)
    situation = _situation(ctx)
    return _settle(decisions.leg_ended(algo, holding, event.order_id, event.instrument, event.reason, situation), ctx)


async def change_entry(event: OrderModified, ctx: Ctx) -> Sequence[Message]:
    """What an entry was reduced by is not on its way any more, and no event of its end will tell so."""
    if event.strategy_id is None:
        return []
    holding = _holding(event.strategy_id, event.account_id, event.instrument, ctx)
    if holding is None or event.order_id not in holding.entries:
        return []
    return _advance(holdings.awaiting(holding, event.order_id, event.quantity - event.filled_quantity), ctx)


async def find_entry(event: OrderReopened, ctx: Ctx) -> Sequence[Message]:
    if event.strategy_id is None or event.purpose is not OrderPurpose.ENTRY:
        return []
    holding = _holding(event.strategy_id, event.account_id, event.instrument, ctx)
    if holding is None:
        return []
    algo = _algo_of(holding, ctx)
    situation = _situation(ctx)
    remaining = event.quantity - event.filled_quantity
    found = decisions.entry_found(algo, holding, event.order_id, event.instrument, event.side, remaining, situation)
    return _settle(found, ctx)


async def square_off_refused(event: RequestRefused, ctx: Ctx) -> Sequence[Message]:
    """Trading refuses what many ask of it; only our square-offs are ours to answer for."""
    if event.request != SquareOffRequested.__name__:
        return []
    square_off_id = SquareOffId(UUID(event.entity_id))
    found = ctx.store.closing(square_off_id)
    if found is None:
        return []
    return _settle(decisions.square_off_refused(_algo_of(found, ctx), found, square_off_id, event.reason), ctx)


async def complete_square_off(event: SquareOffCompleted, ctx: Ctx) -> Sequence[Message]:
    """Only one that was about all of a holding says that nothing of it is left."""
    if event.strategy_id is None or event.product is not None:
        return []
    whole = [
        holding
        for holding in _holdings(event.strategy_id, event.account_id, ctx)
        if event.instrument in {None, holding.stock}
    ]
    said: list[Message] = []
    for holding in whole:
        closed = holdings.closed(holding, event.square_off_id, ctx.cause.time, event.expired)
        said.extend(_advance(closed, ctx))
    return said


async def give_up_reversals(ctx: Ctx) -> Sequence[Message]:
    await ctx.store.load_overdue_reversals(ctx.now)
    said: list[Message] = []
    for algo, holding in ctx.store.overdue_reversals(ctx.now):
        said.extend(_settle(decisions.give_up(stocks.part(algo, holding.stock), holding), ctx))
    return said


async def request_prices(ctx: Ctx) -> Sequence[Message]:
    """Timer: an algo that waits for a signal must find prices when it comes. Names that somebody made up are left out:
    this is one message for all, and has no room for as many as anybody likes.
    """
    market = _situation(ctx).market
    legs = [leg for leg in await ctx.store.active_legs() if is_listed(leg, market)]
    named = {leg.instrument for leg in legs if leg.instrument}
    instruments = tuple(sorted(named | may_choose(legs, market)))
    underlyings = tuple(sorted({leg.underlying for leg in legs if leg.underlying}))
    if not legs:
        return []
    need = PriceNeed.STRATEGY
    return [PricesRequested(needed_by="strategy", need=need, instruments=instruments, underlyings=underlyings)]


def _holding(strategy_id: StrategyId, account_id: AccountId, instrument: InstrumentId, ctx: Ctx) -> Holding | None:
    """What of the algo in the account the instrument is in; None when the strategy is no algo of ours."""
    algo_id = AlgoId(strategy_id)
    algo = ctx.store.algo(algo_id).algo
    if algo is None:
        return None
    stock = instrument if algo.entry_legs is EntryLegs.NAMED else None
    found = ctx.store.holding(algo_id, account_id, stock)
    return found or Holding(algo_id, account_id, algo.user_id, stock=stock)


def _holdings(strategy_id: StrategyId, account_id: AccountId, ctx: Ctx) -> list[Holding]:
    """What of the algo is held in the account; none when the strategy is no algo of ours."""
    algo_id = AlgoId(strategy_id)
    held = ctx.store.holdings(algo_id) if ctx.store.algo(algo_id).algo else ()
    return [holding for holding in held if holding.account_id == account_id]


def _algo_of(holding: Holding, ctx: Ctx) -> Algo:
    algo = ctx.store.algo(holding.algo_id).algo
    assert algo is not None
    return stocks.part(algo, holding.stock)


def _situation(ctx: Ctx) -> Situation:
    return ctx.memory.situation(ctx.now, ctx.store.accounts, ctx.store.idle_users)


def _advance(holding: Holding, ctx: Ctx) -> Sequence[Message]:
    algo = _algo_of(holding, ctx)
    return _settle(decisions.advance(algo, holding, _situation(ctx)), ctx)


def _settle(decision: Decision, ctx: Ctx) -> Sequence[Message]:
    for holding in decision.holdings:
        ctx.store.save_holding(holding)
    return decision.messages
