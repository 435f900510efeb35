"""The contract master of the simulated market, generated from the dated rules for one day."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from libs.common.contracts.enums import Exchange, InstrumentKind, OptionType
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed
from libs.common.trading_calendar import TradingCalendar
from services.marketdata.adapters.simulator.spots import INDICES, STOCKS, SpotModel
from services.marketdata.domain import rules, symbols
from services.marketdata.domain.rules import INDEX_RULES, IndexRules

WITH_DERIVATIVES = ("NIFTY", "BANKNIFTY")
WEEKLIES = 4
MONTHLIES = 3
STRIKES_EACH_SIDE = 20
STOCK_PRICE_BAND = Decimal("0.10")
"""The operating range of stocks that have derivatives."""


@dataclass(frozen=True, slots=True)
class Expiries:
    weekly: tuple[date, ...]
    monthly: tuple[date, ...]

    @property
    def options(self) -> list[date]:
        return sorted({*self.weekly, *self.monthly})


def expiries(index: IndexRules, day: date, calendar: TradingCalendar) -> Expiries:
    """The coming expiries of an index by the exchange's calendar, whatever hours the platform keeps."""

    def trading_day(scheduled: date) -> date:
        if calendar.session(index.exchange, scheduled):
            return scheduled
        return calendar.previous_trading_day(index.exchange, scheduled)

    weekly = rules.weekly_expiries(index, day, WEEKLIES, trading_day) if index.weekly else []
    return Expiries(tuple(weekly), tuple(rules.monthly_expiries(index, day, MONTHLIES, trading_day)))


def generate(day: date, calendar: TradingCalendar) -> list[InstrumentListed]:
    """Indices, stocks, and the futures and option chains of NIFTY and BANKNIFTY that can be traded on `day`."""
    listed = [_index(model) for model in INDICES]
    listed += [_stock(model) for model in STOCKS]
    levels = {model.instrument: Decimal(model.level) for model in INDICES}
    for underlying in WITH_DERIVATIVES:
        index = INDEX_RULES[underlying]
        coming = expiries(index, day, calendar)
        listed += [_future(index, expiry, day, levels[index.spot]) for expiry in coming.monthly]
        for expiry in coming.options:
            listed += _chain(index, expiry, day, levels[index.spot])
    return listed


def _index(model: SpotModel) -> InstrumentListed:
    exchange, symbol = symbols.split(model.instrument)
    return InstrumentListed(
        instrument=InstrumentId(model.instrument),
        exchange=exchange,
        symbol=symbol,
        name=model.name,
        kind=InstrumentKind.INDEX,
        lot_size=1,
        tick_size=rules.INDEX_TICK,
        tradable=False,
    )


def _stock(model: SpotModel) -> InstrumentListed:
    exchange, symbol = symbols.split(model.instrument)
    return InstrumentListed(
        instrument=InstrumentId(model.instrument),
        exchange=exchange,
        symbol=symbol,
        name=model.name,
        kind=InstrumentKind.EQUITY,
        lot_size=1,
        tick_size=rules.cash_tick(Decimal(model.level)),
        price_band=STOCK_PRICE_BAND,
    )


def _future(index: IndexRules, expiry: date, day: date, level: Decimal) -> InstrumentListed:
    symbol = symbols.Future(index.underlying, expiry)
    lot = rules.lot_size(index, expiry)
    return InstrumentListed(
        instrument=symbols.instrument_id(index.exchange, symbol),
        exchange=index.exchange,
        symbol=str(symbol),
        name=index.underlying,
        kind=InstrumentKind.FUTURE,
        underlying=index.underlying,
        spot=index.spot,
        expiry=expiry,
        lot_size=lot,
        tick_size=rules.future_tick(level),
        freeze_quantity=rules.freeze_quantity(index, day, lot),
        price_band=STOCK_PRICE_BAND,
    )


def _chain(index: IndexRules, expiry: date, day: date, level: Decimal) -> Iterator[InstrumentListed]:
    lot = rules.lot_size(index, expiry)
    freeze = rules.freeze_quantity(index, day, lot)
    for strike in rules.strikes_around(level, index.strike_step, STRIKES_EACH_SIDE):
        for option_type in OptionType:
            symbol = symbols.Option(index.underlying, expiry, strike, option_type)
            yield InstrumentListed(
                instrument=symbols.instrument_id(Exchange(index.exchange), symbol),
                exchange=index.exchange,
                symbol=str(symbol),
                name=index.underlying,
                kind=InstrumentKind.OPTION,
                underlying=index.underlying,
                spot=index.spot,
                expiry=expiry,
                strike=strike,
                option_type=option_type,
                lot_size=lot,
                tick_size=rules.OPTION_TICK,
                freeze_quantity=freeze,
            )
