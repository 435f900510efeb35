"""The contracts that are listed, and which of them a rule means. Expiries are listed ones, never counted weekdays."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise

from libs.common.contracts.enums import Exchange, ExpiryRule, InstrumentKind, OptionType, StrikeRule
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed
from libs.common.trading_calendar import SATURDAY

_DERIVATIVE_EXCHANGES = (Exchange.NFO, Exchange.BFO, Exchange.MCX, Exchange.CDS, Exchange.BCD)
"""Where an underlying is looked for first: BSE and BCD list second series of what NSE trades."""

_LONGEST_WEEK = timedelta(days=10)
"""Neighbouring weekly expiries are at most this far apart, holidays included; monthly ones are weeks apart."""


@dataclass(frozen=True, slots=True)
class Contract:
    instrument: InstrumentId
    kind: InstrumentKind
    lot_size: int
    freeze_quantity: int | None
    spot: InstrumentId | None = None
    expiry: date | None = None
    strike: Decimal | None = None


_Line = tuple[str, InstrumentKind, OptionType | None]
_Series = dict[date, dict[Decimal, Contract]]
_Place = tuple[_Series, date, Decimal]
"""Where a contract stands, so that it can be taken away: a master has 200,000, and their listings would fill memory."""


class Chain:
    """Tradable contracts by underlying, kind, expiry and strike; grows and shrinks as contracts are listed."""

    def __init__(self) -> None:
        self._places: dict[InstrumentId, _Place] = {}
        self._equities: dict[InstrumentId, Contract] = {}
        self._lines: dict[Exchange, dict[_Line, _Series]] = defaultdict(dict)

    def learn(self, listed: InstrumentListed) -> None:
        """Take in a contract, new or changed. What is no longer tradable is forgotten."""
        before = self._places.pop(listed.instrument, None)
        if before is not None:
            self._remove(before)
        self._equities.pop(listed.instrument, None)
        if listed.tradable:
            self._add(listed)

    def equity(self, instrument: InstrumentId) -> Contract | None:
        return self._equities.get(instrument)

    def is_tradable(self, instrument: InstrumentId, today: date) -> bool:
        """Listed and not yet past."""
        place = self._places.get(instrument)
        return instrument in self._equities or (place is not None and place[1] >= today)

    def expiries(
        self,
        underlying: str,
        kind: InstrumentKind,
        option_type: OptionType | None,
        today: date,
        ended: Collection[Exchange] = (),
    ) -> list[date]:
        """Listed and not yet past, the nearest first; of exchanges where today's have `ended`, from tomorrow on."""
        since = today + timedelta(days=1) if self._exchange(underlying, kind, option_type) in ended else today
        return sorted(day for day in self._series(underlying, kind, option_type) if day >= since)

    def strikes(self, underlying: str, option_type: OptionType, expiry: date) -> list[Decimal]:
        return sorted(self._series(underlying, InstrumentKind.OPTION, option_type).get(expiry, ()))

    def option(self, underlying: str, option_type: OptionType, expiry: date, strike: Decimal) -> Contract:
        return self._series(underlying, InstrumentKind.OPTION, option_type)[expiry][strike]

    def future(self, underlying: str, expiry: date) -> Contract:
        return self._series(underlying, InstrumentKind.FUTURE, None)[expiry][Decimal(0)]

    def _series(
        self, underlying: str, kind: InstrumentKind, option_type: OptionType | None
    ) -> dict[date, dict[Decimal, Contract]]:
        exchange = self._exchange(underlying, kind, option_type)
        return self._lines[exchange][underlying, kind, option_type] if exchange else {}

    def _exchange(self, underlying: str, kind: InstrumentKind, option_type: OptionType | None) -> Exchange | None:
        line = underlying, kind, option_type
        return next((exchange for exchange in _DERIVATIVE_EXCHANGES if self._lines[exchange].get(line)), None)

    def _add(self, listed: InstrumentListed) -> None:
        contract = Contract(
            listed.instrument,
            listed.kind,
            listed.lot_size,
            listed.freeze_quantity,
            listed.spot,
            listed.expiry,
            listed.strike,
        )
        match listed:
            case InstrumentListed(kind=InstrumentKind.EQUITY):
                self._equities[listed.instrument] = contract
            case InstrumentListed(underlying=str(underlying), expiry=date() as expiry):
                line = self._lines[listed.exchange].setdefault((underlying, listed.kind, listed.option_type), {})
                strike = listed.strike or Decimal(0)
                line.setdefault(expiry, {})[strike] = contract
                self._places[listed.instrument] = line, expiry, strike
            case _:
                pass

    def _remove(self, place: _Place) -> None:
        line, expiry, strike = place
        del line[expiry][strike]
        if not line[expiry]:
            del line[expiry]


def choose_expiry(rule: ExpiryRule, listed: Sequence[date], today: date, futures: Sequence[date] = ()) -> date | None:
    """The expiry that the rule means among those listed, the nearest first; None when it means none of them.

    A week is the nearest or the one after it, where weekly contracts are listed at all; of the only one that is listed
    nobody can tell, and it is a week when it is no further away. A month is the last expiry of a calendar month: the
    monthly contract, shifted by a holiday or not. Where weeks are listed it is that of the month's future: on 30 April
    2025 a week expired, which a holiday had moved out of May.
    """
    if rule in {ExpiryRule.CURRENT_WEEK, ExpiryRule.NEXT_WEEK}:
        is_a_week = len(listed) == 1 and listed[0] - today <= _LONGEST_WEEK
        candidates = list(listed) if is_a_week or lists_weeks(listed) else []
    else:
        months = {_month(day): day for day in listed}
        ends = [day for day in futures if _may_end_month(day)] if lists_weeks(futures) else futures
        if ends and lists_weeks(listed):
            months = {month: day for month, day in months.items() if month >= _month(ends[0])}
            months |= {_month(day): day for day in ends if day in listed}
        candidates = list(months.values())
    place = 0 if rule in {ExpiryRule.CURRENT_WEEK, ExpiryRule.CURRENT_MONTH} else 1
    return candidates[place] if place < len(candidates) else None


def _month(day: date) -> tuple[int, int]:
    return day.year, day.month


def _may_end_month(day: date) -> bool:
    """Of currencies, whose futures have weeks, too: a month ends two working days before the last of the calendar's.
    The week that ends on the Friday behind it is none.
    """
    following = (day + timedelta(days=n) for n in range(1, 5))
    _, second, *_ = (each for each in following if each.weekday() < SATURDAY)
    return second.month == day.month


def lists_weeks(listed: Sequence[date]) -> bool:
    """BANKNIFTY lost its weekly contracts in 2024: whoever asks for one must not silently get a month."""
    return any(later - earlier <= _LONGEST_WEEK for earlier, later in pairwise(listed))


def choose_strike(
    rule: StrikeRule, offset: int, option_type: OptionType, strikes: Sequence[Decimal], spot: Decimal
) -> Decimal | None:
    """At the money is the strike nearest to the spot, the lower of two equally near, of those listed, the lowest first.

    Out of the money is above it for a call and below it for a put, by `offset` listed strikes; in the money the
    other way. With ATM a signed offset moves up or down the list. None when the list ends before.
    """
    if not strikes:
        return None
    above = bisect_left(strikes, spot)
    nearest = strikes[max(above - 1, 0) : above + 1]
    at_the_money = max(above - 1, 0) + min(range(len(nearest)), key=lambda n: abs(nearest[n] - spot))
    outwards = 1 if option_type is OptionType.CE else -1
    step = {StrikeRule.ATM: 1, StrikeRule.OTM: outwards, StrikeRule.ITM: -outwards}[rule]
    place = at_the_money + offset * step
    return strikes[place] if 0 <= place < len(strikes) else None
