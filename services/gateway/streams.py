"""Quotes: the newest of each instrument, for books, snapshots and WebSocket clients."""

from collections.abc import Sequence

from libs.common.contracts.market import QuotesConflated, WatchedConflated
from libs.common.contracts.options import ChainConflated
from services.gateway.memory import GatewayMemory


async def quotes(batches: Sequence[QuotesConflated], memory: GatewayMemory) -> None:
    for batch in batches:
        memory.quotes.update(batch.quotes, batch.at)
        memory.hub.quoted(batch.quotes)


async def watched(batches: Sequence[WatchedConflated], memory: GatewayMemory) -> None:
    """What clients look at, told faster."""
    for batch in batches:
        memory.quotes.update(batch.quotes, batch.at)
        memory.hub.quoted(batch.quotes)
        memory.hub.deepened(batch.depths)


async def chains(batches: Sequence[ChainConflated], memory: GatewayMemory) -> None:
    memory.hub.chained(batches)
