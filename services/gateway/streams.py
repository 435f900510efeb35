"""Quotes: the newest of each instrument, for books, snapshots and WebSocket clients."""

from collections.abc import Sequence

from libs.common.contracts.market import QuotesConflated
from services.gateway.memory import GatewayMemory


async def quotes(batches: Sequence[QuotesConflated], memory: GatewayMemory) -> None:
    for batch in batches:
        memory.quotes.update(batch.quotes, batch.at)
        memory.hub.quoted(batch.quotes)
