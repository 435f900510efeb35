"""Load, decide, save, say. No rule lives here."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from libs.common.contracts.accounts import AccountDeleted, AccountSaved
from libs.common.contracts.base import GIVEN_UP, Message
from libs.common.contracts.ids import CorrelationId
from libs.common.contracts.masters import CorporateActionsImported
from libs.common.contracts.orders import (
    OrderCancelled,
    OrderCleared,
    OrderDenied,
    OrderExpired,
    OrderModified,
    OrderModifyRefused,
    OrderModifyRequested,
    OrderRejected,
    OrderReopened,
    OrderRequested,
    OrderTerms,
)
from libs.common.contracts.portfolio import FundsChanged, PositionChanged
from libs.common.contracts.risk import (
    PanicRaised,
    PanicReset,
    RiskLimitDeleted,
    RiskLimitDeleteRequested,
    RiskLimitSaved,
    RiskLimitSaveRequested,
)
from libs.common.service import Context
from libs.common.telemetry import log
from services.risk.domain import ledger, limits, orders, splits
from services.risk.domain.halts import Halt
from services.risk.domain.instruments import trading_day
from services.risk.domain.ledger import Ledger, Reservation
from services.risk.domain.rules import OrderCheck
from services.risk.domain.watches import by_scope
from services.risk.memory import RiskMemory
from services.risk.store import RiskStore
from services.risk.store.rebuild import watches_stand

RiskContext = Context[RiskStore, RiskMemory]


async def check_order(request: OrderRequested, ctx: RiskContext) -> Sequence[Message]:
    """An order id is decided once; when it comes again, the first decision stands and nothing is said."""
    store = ctx.store
    known = store.reservations.get(request.order_id)
    if known is not None and orders.was_given_up(known):
        return [orders.deny_given_up(request)]
    if known is not None:
        log.info("order_decided_already", order_id=str(request.order_id))
        return []
    check = _check(request, request.expires_at, ctx)
    event = orders.decide(request, check)
    reservation = orders.reserve(event, ctx.now)
    store.reservations.save(reservation)
    if isinstance(event, OrderCleared):
        store.save_ledger(ledger.post(check.ledger, None, reservation))
        store.remember(request, check.limits, ctx.now)
    return [event]


async def check_change(request: OrderModifyRequested, ctx: RiskContext) -> Sequence[Message]:
    order = ctx.store.reservations.get(request.order_id)
    if not orders.may_change(order, request):
        return [orders.refuse_change(order, request)]
    check = _check(orders.changed_terms(order, request), request.expires_at, ctx, order)
    event, changed = orders.decide_change(order, request, check, CorrelationId(ctx.cause.correlation_id))
    _save_step(order, changed, ctx)
    return [event]


async def give_up_order(request: OrderRequested, ctx: RiskContext) -> Sequence[Message]:
    """A person discarded it: nobody else would ever tell its owner. Its id is not decided any more."""
    if ctx.store.reservations.get(request.order_id) is not None:
        return []
    denied = orders.give_up(request)
    ctx.store.reservations.save(orders.reserve(denied, ctx.now))
    return [denied]


async def give_up_change(request: OrderModifyRequested, ctx: RiskContext) -> Sequence[Message]:
    return [orders.give_up_change(request)]


async def move_position(changed: PositionChanged, ctx: RiskContext) -> Sequence[Message]:
    """The fill moves margin from the order to the position, at what trading says the position blocks."""
    store = ctx.store
    held = store.ledger_of(changed)
    if changed.version <= held.net.version:
        return []
    day = trading_day(ctx.cause.time)
    moved = ledger.move(
        splits.carried_into(held, store.corporate_actions.of(held.net), day),
        changed.net,
        changed.book,
        changed.margin,
        changed.version,
        day,
        is_filled=bool(changed.fill_quantity),
    )
    order = store.reservations.get(changed.order_id)
    if order is not None:
        filled = ledger.fill(order, changed.fill_quantity)
        moved = ledger.post(moved, order, filled)
        store.reservations.save(filled)
    store.save_ledger(moved)
    return []


async def take_fill(changed: PositionChanged, ctx: RiskContext) -> Sequence[Message]:
    """What fired is armed again the moment its scope is flat: the next position may be opened before anybody looks."""
    before = ctx.store.ledger_of(changed)
    await move_position(changed, ctx)
    late = await _leave_late_profit_out(changed, before, ctx)
    return [*late, *await _arm_what_is_flat(changed, ctx)]


async def _leave_late_profit_out(changed: PositionChanged, before: Ledger, ctx: RiskContext) -> Sequence[Message]:
    """A contract that is settled days late, or whose last fill is told late, makes or loses nothing today: for what it
    lost in weeks a stop would square off all the rest.
    """
    store, today = ctx.store, trading_day(ctx.now)
    if changed.version <= before.net.version or not ctx.memory.has_expired(changed.instrument, today):
        return []
    net = ledger.made(before.net, changed.net, today)
    book = ledger.made(before.book, changed.book, today)
    if not (net or book) or trading_day(ctx.cause.time) != today:
        return []
    begun = [] if ctx.memory.begun == today else await store.watches.begin_day(today)
    moved = await store.watches.leave_out(changed, today, net, book)
    return await watches_stand(store.connection, {*moved, *(watch.key for watch in begun)})


async def _arm_what_is_flat(changed: PositionChanged, ctx: RiskContext) -> Sequence[Message]:
    if changed.net.quantity and changed.book.quantity:
        return []
    store, today = ctx.store, trading_day(ctx.now)
    where = changed.account_id, changed.strategy_id, changed.instrument
    fired = [watch for watch in store.watches.fired(changed.user_id, today) if watch.concerns(*where)]
    if not fired:
        return []
    await store.write()
    expired = ctx.memory.book.prices.names_expired()
    armed = [key for watches in by_scope(fired) for key in await store.watches.rearm(watches, today, expired)]
    return await watches_stand(store.connection, armed) if armed else []


async def take_change(modified: OrderModified, ctx: RiskContext) -> Sequence[Message]:
    order = ctx.store.reservations.get(modified.order_id)
    if order is not None:
        changed = ledger.change(order, modified.quantity, modified.order_type, modified.price, modified.trigger_price)
        _save_step(order, changed, ctx)
    return []


async def drop_change(refused: OrderModifyRefused, ctx: RiskContext) -> Sequence[Message]:
    """The venue (no rule) or trading refused the change that we cleared. Trading says our own refusals again too:
    they tell of another story than the change that is under way.
    """
    order = ctx.store.reservations.get(refused.order_id)
    if order is None or order.proposed is None:
        return []
    if refused.rule is None or order.proposed_by == ctx.cause.correlation_id:
        _save_step(order, ledger.withdraw(order), ctx)
    return []


async def release(
    ended: OrderDenied | OrderRejected | OrderCancelled | OrderExpired, ctx: RiskContext
) -> Sequence[Message]:
    """The order is over: what it still blocked is free again. An exit that trading gave up before we decided about it
    will bind nothing.
    """
    order = ctx.store.reservations.get(ended.order_id)
    if order is None and isinstance(ended, OrderDenied):
        ctx.store.reservations.save(orders.reserve(ended, ctx.now))
    elif order is not None and not order.closed:
        _save_step(order, ledger.close(order), ctx)
    return []


async def reopen(found: OrderReopened, ctx: RiskContext) -> Sequence[Message]:
    """We freed what it blocked when it was told to be rejected; it may trade after all."""
    order = ctx.store.reservations.get(found.order_id)
    if order is not None and order.closed:
        _save_step(order, ledger.reopen(order), ctx)
    return []


async def take_funds(funds: FundsChanged, ctx: RiskContext) -> Sequence[Message]:
    account = ctx.store.accounts.get(funds.account_id)
    if funds.version > account.funds_version:
        known = replace(account, opening_balance=funds.opening_balance, realised_pnl=funds.realised_pnl)
        ctx.store.accounts.save(replace(known, funds_version=funds.version))
    return []


async def know_account(saved: AccountSaved, ctx: RiskContext) -> Sequence[Message]:
    """Its money is what FundsChanged says (the capital it was made with is no longer its balance after the first day);
    until the first one came, by another topic, a new account has its capital.
    """
    account = ctx.store.accounts.get(saved.account_id)
    is_new = account.user_id is None and not account.funds_version
    balance = saved.account.opening_balance if is_new else account.opening_balance
    ctx.store.accounts.save(
        replace(
            account,
            user_id=saved.user_id,
            active=saved.account.active,
            opening_balance=balance,
            broker=saved.account.broker,
        )
    )
    return []


async def forget_account(deleted: AccountDeleted, ctx: RiskContext) -> Sequence[Message]:
    account = ctx.store.accounts.get(deleted.account_id)
    ctx.store.accounts.save(replace(account, user_id=None, active=False))
    return []


async def halt(raised: PanicRaised, ctx: RiskContext) -> Sequence[Message]:
    ctx.store.halts.save(Halt(raised.scope, raised.epoch, halted=True))
    return []


async def lift_halt(reset: PanicReset, ctx: RiskContext) -> Sequence[Message]:
    ctx.store.halts.save(Halt(reset.scope, reset.epoch, halted=False))
    return []


async def note_actions(told: CorporateActionsImported, ctx: RiskContext) -> Sequence[Message]:
    await ctx.store.corporate_actions.note(told.actions)
    return []


async def save_limit(request: RiskLimitSaveRequested, ctx: RiskContext) -> Sequence[Message]:
    event = limits.save(ctx.store.limits.kept(request.limit_id), request)
    if isinstance(event, RiskLimitSaved):
        await ctx.store.save_limit(event.limit, event.version, trading_day(ctx.now))
    return [event]


async def delete_limit(request: RiskLimitDeleteRequested, ctx: RiskContext) -> Sequence[Message]:
    event = limits.delete(ctx.store.limits.kept(request.limit_id), request)
    if isinstance(event, RiskLimitDeleted):
        await ctx.store.delete_limit(event.limit_id)
    return [event]


async def give_up_limit(
    request: RiskLimitSaveRequested | RiskLimitDeleteRequested, ctx: RiskContext
) -> Sequence[Message]:
    return [limits.refused(request, "given_up", GIVEN_UP)]


def _check(
    order: OrderTerms, expires_at: datetime, ctx: RiskContext, changing: Reservation | None = None
) -> OrderCheck:
    store, memory = ctx.store, ctx.memory
    instrument = memory.instrument(order.instrument)
    concerned = store.limits_of(order)
    return OrderCheck(
        order=order,
        expires_at=expires_at,
        now=ctx.now,
        ledger=store.ledger_of(order),
        halts=store.halts_of(order),
        limits=concerned,
        instrument=instrument,
        price=memory.price(order.instrument),
        spot=memory.price(instrument.spot) if instrument is not None else None,
        policy=memory.policy,
        open_positions=store.open_positions(concerned, order),
        last_identical=store.last_identical(order, concerned),
        changing=changing,
        intraday_until=None if instrument is None else memory.intraday_until(instrument, ctx.now),
        market_open=instrument is None or memory.is_open(instrument, ctx.now),
    )


def _save_step(before: Reservation, after: Reservation, ctx: RiskContext) -> None:
    ctx.store.reservations.save(after)
    ctx.store.save_ledger(ledger.post(ctx.store.ledger_of(before), before, after))
