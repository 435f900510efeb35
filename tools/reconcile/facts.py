"""What the log says of each order, position and account: small, since there may be very many."""

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from uuid import UUID
from zoneinfo import ZoneInfo

from libs.common.contracts.brokers import BrokerModifyRequested, BrokerOrderRequested
from libs.common.contracts.enums import OrderPurpose, OrderStatus, OrderType, Product, Side
from libs.common.contracts.masters import CorporateActionKind
from libs.common.contracts.orders import (
    OrderDenied,
    OrderModified,
    OrderModifyCleared,
    OrderSettled,
    OrderSubmitted,
    OrderTerms,
)
from libs.common.contracts.venue import ExecutionReported, VenueModifyRequested, VenueOrderRequested

IST = ZoneInfo("Asia/Kolkata")
ZERO = Decimal(0)
PAISA = Decimal("0.01")
HALF_PAISA = Decimal("0.005")
AVERAGE = Decimal("0.0001")
NIL = UUID(int=0)
"""The strategy of what people trade by hand, where a table's key cannot be empty."""
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_EXPIRY = re.compile(r"(\d{2})([A-Z]{3})(\d{2})(?:FUT|[\d.]+(?:CE|PE))$")


def trading_day(at: datetime) -> date:
    return at.astimezone(IST).date()


def last_day(instrument: str) -> date | None:
    """Of a contract, as its symbol tells it (`24NOV26`); None of what does not expire."""
    found = _EXPIRY.search(instrument)
    if found is None or found[2] not in MONTHS:
        return None
    return date(2000 + int(found[3]), MONTHS.index(found[2]) + 1, int(found[1]))


def moment(micros: int) -> datetime:
    return datetime.fromtimestamp(micros / 1_000_000, UTC)


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution, as the venue told it (`fill_id` empty) or as trading booked it."""

    execution_id: str
    quantity: int
    price: Decimal
    fill_id: UUID | None = None


@dataclass(slots=True)
class Order:
    """Counts are of different messages: the same message twice on the wire is no second one.

    `asked`, `granted` and `…_terms` are digests of the terms that each stage carried.
    """

    order_id: UUID
    account_id: UUID
    # what risk was asked and said
    requests: int = 0
    requested_at: datetime | None = None
    asked: int = 0
    clearances: int = 0
    granted: int = 0
    cleared_terms: int = 0
    cleared_unit: Decimal = ZERO
    cleared_at: datetime | None = None
    denials_by_risk: int = 0
    # what trading said
    denials: int = 0
    submissions: int = 0
    submitted_terms: int = 0
    sent_terms: int = 0
    submitted_at: datetime | None = None
    epoch: int = 0
    margin: Decimal = ZERO
    margin_is_known: bool = True
    unit_margin: Decimal | None = None
    """None of what was submitted before it was told: what it opens takes its share of the margin along."""
    status: OrderStatus = OrderStatus.REQUESTED
    passed: int = 0
    version: int = 0
    from_the_middle: bool = False
    """Its beginning is not kept any more."""
    user_id: UUID = NIL
    strategy_id: UUID | None = None
    instrument: str = ""
    side: Side = Side.BUY
    product: Product = Product.MIS
    purpose: OrderPurpose = OrderPurpose.ENTRY
    order_type: OrderType = OrderType.MARKET
    quantity: int = 0
    had: tuple[int, ...] = ()
    """Digests of all terms that it was told to have."""
    was_changed: bool = False
    largest: int = 0
    """The largest quantity that it ever had, or was asked to have."""
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    filled: int = 0
    value: Decimal = ZERO
    broker_order_id: str | None = None
    fills: list[Fill] = field(default_factory=list)
    last_at: datetime | None = None
    is_stored: bool = False
    """Trading's table has it."""
    # what the venue was asked and said
    venue_requests: int = 0
    venue_terms: int = 0
    left_millis: int = 0
    executions: int = 0
    venue_fills: list[Fill] = field(default_factory=list)
    ending: str = ""
    accepted_by_venue: bool = False
    was_reopened: bool = False
    settled: OrderSettled | None = None
    """A person told what became of it."""
    by_hand: list[ExecutionReported] = field(default_factory=list)
    """What was reported as if its venue had told."""
    was_found: bool = False
    """A venue that we believed not to have it has it after all."""
    was_lost: bool = False
    """Its outcome was told to be unknown after its venue had accepted it."""
    was_unseen: bool = False
    """Its venue does not show any more how it ended."""

    @property
    def leaves(self) -> int:
        return max(self.quantity - self.filled, 0)

    @property
    def average_price(self) -> Decimal | None:
        return (self.value / self.filled).quantize(AVERAGE) if self.filled else None

    def takes(self, told: OrderSubmitted | OrderDenied | OrderModified) -> None:
        """The terms that it has from now on."""
        self.order_type, self.quantity = told.order_type, told.quantity
        self.price, self.trigger_price = told.price, told.trigger_price
        digest = shown_terms_of(told.quantity, told.order_type, told.price, told.trigger_price)
        self.had += () if digest in self.had else (digest,)

    def passes(self, status: OrderStatus) -> None:
        self.status = status
        self.passed |= 1 << STATUSES.index(status)

    def has_been(self, status: OrderStatus) -> bool:
        return bool(self.passed >> STATUSES.index(status) & 1)


STATUSES = tuple(OrderStatus)


@dataclass(slots=True)
class Heard:
    """A signal. `told` counts the messages that told of it."""

    group_id: UUID
    user_id: UUID
    received_at: datetime
    told: int = 0


@dataclass(frozen=True, slots=True)
class Algo:
    """One version of it, or its end: then it listens to no group."""

    saved_at: datetime
    user_id: UUID | None = None
    groups: frozenset[UUID] = frozenset()
    reverses: bool = False


@dataclass(slots=True)
class Decided:
    """What an algo told of a signal: how often that it acted, and why it did not, in some account or in all."""

    acted: int = 0
    skipped: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Holding:
    """A quantity with the average price that was paid, exact: rounding is left to whoever compares.

    Adding averages, reducing realises the difference to the average, crossing zero opens at the fill's price.
    """

    quantity: int = 0
    average: Decimal = ZERO
    realised: Decimal = ZERO
    bought: int = 0
    sold: int = 0
    bought_value: Decimal = ZERO
    sold_value: Decimal = ZERO
    day: date | None = None

    def begin(self, day: date) -> None:
        """Quantity and average carry over, the day's figures start again."""
        if self.day is not None and day > self.day:
            self.realised = self.bought_value = self.sold_value = ZERO
            self.bought = self.sold = 0
        self.day = day

    def fill(self, signed: int, price: Decimal) -> Decimal:
        """Book it; what it realised."""
        if signed > 0:
            self.bought, self.bought_value = self.bought + signed, self.bought_value + signed * price
        else:
            self.sold, self.sold_value = self.sold - signed, self.sold_value - signed * price
        closed = closing(self.quantity, signed)
        held = 1 if self.quantity > 0 else -1
        realised = (price - self.average) * closed * held
        opened = abs(signed) - closed
        if opened:
            before = 0 if closed else abs(self.quantity)
            self.average = (self.average * before + price * opened) / (before + opened)
        self.quantity += signed
        if not self.quantity:
            self.average = ZERO
        self.realised += realised
        return realised

    def become(self, quantity: int, shares: Fraction) -> None:
        """So many whole shares, where one became `shares`."""
        self.quantity = quantity
        self.average = self.average * shares.denominator / shares.numerator if quantity else ZERO


def closing(held: int, signed: int) -> int:
    """How many units of a fill reduce what is held."""
    return min(abs(signed), abs(held)) if held * signed < 0 else 0


def to_paise(amount: Decimal) -> Decimal:
    return amount.quantize(PAISA, ROUND_HALF_UP)


def share(amount: Decimal, units: int, of: int) -> Decimal:
    """The part of `units` out of `of`, to the paisa (half to even); all of it is all of it."""
    return amount if units == of else (amount * units / of).quantize(PAISA)


@dataclass(slots=True)
class Position:
    """The account's net holding of an instrument and product. `unbooked` are fills that moved no position yet."""

    net: Holding = field(default_factory=Holding)
    margin: Decimal = ZERO
    margin_is_known: bool = True
    version: int = 0
    unbooked: list[tuple[UUID, int]] = field(default_factory=list)
    is_guessed: bool = False
    """The log does not reach back to its beginning: its figures begin with the first that was told."""


@dataclass(frozen=True, slots=True)
class Worth:
    """What a contract was told to be worth when it expired."""

    price: Decimal
    spot_price: Decimal


@dataclass(frozen=True, slots=True)
class Settled:
    """A book that was closed, of an expired contract or at its broker past us; `units` are signed."""

    fill_id: UUID
    account_id: UUID
    instrument: str
    product: str
    strategy_id: UUID | None
    units: int
    worth: Worth
    is_at_broker: bool
    at: datetime


ShareAction = tuple[str, str, date, int, int]
"""A split or bonus: instrument, kind, ex-date, old and new."""


def shares_of(action: ShareAction) -> Fraction:
    """What one share became."""
    _, kind, _, old, new = action
    return Fraction(old + new if kind == CorporateActionKind.BONUS else new, old)


@dataclass(frozen=True, slots=True)
class Booked:
    """A split or bonus on a position."""

    account_id: UUID
    product: str
    action: ShareAction
    at: datetime


@dataclass(slots=True)
class Account:
    """`realised` is of `day`, `ever` since the beginning; the rest is what FundsChanged said last."""

    account_id: UUID
    day: date | None = None
    realised: Decimal = ZERO
    ever: Decimal = ZERO
    version: int = 0
    opening: Decimal = ZERO
    said_realised: Decimal = ZERO
    used: Decimal = ZERO
    is_guessed: bool = False


@dataclass(frozen=True, slots=True)
class ChangeSent:
    """New terms of an order on their way to its venue; `terms` is a digest of them."""

    order_id: UUID
    story: str
    terms: int
    millis: int


ChangeTerms = tuple[int | None, OrderType | None, Decimal | None, Decimal | None]
"""Quantity, type, price and trigger price."""


@dataclass(slots=True)
class Change:
    """A wish to change an order: when it was asked for, how often risk decided about it, and what became of it."""

    asked: ChangeTerms | None = None
    """What was named in the wish; the rest stays as it is."""
    asked_millis: int = 0
    decided_millis: int = 0
    decisions: int = 0
    granted: ChangeTerms | None = None
    clearance: tuple[int, int] | None = None
    """Epoch and terms that risk cleared."""
    is_told: bool = False
    """It was sent to the venue, or trading told that it did not happen."""
    met_no_market: bool = False
    """The venue refused it: nothing came of it, whenever it left."""

    def decided(self, millis: int) -> None:
        self.decisions += 1
        self.decided_millis = self.decided_millis or millis

    @property
    def is_granted_as_asked(self) -> bool:
        """A price is no part of terms whose type takes none."""
        if self.asked is None or self.granted is None:
            return True
        quantity, order_type, price, trigger_price = self.asked
        kind = self.granted[1]
        price = price if kind in (OrderType.LIMIT, OrderType.SL) else None
        trigger_price = trigger_price if kind in (OrderType.SL, OrderType.SL_M) else None
        named = (quantity, order_type, price, trigger_price)
        return all(wish in (None, has) for wish, has in zip(named, self.granted, strict=True))


@dataclass(frozen=True, slots=True)
class PanicStep:
    """A panic or a reset as it was asked, in the order in which trading took them. `by_admin`: so the asker said."""

    scope: str
    panic_id: UUID
    is_reset: bool
    millis: int
    by_admin: bool = False


NetKey = tuple[UUID, str, str]
BookKey = tuple[UUID, str, str, UUID]
"""Account, instrument, product, and for a book the strategy (NIL for what people trade by hand)."""


def terms_of(terms: OrderTerms) -> int:
    """A digest of what defines an order."""
    return hash(
        (
            terms.account_id,
            terms.user_id,
            terms.strategy_id,
            terms.instrument,
            terms.side,
            terms.quantity,
            terms.order_type,
            terms.product,
            terms.validity,
            terms.price,
            terms.trigger_price,
            terms.purpose,
            terms.square_off_id,
        )
    )


def change_terms_of(change: OrderModifyCleared | VenueModifyRequested | BrokerModifyRequested) -> int:
    """A digest of the terms that an order is to have."""
    return hash((change.account_id, change.quantity, change.order_type, change.price, change.trigger_price))


def shown_terms_of(quantity: int, order_type: OrderType, price: Decimal | None, trigger_price: Decimal | None) -> int:
    """A digest of what a change may change."""
    return hash((quantity, order_type, price, trigger_price))


def venue_terms_of(terms: OrderTerms | VenueOrderRequested | BrokerOrderRequested) -> int:
    """A digest of what a venue must know of an order."""
    return hash(
        (
            terms.account_id,
            terms.instrument,
            terms.side,
            terms.quantity,
            terms.order_type,
            terms.product,
            terms.validity,
            terms.price,
            terms.trigger_price,
        )
    )
