"""Square-offs: begun by a request, a panic or a late fill; taken further by every event in their scope."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from libs.common.contracts.base import Message, RequestRefused
from libs.common.contracts.enums import Broker, ExecutionKind, SquareOffReason
from libs.common.contracts.ids import InstrumentId, OrderId, SquareOffId, StrategyId
from libs.common.contracts.orders import LeftOpen, OrderDenied, SquareOffRequested
from libs.common.service import Context
from services.trading.adapters import BROKERS
from services.trading.domain import exit_plan, orders, panics
from services.trading.domain import square_offs as rules
from services.trading.domain.accounts import TradingAccount
from services.trading.domain.exit_plan import Plan
from services.trading.domain.orders import Order
from services.trading.domain.positions import book_key
from services.trading.domain.square_offs import SquareOff
from services.trading.memory import TradingMemory
from services.trading.store import TradingStore

ACCOUNTS_PER_SWEEP = 500
UNEXPECTED = (ExecutionKind.FILLED, ExecutionKind.FOUND)
"""What may come to an account after it was stopped and squared off."""


async def start_square_off(request: SquareOffRequested, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    if rules.is_stale(request, ctx.cause.time, ctx.now) or ctx.store.square_offs.exists(request.square_off_id):
        return []
    account = await ctx.store.accounts.get(request.account_id)
    if account is None or account.deleted:
        return [
            RequestRefused(
                entity_id=str(request.square_off_id),
                request=type(request).__name__,
                code="not_found",
                reason=f"there is no account {request.account_id}",
            )
        ]
    square_off = rules.start(request, ctx.now)
    open_ones = await ctx.store.square_offs.open(account)
    if rules.is_one_of_many(square_off, open_ones):
        return []
    plan = await _plan(square_off, ctx)
    if plan.books and (elder := rules.elder(square_off, open_ones)) is not None:
        return _leave_to(elder, square_off, plan, ctx)
    if request.reason is SquareOffReason.SESSION_END:
        return await _end_session(square_off, account, plan, ctx)
    return await begin(square_off, account, plan, ctx)


async def _end_session(
    wanted: SquareOff, account: TradingAccount, plan: Plan, ctx: Context[TradingStore, TradingMemory]
) -> Sequence[Message]:
    """Risk asks every few seconds while the market is open and it sees something open: the first time begins the
    square-off, every other tries again what failed. What a broker's account holds its broker squares off.
    """
    if plan.is_flat or account.broker is not Broker.PAPER:
        return []
    at_work = rules.at_work(wanted, await ctx.store.square_offs.open(account))
    return await (begin(wanted, account, plan, ctx) if at_work is None else pursue(at_work, ctx))


def _leave_to(
    elder: SquareOff, square_off: SquareOff, plan: Plan, ctx: Context[TradingStore, TradingMemory]
) -> Sequence[Message]:
    """It is over as it begins: another goes on with all of it."""
    ctx.store.square_offs.save(replace(square_off, completed_at=ctx.now))
    left = tuple(rules.left_open(book, elder.square_off_id, rules.IS_BEING_CLOSED) for book in plan.books)
    began = rules.started(square_off, cancelling=0, closing=len(plan.books))
    return [began, rules.completed(square_off, left)]


async def begin(
    square_off: SquareOff, account: TradingAccount, plan: Plan, ctx: Context[TradingStore, TradingMemory]
) -> Sequence[Message]:
    ctx.store.accounts.save(replace(account, square_offs=account.square_offs + 1))
    ctx.store.square_offs.save(square_off)
    began = rules.started(square_off, cancelling=len(plan.cancels), closing=len(plan.books))
    return [began, *await _carry_out(square_off, plan, ctx)]


async def begin_panic(
    account: TradingAccount, strategy_id: StrategyId | None, ctx: Context[TradingStore, TradingMemory]
) -> Sequence[Message]:
    """Square off the account, or one strategy in it; nothing when that is flat, or a panic is at work there already."""
    open_ones = [each for each in await ctx.store.square_offs.open(account) if not await _is_held(each, ctx)]
    if rules.has_panic(open_ones, strategy_id):
        return []
    square_off_id = SquareOffId(ctx.derive("panic", account.account_id, strategy_id))
    square_off = rules.panic(square_off_id, account.account_id, account.user_id, strategy_id, open_ones, ctx.now)
    plan = await _plan(square_off, ctx)
    return [] if plan.is_flat else await begin(square_off, account, plan, ctx)


async def follow(order: Order, kind: ExecutionKind, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    """Something happened to an order: take its square-offs further, or begin one where trading is stopped."""
    account = await ctx.store.accounts.owner(order.account_id)
    if not account.square_offs and kind not in UNEXPECTED:
        return []
    found = [each for each in await ctx.store.square_offs.open(account) if each.covers(order)]
    said = [m for each in found for m in await pursue(rules.judge(each, order, kind, ctx.now), ctx)]
    if kind in UNEXPECTED and not found:
        said += await _stop_late_fill(order, account, ctx) or await _stop_late_exit(order, kind, ctx)
    return said


async def _stop_late_fill(
    order: Order, account: TradingAccount, ctx: Context[TradingStore, TradingMemory]
) -> Sequence[Message]:
    stopped = panics.halted(await ctx.store.epochs(account, order.strategy_id))
    panicked = [each for each in stopped if await ctx.store.panics.is_panic(each)]
    if not panicked:
        return []
    return await begin_panic(account, order.strategy_id if panics.stop_strategy_only(panicked) else None, ctx)


async def _stop_late_exit(
    order: Order, kind: ExecutionKind, ctx: Context[TradingStore, TradingMemory]
) -> Sequence[Message]:
    """Its square-off is over: what it was to close was closed by another, and it would open the opposite."""
    return await send_cancel(order, ctx) if order.is_exit and kind is ExecutionKind.FOUND else []


async def pursue(square_off: SquareOff, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    """Do what can be done now. At most once per square-off and message, since the exits' ids follow from both."""
    ctx.store.square_offs.save(square_off)
    return await _carry_out(square_off, await _plan(square_off, ctx), ctx)


async def _plan(square_off: SquareOff, ctx: Context[TradingStore, TradingMemory]) -> Plan:
    books = await ctx.store.positions.live_books(square_off.account_id)
    account = await ctx.store.accounts.owner(square_off.account_id)
    held = {book.instrument for book in books}
    closed = {instrument for instrument in held if not ctx.memory.may_trade(instrument, ctx.now)}
    is_paper = account.broker is Broker.PAPER
    return exit_plan.plan(
        square_off,
        await ctx.store.orders.open(square_off.account_id),
        books,
        await ctx.store.square_offs.largest_orders(),
        ctx.now,
        closed if is_paper else _waiting_at_broker(square_off, closed, ctx),
        () if is_paper else held - closed,
    )


def _waiting_at_broker(
    square_off: SquareOff, closed: Iterable[InstrumentId], ctx: Context[TradingStore, TradingMemory]
) -> set[InstrumentId]:
    """Whose exits wait for the market to open: those that failed. On paper, whose venue keeps to the same calendar, all
    do; but an exchange may trade in an hour that our calendar lacks, and a panic must not miss it.
    """
    return {i for i in closed if rules.waits_for_opening(square_off, i, ctx.memory.has_session(i, ctx.now), ctx.now)}


async def _carry_out(square_off: SquareOff, plan: Plan, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    if plan.is_flat:
        return await _complete(square_off, ctx)
    if await _is_held(square_off, ctx):
        return []
    account = await ctx.store.accounts.owner(square_off.account_id)
    if plan.waits and rules.leaves_what_waits(square_off, account.broker, is_in_doubt=bool(plan.in_doubt)):
        return await _leave(square_off, account, plan, ctx)
    if plan.stands and rules.is_parted(square_off, ctx.now):
        return await _part(square_off, plan, rules.NOT_TRADED, ctx)
    said = [message for order in plan.cancels for message in await send_cancel(order, ctx)]
    for n, wanted in enumerate(plan.exits):
        epoch = panics.epoch_of(await ctx.store.epochs(account, wanted.strategy_id))
        order_id = OrderId(ctx.derive("exit", square_off.square_off_id, n))
        request = exit_plan.request_exit(square_off, wanted, order_id, epoch, ctx.now)
        ctx.store.orders.save(orders.requested(request))
        said.append(request)
    return said


async def _is_held(square_off: SquareOff, ctx: Context[TradingStore, TradingMemory]) -> bool:
    """It began before an operator halted all. After a restore its broker may have closed long ago what the books show:
    closing that again would open it there.
    """
    [everything] = await ctx.store.panics.epochs([panics.ALL])
    halted_at = await ctx.store.panics.halted_at(everything) if everything.halted else None
    return halted_at is not None and square_off.started_at < halted_at


async def part_panic(account: TradingAccount, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    """Where its panic was reset what that began to close is closed all the same, each instrument by itself: one that
    nobody buys would have all closed that is opened from now on.
    """
    said: list[Message] = []
    for each in await ctx.store.square_offs.open(account):
        if not rules.is_of_a_panic(each) or panics.halted(await ctx.store.epochs(account, each.strategy_id)):
            continue
        said += await _part(each, await _plan(each, ctx), rules.PANIC_IS_OVER, ctx)
    return said


async def _part(
    square_off: SquareOff, plan: Plan, reason: str, ctx: Context[TradingStore, TradingMemory]
) -> Sequence[Message]:
    """End it, and go on with what is left, each instrument by itself."""
    said, heirs = await _bequeath(square_off, plan.instruments, square_off.started_at, ctx)
    left = tuple(rules.left_open(book, heirs[book.instrument], reason) for book in plan.books)
    return [*said, *await _complete(square_off, ctx, left)]


async def _leave(
    square_off: SquareOff,
    account: TradingAccount,
    plan: Plan,
    ctx: Context[TradingStore, TradingMemory],
) -> Sequence[Message]:
    """End it with what could be closed."""
    inherited = plan.instruments if rules.has_heirs(square_off, account.broker) else ()
    said, heirs = await _bequeath(square_off, inherited, ctx.now, ctx)
    why = {book_key(book): rules.why_left(book, is_in_doubt=book_key(book) in plan.in_doubt) for book in plan.books}
    left = tuple(rules.left_open(book, heirs.get(book.instrument), why[book_key(book)]) for book in plan.books)
    return [*said, *await _complete(square_off, ctx, left)]


async def _bequeath(
    square_off: SquareOff,
    instruments: Iterable[InstrumentId],
    since: datetime,
    ctx: Context[TradingStore, TradingMemory],
) -> tuple[Sequence[Message], dict[InstrumentId, SquareOffId]]:
    """Begin one for each of these instruments; which goes on with which."""
    said: list[Message] = []
    heirs: dict[InstrumentId, SquareOffId] = {}
    for instrument in sorted(instruments):
        square_off_id = SquareOffId(ctx.derive("left", square_off.square_off_id, instrument))
        wanted = rules.heir(square_off, instrument, square_off_id, since)
        owner = await ctx.store.accounts.owner(square_off.account_id)  # it counts those that began before this one
        at_work = rules.at_work(wanted, await ctx.store.square_offs.open(owner))
        heirs[instrument] = (at_work or wanted).square_off_id
        if at_work is None:
            said += await begin(wanted, owner, await _plan(wanted, ctx), ctx)
    return said, heirs


async def _complete(
    square_off: SquareOff, ctx: Context[TradingStore, TradingMemory], left: tuple[LeftOpen, ...] = ()
) -> Sequence[Message]:
    account = await ctx.store.accounts.owner(square_off.account_id)
    ctx.store.accounts.save(replace(account, square_offs=account.square_offs - 1))
    ctx.store.square_offs.save(replace(square_off, completed_at=ctx.now))
    return [rules.completed(square_off, left)]


async def send_cancel(order: Order, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    account = await ctx.store.accounts.owner(order.account_id)
    after = orders.cancel(order, ctx.now)
    ctx.store.orders.save(after)
    return BROKERS[account.broker].cancel(after)


async def record_denial(denied: OrderDenied, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    """The order was refused before any venue saw it. A square-off whose exit it was goes on."""
    order = orders.denied(denied)
    ctx.store.orders.save(order)
    if not order.is_exit:
        return [denied]
    largest = rules.largest_order(denied)
    if largest is not None:
        await ctx.store.square_offs.learn_largest_order(denied.instrument, largest)
    known = (await ctx.store.square_offs.largest_orders()).get(denied.instrument)
    if rules.was_learned_of_other_lots(denied, known):
        await ctx.store.square_offs.forget_largest_orders([denied.instrument])
    account = await ctx.store.accounts.owner(order.account_id)
    found = [each for each in await ctx.store.square_offs.open(account) if each.covers(order)]
    said = [m for each in found for m in await pursue(rules.after_denial(each, denied, ctx.now), ctx)]
    return [denied, *said]


async def sweep(ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    """Timer: what no event woke. Exits whose pause is over, cancels waited for long enough, exits nobody decided."""
    await ctx.store.enter()
    said: list[Message] = []
    accounts = await ctx.store.accounts.squaring_off(ACCOUNTS_PER_SWEEP)
    await ctx.store.load_portfolios({account.account_id for account in accounts})
    for account in accounts:
        said += await _give_up_exits(account, ctx)
        for square_off in await ctx.store.square_offs.open(account):
            plan = await _plan(square_off, ctx)
            if plan.is_flat or not rules.waits_to_be_asked(square_off):
                said += await _carry_out(square_off, plan, ctx)
    return said


async def _give_up_exits(account: TradingAccount, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    said: list[Message] = []
    for order in await ctx.store.orders.open(account.account_id):
        if rules.is_abandoned(order, ctx.now):
            denied = orders.give_up(order, ctx.now)
            ctx.store.orders.save(orders.denied(denied))
            said.append(denied)
    return said
