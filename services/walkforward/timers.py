"""What happens to orders because time passes."""

from collections.abc import Sequence
from datetime import timedelta

from libs.common.contracts.venue import ExecutionReported
from libs.common.service import Context
from services.walkforward.domain.orders import expire
from services.walkforward.memory import WalkforwardMemory
from services.walkforward.store import WalkforwardStore

EXPIRED_AT_ONCE = 1_000
LOOK_BACK = timedelta(minutes=1)

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
    """Watch the orders that other instances took too, so that none rests unwatched when its instance dies."""
    for order in await ctx.store.open_orders(LOOK_BACK):
        ctx.memory.meet_newly_known(order, ctx.now)
    return []


async def forget_finished_orders(ctx: Ctx) -> Sequence[ExecutionReported]:
    await ctx.store.forget_finished(timedelta(days=ctx.memory.settings.keep_days))
    return []
