"""An order with all that is known about it, and what a rule answers."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property

from libs.common.contracts.enums import Broker, DenialRule, OrderPurpose, Product, Side
from libs.common.contracts.ids import RiskLimitId
from libs.common.contracts.orders import OrderTerms
from services.risk.domain import margin
from services.risk.domain.halts import Halt
from services.risk.domain.instruments import Instrument, Price
from services.risk.domain.ledger import Footprint, Ledger, Reservation
from services.risk.domain.limits import OrderLimit
from services.risk.domain.margin import MarginRates
from services.risk.domain.money import ZERO


@dataclass(frozen=True, slots=True)
class Denial:
    rule: DenialRule
    reason: str
    limit: str
    """What is allowed, in the words or the number that the rule has for it."""
    value: str
    """What was met."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator configures: margin rates, how old a price may be to stand for the market, and how long before
    the close of its market MIS ends.
    """

    rates: MarginRates
    reference_price_max_age: timedelta
    intraday_cutoff: timedelta


@dataclass(frozen=True)
class OrderCheck:
    """An order with all that is known about it. `changing` is the order as it stands when this is a change of it.

    `intraday_until` is when positions are opened in MIS no more today, where that ends before the market closes.
    `market_open` tells why a price is old, no more: whether an order comes too late its venue decides.
    """

    order: OrderTerms
    expires_at: datetime
    now: datetime
    ledger: Ledger
    halts: tuple[Halt, ...]
    limits: tuple[OrderLimit, ...]
    instrument: Instrument | None
    price: Price | None
    spot: Price | None
    policy: Policy
    open_positions: dict[RiskLimitId, int]
    last_identical: datetime | None = None
    changing: Reservation | None = None
    intraday_until: datetime | None = None
    market_open: bool = True

    @cached_property
    def listed(self) -> Instrument:
        """The instrument, once `instrument_is_known` has passed."""
        assert self.instrument is not None
        return self.instrument

    @cached_property
    def remaining(self) -> int:
        """Units that the order may still fill."""
        return self.order.quantity - (self.changing.filled if self.changing else 0)

    @cached_property
    def own_pending(self) -> int:
        return self.changing.outstanding if self.changing else 0

    @cached_property
    def reducing(self) -> int:
        """Units that close some of the account's position, beyond what pending orders close already."""
        return min(self.ledger.net.reducible(self.order.side, self.own_pending), self.remaining)

    @cached_property
    def only_reduces(self) -> bool:
        """Exits may go on when limits stop entries. An exit that names its strategy closes that strategy's book."""
        if self.reducing == self.remaining:
            return True
        book = self.ledger.book
        exits = self.order.purpose is OrderPurpose.EXIT and book is not None
        return exits and book is not None and book.reducible(self.order.side, self.own_pending) >= self.remaining

    @cached_property
    def price_each(self) -> Decimal:
        return margin.price_of(self.order, self.price.dearest(self.order.side) if self.price else None)

    @cached_property
    def value(self) -> Decimal:
        return self.price_each * self.order.quantity

    @cached_property
    def delivers(self) -> bool:
        """No broker sells delivery short: what is sold there is held there, whether it was bought through us or not."""
        is_sale = self.order.product is Product.CNC and self.order.side is Side.SELL
        return is_sale and self.ledger.account.broker not in (None, Broker.PAPER)

    @cached_property
    def footprint(self) -> Footprint:
        rate = margin.unit_margin(self.order, self.price_each, self.listed, self.spot, self.policy.rates)
        return Footprint(self.order.quantity, self.remaining - self.reducing, ZERO if self.delivers else rate)

    @cached_property
    def margin(self) -> Decimal:
        return self.footprint.margin(self.changing.filled if self.changing else 0)


Rule = Callable[[OrderCheck], Denial | None]
