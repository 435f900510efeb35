"""Fills the memory: the newest is all that matters."""

from collections.abc import Sequence

from libs.common.contracts.market import InstrumentListed, QuotesConflated
from services.strategy.memory import StrategyMemory


async def list_contracts(listed: Sequence[InstrumentListed], memory: StrategyMemory) -> None:
    for contract in listed:
        memory.chain.learn(contract)
        if contract.delisted:
            memory.quotes.pop(contract.instrument, None)


async def note_prices(conflated: Sequence[QuotesConflated], memory: StrategyMemory) -> None:
    for message in conflated:
        for quote in message.quotes:
            memory.quotes[quote.instrument] = quote
