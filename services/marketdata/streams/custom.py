"""Keeps the custom symbols that quote in step with those that are saved."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from libs.common.contracts.base import Delivery
from libs.common.contracts.masters import CustomSymbolDeleteRequested, CustomSymbolSaveRequested
from services.marketdata.domain import custom
from services.marketdata.memory import MarketMemory
from services.marketdata.store import ContractStore

if TYPE_CHECKING:
    from libs.common.runtime import Runtime

    MarketRuntime = Runtime[ContractStore, MarketMemory]


async def note_custom_symbols(deliveries: Sequence[Delivery], runtime: "MarketRuntime") -> None:
    """After a batch was committed: quote what it saved, and no longer what it deleted."""
    if any(isinstance(d.message, CustomSymbolSaveRequested | CustomSymbolDeleteRequested) for d in deliveries):
        await load_custom_symbols(runtime)


async def load_custom_symbols(runtime: "MarketRuntime") -> None:
    memory = runtime.memory
    async with runtime.pool.acquire(timeout=2) as connection:
        saved = await ContractStore(connection).custom_symbols.all()
    known = {symbol.instrument: symbol for symbol in saved}
    before = dict(memory.custom.symbols)
    memory.custom.replace(saved)
    for instrument in before.keys() - known.keys():
        memory.listed.pop(instrument, None)
    memory.listed.update((symbol.instrument, custom.listed(symbol)) for symbol in saved)
    # Of other legs it is another price: the day's range and the last close of the old ones would stand beside it.
    gone = [name for name, symbol in before.items() if name not in known or known[name].legs != symbol.legs]
    if gone:
        await memory.drop_quotes(sorted(gone))
