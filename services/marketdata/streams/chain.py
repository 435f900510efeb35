"""Option chains that somebody watches, several times a second: marketdata.chains.v1."""

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING

from libs.common.contracts.options import ChainConflated
from libs.common.settings import load
from libs.common.telemetry import log
from services.marketdata.domain.chain import Content, Contracts, changed, key_of
from services.marketdata.settings import PricingSettings

if TYPE_CHECKING:
    from libs.common.runtime import Runtime
    from services.marketdata.memory import MarketMemory
    from services.marketdata.store import ContractStore

    MarketRuntime = Runtime[ContractStore, MarketMemory]

WHOLE_EVERY_SECONDS = 5.0
"""How often all rows are told, for readers that begin now."""


async def tell_chains(runtime: "MarketRuntime") -> None:
    """Each watched chain: all of it when it is new and every five seconds, else the rows that changed."""
    told: dict[str, ToldChain] = {}
    period = 1 / load(PricingSettings).chain_hz
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        watched = runtime.memory.board.watched.chains
        if watched:
            await runtime.memory.desk.index(runtime.memory.listed)
        for name in told.keys() - watched:
            del told[name]
        for name in watched:
            message = told.setdefault(name, ToldChain(name)).next(runtime.memory, runtime.clock.now(), loop.time())
            if message is not None:
                runtime.publish_bulk(message)
            await asyncio.sleep(0)
        await asyncio.sleep(max(began + period - loop.time(), period / 10))


class ToldChain:
    """What was told of one chain."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._rows: dict[object, Content] = {}
        self._whole_at = float("-inf")
        self._unknown = False

    def next(self, memory: "MarketMemory", now: datetime, at: float) -> ChainConflated | None:
        """What is to be told now; None when nothing changed or nobody lists such a chain."""
        contracts = self._contracts(memory)
        if contracts is None:
            return None
        content = memory.desk.chain(contracts, now)
        rows = content["rows"]
        assert isinstance(rows, list)
        whole = at - self._whole_at >= WHOLE_EVERY_SECONDS
        fresh = rows if whole else changed(rows, self._rows)
        if not fresh:
            return None
        self._rows.update((row["strike"], row) for row in fresh)
        if whole:
            self._whole_at = at
        return ChainConflated.model_validate({**content, "rows": fresh, "full": whole})

    def _contracts(self, memory: "MarketMemory") -> Contracts | None:
        try:
            found = memory.desk.contracts(key_of(self._name))
        except ValueError:
            found = None
        if found is None and not self._unknown:
            log.warning("chain_unknown", chain=self._name)
        self._unknown = found is None
        return found
