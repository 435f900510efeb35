"""Contracts and prices into memory; each batch of prices revalues everything open."""

from collections.abc import Sequence

from libs.common.contracts.market import InstrumentListed, QuotesConflated
from services.risk.memory import RiskMemory


async def list_instruments(contracts: Sequence[InstrumentListed], memory: RiskMemory) -> None:
    memory.know(contracts)


async def revalue(batches: Sequence[QuotesConflated], memory: RiskMemory) -> None:
    memory.take(batches)
    memory.revalue()
