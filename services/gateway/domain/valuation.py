"""What positions are worth at the last price."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from libs.common.contracts.enums import FeedSource

PAISA = Decimal("0.01")
ZERO = Decimal(0)
"""Added to what may be −0, which nobody wants to read, it gives 0."""


@dataclass(frozen=True, slots=True)
class LastPrice:
    """`at` is the exchange's time of it. A `stale` one may not be the market's any more, as quotes say it."""

    price: Decimal
    at: datetime
    source: FeedSource
    stale: bool


@dataclass(frozen=True, slots=True)
class Holding:
    """A net position and the last price of its instrument, None when no feed carries it."""

    quantity: int
    average_price: Decimal
    realised_pnl: Decimal
    margin: Decimal
    last: LastPrice | None

    @property
    def price(self) -> Decimal:
        """Without a last price a position is worth what was paid for it."""
        return self.average_price if self.last is None else self.last.price

    @property
    def unrealised_pnl(self) -> Decimal:
        return (self.quantity * (self.price - self.average_price)).quantize(PAISA) + ZERO

    @property
    def value(self) -> Decimal:
        return (self.quantity * self.price).quantize(PAISA)


@dataclass(frozen=True, slots=True)
class Exposure:
    gross_value: Decimal
    net_value: Decimal
    used_margin: Decimal
    realised_pnl: Decimal
    unrealised_pnl: Decimal
    open_positions: int
    ltp_at: datetime | None
    """Of the oldest price that something open is valued at; None while nothing is open, or something has no price."""
    stale: bool

    @property
    def mtm(self) -> Decimal:
        return self.realised_pnl + self.unrealised_pnl


def exposure(holdings: Iterable[Holding]) -> Exposure:
    held = list(holdings)
    last = [h.last for h in held if h.quantity]
    known = [price for price in last if price is not None]
    is_priced = len(known) == len(last)
    return Exposure(
        gross_value=sum((abs(h.value) for h in held), ZERO),
        net_value=sum((h.value for h in held), ZERO),
        used_margin=sum((h.margin for h in held), ZERO),
        realised_pnl=sum((h.realised_pnl for h in held), ZERO),
        unrealised_pnl=sum((h.unrealised_pnl for h in held), ZERO),
        open_positions=len(last),
        ltp_at=min((price.at for price in known), default=None) if is_priced else None,
        stale=not is_priced or any(price.stale for price in known),
    )
