"""What strategy knows of the market: contracts and quotes."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta

from libs.common.contracts.ids import AccountId, InstrumentId, UserId
from libs.common.contracts.market import Quote
from libs.common.service import Memory
from libs.common.settings import load
from libs.common.trading_calendar import IST
from services.strategy.domain.algos import KnownAccount
from services.strategy.domain.chain import Chain
from services.strategy.domain.decisions import Patience, Situation
from services.strategy.domain.legs import Market
from services.strategy.settings import StrategySettings


class StrategyMemory(Memory):
    def __init__(self) -> None:
        settings = load(StrategySettings)
        self.chain = Chain()
        self.quotes: dict[InstrumentId, Quote] = {}
        self._spot_max_age = timedelta(seconds=settings.spot_max_age_s)
        self._patience = Patience(
            signal_max_age=timedelta(seconds=settings.signal_max_age_s),
            order_ttl=timedelta(seconds=settings.order_ttl_s),
            reversal=timedelta(seconds=settings.reversal_patience_s),
        )

    def situation(
        self, now: datetime, accounts: Mapping[AccountId, KnownAccount], idle_users: AbstractSet[UserId] = frozenset()
    ) -> Situation:
        market = Market(self.chain, self.quotes, now, now.astimezone(IST).date(), self._spot_max_age)
        return Situation(market, accounts, self._patience, idle_users)
