"""Load, decide, save, say. No rule lives here."""

from collections.abc import Sequence
from datetime import timedelta

from libs.common.contracts.base import GIVEN_UP, Event, Message
from libs.common.contracts.signals import (
    SignalGroupDeleted,
    SignalGroupDeleteRequested,
    SignalGroupSaved,
    SignalGroupSaveRequested,
)
from libs.common.contracts.users import UserAccessChanged
from libs.common.service import Context
from services.signals.domain import groups
from services.signals.memory import SignalsMemory
from services.signals.store import SignalsStore

Ctx = Context[SignalsStore, SignalsMemory]


async def save_group(request: SignalGroupSaveRequested, ctx: Ctx) -> Sequence[Event]:
    receiver = ctx.store.receiver(request.group_id)
    event = groups.decide_save(receiver, request)
    if isinstance(event, SignalGroupSaved):
        ctx.store.save(groups.evolve(receiver, event))
    return [event]


async def delete_group(request: SignalGroupDeleteRequested, ctx: Ctx) -> Sequence[Event]:
    event = groups.decide_delete(ctx.store.receiver(request.group_id), request)
    if isinstance(event, SignalGroupDeleted):
        ctx.store.delete(request.group_id)
    return [event]


async def give_up(request: SignalGroupSaveRequested | SignalGroupDeleteRequested, ctx: Ctx) -> Sequence[Event]:
    """A person discarded it."""
    return [groups.refused(request, "given_up", GIVEN_UP)]


async def know_user(event: UserAccessChanged, ctx: Ctx) -> Sequence[Event]:
    ctx.store.save_user(event)
    return []


async def forget_old_arrivals(ctx: Ctx) -> Sequence[Message]:
    await ctx.store.forget_arrivals(ctx.now - timedelta(days=ctx.memory.settings.kept_days))
    return []


async def log_floods(ctx: Ctx) -> Sequence[Message]:
    """What was refused so often that it was not logged one by one, in one line for each kind."""
    kept = await ctx.store.kept(ctx.memory.told)
    for arrival_id, flood in ctx.memory.tell_floods(kept).items():
        await ctx.store.keep(arrival_id, flood.told())
    return []
