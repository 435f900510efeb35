"""What strategy knows of the market: contracts, quotes and hours."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from libs.common.contracts.enums import Exchange
from libs.common.contracts.ids import AccountId, InstrumentId, UserId
from libs.common.contracts.market import Quote
from libs.common.service import Memory
from libs.common.settings import load
from libs.common.trading_calendar import CURRENCIES, IST, TradingCalendar
from services.strategy.domain.algos import KnownAccount
from services.strategy.domain.chain import Chain
from services.strategy.domain.decisions import Patience, Situation
from services.strategy.domain.legs import Market
from services.strategy.settings import StrategySettings

if TYPE_CHECKING:
    from libs.common.runtime import Runtime


class StrategyMemory(Memory):
    def __init__(self) -> None:
        settings = load(StrategySettings)
        self.chain = Chain()
        self.quotes: dict[InstrumentId, Quote] = {}
        self._calendar = TradingCalendar()
        self._spot_max_age = timedelta(seconds=settings.spot_max_age_s)
        self._patience = Patience(
            signal_max_age=timedelta(seconds=settings.signal_max_age_s),
            order_ttl=timedelta(seconds=settings.order_ttl_s),
            reversal=timedelta(seconds=settings.reversal_patience_s),
        )

    async def open(self, runtime: "Runtime[Any, Any]") -> None:
        self._calendar = TradingCalendar(runtime.settings.market_hours)

    def situation(
        self, now: datetime, accounts: Mapping[AccountId, KnownAccount], idle_users: AbstractSet[UserId] = frozenset()
    ) -> Situation:
        today = now.astimezone(IST).date()
        market = Market(self.chain, self.quotes, now, today, self._spot_max_age, self._ended(now, today))
        return Situation(market, accounts, self._patience, idle_users)

    def _ended(self, now: datetime, today: date) -> frozenset[Exchange]:
        """Where contracts that expire today have ended before the session does."""
        sessions = {exchange: self._calendar.session(exchange, today, last_day=True) for exchange in CURRENCIES}
        return frozenset(exchange for exchange, session in sessions.items() if session and now >= session.close)
