"""What risk does of itself: fire breaches, arm watches, end sessions, follow other instances, keep peaks, forget."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial

from libs.common import ids
from libs.common.contracts.base import Message
from libs.common.contracts.enums import PriceNeed, SquareOffReason
from libs.common.contracts.ids import AccountId, InstrumentId, SquareOffId
from libs.common.contracts.market import PricesRequested
from libs.common.contracts.orders import SquareOffRequested
from libs.common.contracts.risk import MTMBreached
from libs.common.database import FAILURES, Connection
from libs.common.runtime import Runtime, Unit
from libs.common.service import Context
from libs.common.telemetry import log
from libs.common.trading_calendar import IST
from services.risk.domain import intraday
from services.risk.domain.instruments import trading_day
from services.risk.domain.watches import Crossing, Watch, by_scope
from services.risk.memory import RiskMemory
from services.risk.store import RiskStore
from services.risk.store.rebuild import watches_stand

KEEP_DECISIONS = timedelta(days=7)
FORGOTTEN_AT_ONCE = 20_000
FLAT_AT_ONCE = 5_000
"""Their accounts wait meanwhile."""
FLAT_BY_DAY = 200
NIGHT_ENDS_AT = 8
"""o'clock in India. From midnight until then no Indian exchange trades."""
LATE = timedelta(days=2)
"""What is so much older than the night leaves was left because nothing ran by night, as where the stack is stopped each
evening.
"""
ASK_AGAIN_S = 10
"""Between two looks for MIS that its session's end has come for."""
ENDED_AT_ONCE = 2_000
KNOWN_WITHIN_S = 60.0
"""After so long what was read by then has to do: no limit fires before."""


async def act_on_watches(runtime: Runtime[RiskStore, RiskMemory]) -> None:
    """Whenever a revaluation found something: fire what was reached, arm what is flat again. All of one scope at once:
    a thousand limits of one user, each by itself, would keep those of everybody else waiting.

    What fails is found again by the next revaluation.
    """
    await know_positions(runtime)
    memory = runtime.memory
    while True:
        await memory.found.wait()
        memory.found.clear()
        crossed, memory.crossed = memory.crossed, {}
        flat, memory.flat = memory.flat, {}
        for watches in by_scope(each.watch for each in crossed.values()):
            reached = [crossed[watch.key] for watch in watches if memory.is_reached(watch)]
            if reached:
                await _in_transaction(runtime, watches, partial(fire, crossings=reached))
        for watches in by_scope(flat.values()):
            await _in_transaction(runtime, watches, partial(rearm, watches=watches))


async def know_positions(runtime: Runtime[RiskStore, RiskMemory]) -> None:
    """Watch once it was read what happened to positions while no risk ran: what a stop closed meanwhile would have lost
    more and more since, and all the rest of its scope would be squared off for it.
    """
    try:
        async with asyncio.timeout(KNOWN_WITHIN_S):
            await runtime.caught_up.wait()
    except TimeoutError:
        log.warning("positions_may_be_old")
    runtime.memory.is_watching = True


async def _in_transaction(
    runtime: Runtime[RiskStore, RiskMemory],
    watches: Sequence[Watch],
    step: Callable[[Unit[RiskStore, RiskMemory]], Awaitable[None]],
) -> None:
    first = watches[0]
    try:
        async with runtime.transaction(user_id=first.user_id) as unit:
            await step(unit)
            now_watched = await unit.store.watches.of({watch.limit_id for watch in watches})
    except FAILURES as error:
        log.warning("watch_waits", limit_id=str(first.limit_id), kind=first.kind, error=repr(error))
        return
    runtime.memory.rewatch(now_watched)


async def fire(unit: Unit[RiskStore, RiskMemory], crossings: Sequence[Crossing]) -> None:
    """Claim the breaches of one scope; say what is ours, and ask once for the square-off of each account there.

    What another instance closed, or hedged, within this second would lose on here: then only what is reached still. So
    would shares of before a split, at the price of those after it: nothing is claimed until trading has booked it.
    """
    today, store, memory = trading_day(unit.now), unit.store, unit.context.memory
    if await memory.learn(store, crossings[0].watch.user_id):
        memory.revalue()
        found = [memory.crossed.pop(each.watch.key, None) for each in crossings]
        crossings = [each for each in found if each is not None]
    if crossings and await store.corporate_actions.is_awaited(crossings[0].watch, today):
        log.warning("split_is_awaited", scope=str(crossings[0].watch.scope))
        return
    ours = [each for each in crossings if await store.watches.claim(each.watch, each.mtm, today, unit.now)]
    unit.say(*(breach(each, unit.now) for each in ours))
    if ours:
        watch = ours[0].watch
        for account_id in await store.watches.accounts_in_scope(watch):
            unit.say(square_off(watch, account_id, SquareOffId(unit.derive("square-off", account_id))))


def breach(crossing: Crossing, now: datetime) -> MTMBreached:
    watch = crossing.watch
    return MTMBreached(
        user_id=watch.user_id,
        limit_id=watch.limit_id,
        level=watch.level,
        kind=watch.kind,
        account_id=watch.account_id,
        strategy_id=watch.strategy_id,
        instrument=watch.instrument,
        limit=watch.amount,
        mtm=crossing.mtm,
        peak_mtm=crossing.peak,
        breached_at=now,
    )


async def rearm(unit: Unit[RiskStore, RiskMemory], watches: Sequence[Watch]) -> None:
    """Their scope is flat: they wait for the next position."""
    expired = unit.context.memory.book.prices.names_expired()
    armed = await unit.store.watches.rearm(watches, trading_day(unit.now), expired)
    if armed:
        unit.say(*await watches_stand(unit.store.connection, armed))


def square_off(watch: Watch, account_id: AccountId, square_off_id: SquareOffId) -> SquareOffRequested:
    return SquareOffRequested(
        square_off_id=square_off_id,
        account_id=account_id,
        user_id=watch.user_id,
        strategy_id=watch.strategy_id,
        instrument=watch.instrument,
        reason=SquareOffReason.MTM_BREACH,
    )


async def follow(ctx: Context[RiskStore, RiskMemory]) -> Sequence[Message]:
    """Keep risen peaks, begin the day, learn what other instances did, and value without waiting for a price."""
    peaks = ctx.memory.watches.raised_peaks()
    try:
        return await _follow(peaks, ctx)
    except BaseException:
        ctx.memory.watches.not_kept(peaks)
        raise


async def _follow(peaks: list[tuple[Watch, Decimal]], ctx: Context[RiskStore, RiskMemory]) -> Sequence[Message]:
    memory, today = ctx.memory, trading_day(ctx.now)
    if peaks:
        await ctx.store.watches.keep_peaks(peaks)
    moved = [watch for watch, _ in peaks]
    late = memory.late_fills
    begun = [] if memory.begun == today else await ctx.store.watches.begin_day(today)
    moved += begun
    await memory.follow(ctx.store)
    if not begun and late == memory.late_fills:
        memory.begun = today
    memory.revalue()
    return await watches_stand(ctx.store.connection, {watch.key for watch in moved}) if moved else []


async def forget(ctx: Context[RiskStore, RiskMemory]) -> Sequence[Message]:
    """Timer, every minute: more than a day's orders in a day, and at no time more than a statement may take. By night
    what was held, some two million positions and books.
    """
    before = ctx.now - KEEP_DECISIONS
    await ctx.store.reservations.forget(before, FORGOTTEN_AT_ONCE)
    await ctx.store.limits.forget(before, FORGOTTEN_AT_ONCE)
    is_night = ctx.now.astimezone(IST).hour < NIGHT_ENDS_AT
    before, most = (before, FLAT_AT_ONCE) if is_night else (before - LATE, FLAT_BY_DAY)
    await ctx.store.exposures.forget_flat(trading_day(before), before, most)
    return []


async def forget_old(connection: Connection, now: datetime) -> None:
    """All of it, after a rebuild."""
    store, before = RiskStore(connection), now - KEEP_DECISIONS
    await store.reservations.forget(before)
    await store.limits.forget(before)
    await store.exposures.forget_flat(trading_day(before), await store.now() + timedelta(days=1))


async def end_sessions(ctx: Context[RiskStore, RiskMemory]) -> Sequence[Message]:
    """Ask for the square-off of paper accounts' MIS from its cutoff on, until our copy shows it closed.

    Trading begins one square-off of what is open, and tries again what failed of it: so it does not matter who asks, or
    how often. An order that was cleared before the cutoff and was late on its way to trading is seen the next time.
    """
    markets = ctx.memory.open_markets(ctx.now)
    if not markets:
        return []
    ending = [exchange for exchange, is_ending in markets.items() if is_ending]
    held = await ctx.store.exposures.intraday(ending, trading_day(ctx.now), ENDED_AT_ONCE)
    look = int(ctx.now.timestamp()) // ASK_AGAIN_S
    said: dict[tuple[AccountId, InstrumentId], SquareOffRequested] = {}
    for each in held:
        session = ctx.memory.due(each, ctx.now)
        if session is not None:
            name = ids.derive(ids.first_of(session.close), "session-end", each.account_id, each.instrument, look)
            said[each.account_id, each.instrument] = intraday.square_off(each, SquareOffId(name))
    return list(said.values())


async def request_prices(ctx: Context[RiskStore, RiskMemory]) -> Sequence[Message]:
    """Stop-losses need the prices of everything open."""
    held = await ctx.store.exposures.instruments_held()
    return [PricesRequested(needed_by="risk", need=PriceNeed.POSITION, instruments=held)] if held else []
