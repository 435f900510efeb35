"""Option chains on demand, from the contract master and the quote board."""

import asyncio
from collections.abc import Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING

from libs.common.contracts.enums import Exchange
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed
from libs.common.contracts.options import OptionChain
from libs.common.trading_calendar import TradingCalendar
from services.marketdata.domain import symbols
from services.marketdata.domain.chain import ChainIndex, ChainKey, Content, Contracts, Terms, worked_out
from services.marketdata.domain.expiry import expires_at
from services.marketdata.settings import PricingSettings

if TYPE_CHECKING:
    from services.marketdata.memory.board import QuoteBoard


class ChainDesk:
    def __init__(self, board: "QuoteBoard", calendar: TradingCalendar, settings: PricingSettings) -> None:
        self._board = board
        self._calendar = calendar
        self._settings = settings
        self._listed: Mapping[InstrumentId, InstrumentListed] = {}
        self._index = ChainIndex(())
        self._contracts: dict[ChainKey, Contracts] = {}

    async def index(self, listed: Mapping[InstrumentId, InstrumentListed]) -> ChainIndex:
        """The chains of this master; made anew, off the loop, when it is another one than last time."""
        if listed is not self._listed:
            found = await asyncio.to_thread(ChainIndex, list(listed.values()))
            self._listed, self._index, self._contracts = listed, found, {}
        return self._index

    def contracts(self, key: ChainKey) -> Contracts | None:
        found = self._contracts.get(key) or self._index.contracts(key)
        if found is not None:
            self._contracts[key] = found
        return found

    def nearest(self, exchange: Exchange, underlying: str, now: datetime) -> date:
        """The first expiry that still trades, or the last there is. Currencies end at half past noon of their day."""
        expiries = self._index.expiries(exchange, underlying)
        return next((day for day in expiries if now < expires_at(exchange, day, self._calendar)), expiries[-1])

    def chain(self, contracts: Contracts, now: datetime, each_side: int | None = None) -> Content:
        """The fields of an OptionChain, with the rows of `each_side` strikes below and above the money, or all."""
        key = contracts.key
        spot = self._board.quotes.get(contracts.spot) if contracts.spot else None
        ends = expires_at(key.exchange, key.expiry, self._calendar)
        terms = Terms(
            now=now,
            expires_at=ends,
            market_open=now < ends and self._calendar.is_open(key.exchange, now),
            spot_open=contracts.spot is not None and self._calendar.is_open(symbols.split(contracts.spot)[0], now),
            rate=self._settings.risk_free_rate,
            dividends=self._settings.dividends_of(key.underlying),
        )
        whole = worked_out(contracts, self._board.quotes, self._board.earlier_oi.known, terms)
        return whole if each_side is None else _around(whole, contracts, spot.ltp if spot else None, each_side)

    def chain_of(self, contracts: Contracts, now: datetime, each_side: int | None = None) -> OptionChain:
        return OptionChain.model_validate(self.chain(contracts, now, each_side))


def _around(whole: Content, contracts: Contracts, level: float | None, each_side: int) -> Content:
    """The rows near the money; ratio and max pain stay those of the whole chain."""
    rows = whole["rows"]
    assert isinstance(rows, list)
    kept = set(contracts.around(level or _number(whole["underlying_price"]), each_side).strikes)
    return {**whole, "rows": [row for row in rows if row["strike"] in kept]}


def _number(value: object) -> float | None:
    return value if isinstance(value, float) else None
