"""The contracts that are known."""

from datetime import date
from decimal import Decimal

from libs.common.contracts.enums import Exchange, InstrumentKind, OptionType
from libs.common.contracts.ids import InstrumentId
from services.strategy.domain.chain import Chain
from tests.services.strategy.markets import TODAY
from tests.services.strategy.scene import WEEKS, listed_future, listed_option, listed_share


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


def test_what_two_exchanges_list_is_traded_on_the_first() -> None:
    chain = Chain()
    chain.learn(listed_future("RELIANCE", date(2026, 8, 25), Exchange.BFO))
    assert chain.future("RELIANCE", date(2026, 8, 25)).instrument.startswith("BFO:")
    chain.learn(listed_future("RELIANCE", date(2026, 8, 25), Exchange.NFO))
    assert chain.future("RELIANCE", date(2026, 8, 25)).instrument.startswith("NFO:")
