"""Custom symbols: baskets and spreads of other instruments, and the quote that follows from their legs' quotes."""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

from libs.common.contracts.enums import Exchange, FeedSource, InstrumentKind
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed, Quote, Tick, is_of_a_day_before
from libs.common.contracts.masters import CustomLeg, CustomSymbol

MOST_LEGS = 20
LONGEST_APART = timedelta(minutes=5)
"""Legs whose quotes are further apart than this make no price."""

_NAME = re.compile(r"[A-Z0-9][A-Z0-9&_.\-]{1,39}")


def fault_of_symbol(wanted: CustomSymbol, is_listed: Callable[[InstrumentId], bool]) -> str | None:
    """Why this is no custom symbol; None when it is one."""
    if not _NAME.fullmatch(wanted.symbol):
        return f"symbol {wanted.symbol!r}: 2 to 40 capitals, digits, or & _ . -"
    if not 1 <= len(wanted.legs) <= MOST_LEGS:
        return f"{len(wanted.legs)} legs: a custom symbol has 1 to {MOST_LEGS}"
    if wanted.tick_size <= 0:
        return f"tick size {wanted.tick_size} is not positive"
    if len({leg.instrument for leg in wanted.legs}) < len(wanted.legs):
        return "an instrument is named twice: give it one leg with the sum of the weights"
    return next((fault for leg in wanted.legs if (fault := _fault_of_leg(leg, is_listed)) is not None), None)


def _fault_of_leg(leg: CustomLeg, is_listed: Callable[[InstrumentId], bool]) -> str | None:
    if not leg.weight:
        return f"the weight of {leg.instrument} is zero"
    if leg.instrument.startswith(f"{Exchange.CUSTOM}:"):
        return f"{leg.instrument} is a custom symbol itself: name its legs"
    return None if is_listed(leg.instrument) else f"{leg.instrument} is not in the contract master"


def listed(symbol: CustomSymbol) -> InstrumentListed:
    """As an instrument that quotes and cannot be traded, like an index."""
    return InstrumentListed(
        instrument=symbol.instrument,
        exchange=Exchange.CUSTOM,
        symbol=symbol.symbol,
        name=symbol.name,
        kind=InstrumentKind.INDEX,
        lot_size=1,
        tick_size=symbol.tick_size,
        tradable=False,
    )


def tick_of(symbol: CustomSymbol, quotes: Mapping[InstrumentId, Quote], received_at: datetime) -> Tick | None:
    """The sum of the legs, as of the newest of them; None while a leg has no price of its day or is too old beside the
    others.

    What is bought is sold at the bid: the bid of the whole takes the bids of positive legs and the asks of negative
    ones. Sides are 0 when a leg lacks its side (an index has neither). Its price may be zero or negative.
    """
    legs = [(float(leg.weight), quotes.get(leg.instrument)) for leg in symbol.legs]
    known = [(weight, quote) for weight, quote in legs if quote is not None and not is_of_a_day_before(quote)]
    if len(known) < len(legs):
        return None
    times = [quote.at for _, quote in known]
    if max(times) - min(times) > LONGEST_APART:
        return None
    sources = {quote.source for _, quote in known}
    two_sided = all(quote.bid > 0 and quote.ask > 0 for _, quote in known)
    return Tick(
        instrument=symbol.instrument,
        at=max(times),
        received_at=received_at,
        source=sources.pop() if len(sources) == 1 else FeedSource.DERIVED,
        ltp=_sum(weight * quote.ltp for weight, quote in known),
        bid=_sum(w * (q.bid if w > 0 else q.ask) for w, q in known) if two_sided else 0.0,
        ask=_sum(w * (q.ask if w > 0 else q.bid) for w, q in known) if two_sided else 0.0,
        bid_quantity=_whole(known, buying=False) if two_sided else 0,
        ask_quantity=_whole(known, buying=True) if two_sided else 0,
    )


def oldest(symbol: CustomSymbol, quotes: Mapping[InstrumentId, Quote]) -> datetime:
    """The time of the leg that the symbol's price is as old as. Every leg has a quote."""
    return min(quotes[leg.instrument].at for leg in symbol.legs)


def _whole(legs: list[tuple[float, Quote]], *, buying: bool) -> int:
    """How many of the whole the legs' best quantities make."""
    asked = [(abs(w), q.ask_quantity if (w > 0) == buying else q.bid_quantity) for w, q in legs]
    return int(min(quantity / weight for weight, quantity in asked))


def _sum(parts: Iterable[float]) -> float:
    return round(sum(parts), 4)
