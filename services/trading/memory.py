"""What a trading process has in mind: when markets trade, and how far it has looked through what is over."""

from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from libs.common.contracts.enums import Exchange
from libs.common.contracts.ids import InstrumentId
from libs.common.service import Memory
from libs.common.settings import MarketHours
from libs.common.trading_calendar import MarketSession, TradingCalendar
from services.trading.domain.positions import NetKey
from services.trading.domain.symbols import expires_on

if TYPE_CHECKING:
    from libs.common.runtime import Runtime


class TradingMemory(Memory):
    def __init__(self) -> None:
        self.calendar = TradingCalendar(MarketHours.CONTINUOUS)
        self.looked_at: NetKey | None = None
        """The last position of those that the day's look for expired ones has come to."""
        self.looked_on: date | None = None
        """The day whose look has come to the end."""

    async def open(self, runtime: "Runtime[Any, Any]") -> None:
        self.calendar = TradingCalendar(runtime.settings.market_hours)

    def may_trade(self, instrument: InstrumentId, now: datetime) -> bool:
        """Whether anything of its exchange trades: which stocks have derivatives, and so hours of their own, is not
        known here.
        """
        return any(session.open <= now < session.end for session in self._sessions(instrument, now))

    def has_session(self, instrument: InstrumentId, now: datetime) -> bool:
        """Whether its exchange trades at any hour of the Indian day, as far as is known."""
        return bool(self._sessions(instrument, now))

    def _sessions(self, instrument: InstrumentId, now: datetime) -> list[MarketSession]:
        exchange, today = Exchange(instrument.partition(":")[0]), self.calendar.trading_day(now)
        last_day = expires_on(instrument, today)
        found = (self.calendar.session(exchange, today, listed, last_day) for listed in (False, True))
        return [session for session in found if session is not None]
