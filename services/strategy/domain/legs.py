"""From a leg's words to a contract and a quantity. All legs or none: never half a spread."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal

from libs.common.contracts.algos import Algo, AlgoLeg, LinkedAccount
from libs.common.contracts.enums import EntryLegs, Exchange, InstrumentKind, RepeatRule, Side
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import Quote, is_of_a_day_before
from services.strategy.domain.chain import Chain, Contract, choose_expiry, choose_strike

_BESIDE = 2
"""So many strikes a price may pass until what is asked for now has one."""
_MOST_OPTIONS = 5_000
"""More than a feed carries beside the rest: who makes algos of all that is listed must not fill the message for all."""

_LARGEST_ORDER = 10**9
"""As risk takes: who keeps orders has no room for twice as much, not even for its denial."""


@dataclass(frozen=True, slots=True)
class Market:
    """What is listed and what it trades at, as far as we know now. `today` is the Indian date.

    `ended`: where contracts that expire today trade no more, though others do.
    """

    chain: Chain
    quotes: Mapping[InstrumentId, Quote]
    now: datetime
    today: date
    spot_max_age: timedelta
    ended: frozenset[Exchange] = frozenset()


@dataclass(frozen=True, slots=True)
class Impossible:
    """Why an entry cannot be made; nothing of it is."""

    reason: str


@dataclass(frozen=True, slots=True)
class PlannedOrder:
    leg: int
    instrument: InstrumentId
    side: Side
    quantity: int


@dataclass(frozen=True, slots=True)
class _Line:
    """What the option of a leg is chosen from, and the price that it goes by."""

    underlying: str
    expiry: date
    strikes: Sequence[Decimal]
    price: Decimal

    def chosen(self, leg: AlgoLeg, market: Market, beside: int = 0) -> Contract | None:
        """The leg's, or that so many strikes `beside` it; None when the list ends before."""
        assert leg.option_type is not None
        assert leg.strike is not None
        strike = choose_strike(leg.strike, leg.strike_offset + beside, leg.option_type, self.strikes, self.price)
        return None if strike is None else market.chain.option(self.underlying, leg.option_type, self.expiry, strike)


def resolve(algo: Algo, market: Market) -> tuple[Contract, ...] | Impossible:
    """The contract of every leg, or why one has none."""
    contracts: list[Contract] = []
    for number, leg in enumerate(algo.legs, start=1):
        found = _resolve_leg(leg, market)
        if isinstance(found, Impossible):
            return Impossible(f"{_label(algo, number)}{found.reason}")
        contracts.append(found)
    return tuple(contracts)


def is_listed(leg: AlgoLeg, market: Market) -> bool:
    """Whether anything is listed that the leg could mean: what is not has no price either."""
    if leg.kind is InstrumentKind.EQUITY:
        return leg.instrument is not None and market.chain.equity(leg.instrument) is not None
    if leg.underlying is None:
        return False
    return bool(market.chain.expiries(leg.underlying, leg.kind, leg.option_type, market.today))


def may_choose(legs: Iterable[AlgoLeg], market: Market) -> set[InstrumentId]:
    """The options that these legs mean by the prices of this moment, and those beside them: when a signal comes each
    must have a price, however far it is from the money. Of too many those of the nearest strikes.
    """
    wishes = {
        (leg.underlying, leg.expiry, leg.option_type, leg.strike, leg.strike_offset): leg
        for leg in legs
        if leg.kind is InstrumentKind.OPTION
    }
    lines: dict[object, _Line | Impossible] = {}
    found: set[InstrumentId] = set()
    for leg in sorted(wishes.values(), key=lambda leg: abs(leg.strike_offset)):
        named = leg.underlying, leg.expiry, leg.option_type
        if named not in lines:
            lines[named] = _line(leg, leg.underlying or "", market)
        line = lines[named]
        if not isinstance(line, Impossible):
            near = (line.chosen(leg, market, beside) for beside in range(-_BESIDE, _BESIDE + 1))
            found.update(contract.instrument for contract in near if contract)
        if len(found) >= _MOST_OPTIONS:
            break
    return found


def plan(
    algo: Algo, contracts: Sequence[Contract], account: LinkedAccount, action: Side
) -> tuple[PlannedOrder, ...] | Impossible:
    """One order per leg, purchases first: a sold option is covered before it is sold.

    Lots are multiplied and rounded down to whole ones. An algo that reverses trades its legs as configured on a buy
    signal and the other way round on a sell signal; any other algo as configured.
    """
    flipped = direction_on(algo, action) is Side.SELL
    orders: list[PlannedOrder] = []
    for number, (leg, contract) in enumerate(zip(algo.legs, contracts, strict=True), start=1):
        lots = int((leg.lots * account.multiplier).to_integral_value(ROUND_FLOOR))
        quantity = lots * contract.lot_size
        if not quantity:
            return Impossible(f"{_label(algo, number)}{leg.lots} lots times {account.multiplier} is less than one lot")
        if contract.freeze_quantity is not None and quantity > contract.freeze_quantity:
            most = contract.freeze_quantity
            problem = f"{quantity} is above the freeze quantity {most} of {contract.instrument}"
            return Impossible(_label(algo, number) + problem)
        if quantity > _LARGEST_ORDER:
            problem = f"{quantity} is above {_LARGEST_ORDER}, more than any order has"
            return Impossible(_label(algo, number) + problem)
        side = leg.side.opposite if flipped else leg.side
        orders.append(PlannedOrder(number, contract.instrument, side, quantity))
    return tuple(sorted(orders, key=lambda order: order.side is Side.SELL))


def direction_on(algo: Algo, action: Side) -> Side:
    """The direction that an entry on such a signal takes: that of a buy signal unless the algo reverses."""
    return action if algo.on_repeat is RepeatRule.REVERSE else Side.BUY


def direction_of(algo: Algo, side: Side) -> Side | None:
    """The signal that makes an algo that reverses trade this side; None when its legs are of both sides."""
    sides = {leg.side for leg in algo.legs}
    if algo.on_repeat is not RepeatRule.REVERSE or len(sides) > 1:
        return None
    return Side.BUY if side in sides else Side.SELL


def _label(algo: Algo, number: int) -> str:
    """What of the algo a reason is about, where its stock does not stand beside it."""
    return "" if algo.entry_legs is EntryLegs.NAMED else f"leg {number}: "


def _resolve_leg(leg: AlgoLeg, market: Market) -> Contract | Impossible:
    match leg.kind:
        case InstrumentKind.EQUITY if leg.instrument:
            found = market.chain.equity(leg.instrument)
            return found or Impossible(f"{leg.instrument} is not a listed, tradable share")
        case InstrumentKind.FUTURE if leg.underlying and leg.expiry:
            expiry = _expiry(leg, leg.underlying, market)
            return expiry if isinstance(expiry, Impossible) else market.chain.future(leg.underlying, expiry)
        case InstrumentKind.OPTION if leg.underlying and leg.expiry and leg.option_type and leg.strike:
            return _resolve_option(leg, leg.underlying, market)
        case _:
            return Impossible(f"the leg is not complete for {leg.kind}")


def _expiry(leg: AlgoLeg, underlying: str, market: Market) -> date | Impossible:
    assert leg.expiry is not None
    listed = market.chain.expiries(underlying, leg.kind, leg.option_type, market.today, market.ended)
    kind = f"{underlying} {leg.option_type or leg.kind}"
    if not listed:
        return Impossible(f"no {kind} contract is listed")
    futures = market.chain.expiries(underlying, InstrumentKind.FUTURE, None, market.today, market.ended)
    chosen = choose_expiry(leg.expiry, listed, market.today, futures)
    return chosen or Impossible(f"{kind} lists no expiry for {leg.expiry}; listed: {', '.join(map(str, listed[:3]))}")


def _resolve_option(leg: AlgoLeg, underlying: str, market: Market) -> Contract | Impossible:
    line = _line(leg, underlying, market)
    if isinstance(line, Impossible):
        return line
    return line.chosen(leg, market) or Impossible(
        f"{underlying} {line.expiry} lists no strike {leg.strike} {leg.strike_offset:+d} {leg.option_type}"
        f" from {line.price}"
    )


def _line(leg: AlgoLeg, underlying: str, market: Market) -> _Line | Impossible:
    assert leg.option_type is not None
    expiry = _expiry(leg, underlying, market)
    if isinstance(expiry, Impossible):
        return expiry
    strikes = market.chain.strikes(underlying, leg.option_type, expiry)
    price = _spot(market.chain.option(underlying, leg.option_type, expiry, strikes[0]), underlying, market)
    return price if isinstance(price, Impossible) else _Line(underlying, expiry, strikes, price)


def _spot(contract: Contract, underlying: str, market: Market) -> Decimal | Impossible:
    """The live price of the underlying: a strike chosen from an old or empty one would be a guess. Commodities and
    currencies have no spot that a feed carries: their options go by the next future.
    """
    instrument = contract.spot or _next_future(contract, underlying, market)
    name = f"the {'spot' if contract.spot else 'future'} price of {underlying}"
    quote = market.quotes.get(instrument) if instrument else None
    if quote is None or quote.ltp <= 0:
        return Impossible(f"{name} is not known")
    age = market.now - quote.at
    if age > market.spot_max_age:
        return Impossible(f"{name} is {int(age.total_seconds())} s old")
    if is_of_a_day_before(quote):
        return Impossible(f"{name} is of a day before: it has not traded yet today")
    return Decimal(str(quote.ltp))


def _next_future(option: Contract, underlying: str, market: Market) -> InstrumentId | None:
    """That of the option's day, or of the next one: on MCX options end some days before the future that they are on."""
    days = market.chain.expiries(underlying, InstrumentKind.FUTURE, None, option.expiry or market.today)
    return market.chain.future(underlying, days[0]).instrument if days else None
