"""The contracts that are known."""

from datetime import date
from decimal import Decimal

from libs.common.contracts.enums import Exchange, InstrumentKind, OptionType
from libs.common.contracts.ids import InstrumentId
from services.strategy.domain.chain import Chain
from services.strategy.memory import StrategyMemory
from services.strategy.streams import list_contracts, note_prices
from tests.services.strategy.markets import TODAY
from tests.services.strategy.scene import NOW, SPOT, WEEKS, listed_future, listed_option, listed_share, quoted


def test_a_contract_that_is_no_longer_tradable_is_forgotten() -> None:
    chain = Chain()
    contract = listed_option(WEEKS[0], Decimal(24_000), OptionType.CE)
    chain.learn(contract)
    chain.learn(contract.model_copy(update={"lot_size": 75}))
    assert chain.option("NIFTY", OptionType.CE, WEEKS[0], Decimal(24_000)).lot_size == 75
    chain.learn(contract.model_copy(update={"tradable": False}))
    assert chain.expiries("NIFTY", InstrumentKind.OPTION, OptionType.CE, TODAY) == []
    chain.learn(listed_share())
    assert chain.equity(InstrumentId("NSE:SBIN"))
    chain.learn(listed_share().model_copy(update={"tradable": False}))
    assert chain.equity(InstrumentId("NSE:SBIN")) is None


async def test_no_price_is_kept_of_a_contract_that_is_gone() -> None:
    """One of each contract that there ever was stayed in memory."""
    memory = StrategyMemory()
    contract = listed_option(WEEKS[0], Decimal(24_000), OptionType.CE)
    await list_contracts([contract], memory)
    await note_prices([quoted(120.0, NOW, contract.instrument), quoted(24_000.0, NOW)], memory)
    assert set(memory.quotes) == {contract.instrument, SPOT}
    await list_contracts([contract.model_copy(update={"tradable": False, "delisted": True})], memory)
    assert set(memory.quotes) == {SPOT}


def test_what_two_exchanges_list_is_traded_on_the_first() -> None:
    chain = Chain()
    chain.learn(listed_future("RELIANCE", date(2026, 8, 25), Exchange.BFO))
    assert chain.future("RELIANCE", date(2026, 8, 25)).instrument.startswith("BFO:")
    chain.learn(listed_future("RELIANCE", date(2026, 8, 25), Exchange.NFO))
    assert chain.future("RELIANCE", date(2026, 8, 25)).instrument.startswith("NFO:")
