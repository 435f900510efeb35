"""What clients look at, told within milliseconds: marketdata.watched.v1. Everybody else reads the conflated quotes."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from libs.common.contracts.market import WatchedConflated, WatchRenewed
from services.marketdata.memory import MarketMemory

if TYPE_CHECKING:
    from libs.common.runtime import Runtime
    from services.marketdata.store import ContractStore

    MarketRuntime = Runtime[ContractStore, MarketMemory]

FORGET_SECONDS = 0.25
TELL_SECONDS = 0.01
MOST_AT_ONCE = 500
"""Quotes in one message."""


async def note_watchers(requests: Sequence[WatchRenewed], memory: MarketMemory) -> None:
    """A book that nobody watched before is told at once, as it is."""
    board = memory.board
    for said in requests:
        for instrument in board.watched.note(said):
            if (book := memory.book(instrument)) is not None:
                board.watched.take(book)


async def forget_watchers(runtime: "MarketRuntime") -> None:
    """Until the process stops: who does not say it again looks no longer."""
    while True:
        runtime.memory.board.watched.forget(runtime.clock.now())
        await asyncio.sleep(FORGET_SECONDS)


async def tell_watchers(runtime: "MarketRuntime") -> None:
    """At most once in TELL_SECONDS, the newest of each watched instrument that ticked."""
    board = runtime.memory.board
    while True:
        await board.watched.ticked.wait()
        await asyncio.sleep(TELL_SECONDS)
        quotes, depths = board.watched_now()
        for n in range(0, len(quotes), MOST_AT_ONCE):
            some = quotes[n : n + MOST_AT_ONCE]
            names = {quote.instrument for quote in some}
            runtime.publish_bulk(
                WatchedConflated(
                    shard="all",
                    at=runtime.clock.now(),
                    quotes=tuple(some),
                    depths=tuple(depth for depth in depths if depth.instrument in names),
                )
            )
