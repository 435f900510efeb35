"""The contract master, for search."""

from collections.abc import Sequence

from libs.common.contracts.base import Message
from libs.common.contracts.market import InstrumentListed
from services.gateway.projections.books import NOTHING, Ctx


async def listed(event: InstrumentListed, ctx: Ctx) -> Sequence[Message]:
    ctx.store.instruments.listed(event)
    return NOTHING
