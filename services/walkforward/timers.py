"""What happens to orders because time passes."""

from collections.abc import Sequence
from datetime import timedelta

from libs.common.contracts.enums import PriceNeed
from libs.common.contracts.market import PricesRequested
from libs.common.contracts.venue import ExecutionReported
from libs.common.service import Context
from services.walkforward.domain.orders import expire
from services.walkforward.memory import WalkforwardMemory
from services.walkforward.store import WalkforwardStore

EXPIRED_AT_ONCE = 1_000
FORGOTTEN_AT_ONCE = 20_000
LONGEST_COMMIT = timedelta(seconds=10)
EARLY_CANCELS_KEPT = timedelta(hours=1)
"""An order that comes later than a minute after its wish is refused whether it was cancelled or not."""

Ctx = Context[WalkforwardStore, WalkforwardMemory]


async def expire_orders(ctx: Ctx) -> Sequence[ExecutionReported]:
    """DAY orders end with the session of their exchange."""
    executions: list[ExecutionReported] = []
    for order in await ctx.store.lock_due(ctx.now, EXPIRED_AT_ONCE):
        change = expire(order, ctx.now)
        ctx.store.save(change.order)
        ctx.memory.forget(order.instrument, order.order_id)
        executions.extend(change.executions)
    return executions


async def learn_open_orders(ctx: Ctx) -> Sequence[ExecutionReported]:
    """Watch the orders that other instances took or changed too, so that none rests unwatched, or is watched at a
    price that it has no more, when its instance dies.
    """
    recent = await ctx.store.recently_changed(ctx.now - ctx.memory.learned_at + LONGEST_COMMIT)
    unknown = [
        order_id
        for order_id, instrument, executions in recent
        if not ctx.memory.is_watched(instrument, order_id, executions)
    ]
    if unknown:
        for order in await ctx.store.read(unknown):
            ctx.memory.watch_from_now(order, ctx.now)
    ctx.memory.learned_at = ctx.now
    return []


async def forget_finished_orders(ctx: Ctx) -> Sequence[ExecutionReported]:
    """Those too that we watch and another instance ended: no tick may ever reach their prices."""
    watched = ctx.memory.watched_orders()
    ended = watched.keys() - await ctx.store.open_among(watched)
    for order_id in ended:
        ctx.memory.forget(watched[order_id], order_id)
    await ctx.store.forget_finished(timedelta(days=ctx.memory.settings.keep_days), FORGOTTEN_AT_ONCE)
    await ctx.store.forget_early_cancels(ctx.now - EARLY_CANCELS_KEPT)
    return []


async def request_prices(ctx: Ctx) -> Sequence[PricesRequested]:
    """Resting orders wait for prices."""
    resting = await ctx.store.instruments_of_open_orders()
    return [PricesRequested(needed_by="walkforward", need=PriceNeed.ORDER, instruments=resting)] if resting else []
