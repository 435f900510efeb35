"""Every reason to refuse an order, one small function each, in the order in which they are asked.

CORRECTNESS holds for all orders; HALTS and LIMITS do not hold for square-offs, LIMITS not for what only reduces.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property

from libs.common.contracts.enums import (
    DenialRule,
    InstrumentKind,
    OrderPurpose,
    OrderType,
    Product,
    RiskLevel,
)
from libs.common.contracts.ids import RiskLimitId
from libs.common.contracts.orders import OrderTerms
from services.risk.domain import margin
from services.risk.domain.halts import Halt, halted_scope
from services.risk.domain.instruments import Instrument, Price, trading_day
from services.risk.domain.ledger import Footprint, Ledger, Reservation
from services.risk.domain.limits import OrderLimit
from services.risk.domain.margin import MarginRates
from services.risk.domain.money import ZERO, plain, rupees


@dataclass(frozen=True, slots=True)
class Denial:
    rule: DenialRule
    reason: str
    limit: str | None = None
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator configures: margin rates, and how old a price may be to stand for the market."""

    rates: MarginRates
    reference_price_max_age: timedelta


@dataclass(frozen=True)
class OrderCheck:
    """An order with all that is known about it. `changing` is the order as it stands when this is a change of it."""

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

    @cached_property
    def listed(self) -> Instrument:
        """The instrument, once `instrument_known` has passed."""
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
        order = self.order
        last = self.price.last if self.price else None
        return margin.price_of(order.order_type, order.price, order.trigger_price, last)

    @cached_property
    def value(self) -> Decimal:
        return self.price_each * self.order.quantity

    @cached_property
    def footprint(self) -> Footprint:
        rate = margin.unit_margin(self.order, self.price_each, self.listed, self.spot, self.policy.rates)
        return Footprint(self.order.quantity, self.remaining - self.reducing, rate)

    @cached_property
    def margin(self) -> Decimal:
        return self.footprint.margin(self.changing.filled if self.changing else 0)


HIGHEST_PRICE = Decimal(10) ** 12
LARGEST_QUANTITY = 10**9
"""No order is larger or dearer; beyond them decimals would lose their last digits."""

Rule = Callable[[OrderCheck], Denial | None]


def request_is_fresh(check: OrderCheck) -> Denial | None:
    if check.expires_at >= check.now:
        return None
    age = (check.now - check.expires_at).total_seconds()
    return Denial(
        DenialRule.REQUEST_EXPIRED,
        f"the request expired {age:.1f} s ago",
        check.expires_at.isoformat(),
        check.now.isoformat(),
    )


def account_is_the_users(check: OrderCheck) -> Denial | None:
    if check.ledger.account.user_id == check.order.user_id:
        return None
    return Denial(DenialRule.ACCOUNT_UNKNOWN, f"account {check.order.account_id} is not known")


def account_is_active(check: OrderCheck) -> Denial | None:
    if check.ledger.account.active:
        return None
    return Denial(DenialRule.ACCOUNT_INACTIVE, f"account {check.order.account_id} is deactivated")


def scope_is_not_halted(check: OrderCheck) -> Denial | None:
    scope = halted_scope(check.halts)
    if scope is None:
        return None
    return Denial(DenialRule.HALTED, f"trading is halted for {scope} until it is reset", value=scope)


def instrument_is_known(check: OrderCheck) -> Denial | None:
    if check.instrument is not None:
        return None
    return Denial(DenialRule.INSTRUMENT_UNKNOWN, f"instrument {check.order.instrument} is not known")


def instrument_is_tradable(check: OrderCheck) -> Denial | None:
    listed, today = check.listed, trading_day(check.now)
    if listed.expiry is not None and listed.expiry < today:
        return Denial(
            DenialRule.INSTRUMENT_NOT_TRADABLE,
            f"{listed.instrument} expired on {listed.expiry}",
            str(listed.expiry),
            str(today),
        )
    if listed.tradable and listed.kind is not InstrumentKind.INDEX:
        return None
    return Denial(DenialRule.INSTRUMENT_NOT_TRADABLE, f"{listed.instrument} cannot be traded")


def product_fits(check: OrderCheck) -> Denial | None:
    product, kind = check.order.product, check.listed.kind
    carried = Product.CNC if kind is InstrumentKind.EQUITY else Product.NRML
    if product in (Product.MIS, carried):
        return None
    return Denial(
        DenialRule.PRODUCT_NOT_ALLOWED,
        f"product {product} is not allowed for {kind.lower()} {check.listed.instrument}: use MIS or {carried}",
        f"MIS, {carried}",
        product,
    )


def quantity_is_in_lots(check: OrderCheck) -> Denial | None:
    quantity, lot = check.order.quantity, check.listed.lot_size
    if quantity <= 0:
        return Denial(DenialRule.LOT_SIZE, f"quantity {quantity} is not above 0", str(lot), str(quantity))
    if check.remaining <= 0:
        filled = quantity - check.remaining
        return Denial(
            DenialRule.LOT_SIZE,
            f"quantity {quantity} is not above the {filled} filled already",
            str(filled),
            str(quantity),
        )
    if quantity > LARGEST_QUANTITY:
        reason = f"the quantity exceeds {LARGEST_QUANTITY}, more than any order has"
        return Denial(DenialRule.LOT_SIZE, reason, str(LARGEST_QUANTITY))
    if quantity % lot == 0:
        return None
    reason = f"quantity {quantity} is not a multiple of the lot size {lot}"
    return Denial(DenialRule.LOT_SIZE, reason, str(lot), str(quantity))


def prices_are_on_tick(check: OrderCheck) -> Denial | None:
    order, tick = check.order, check.listed.tick_size
    return next((wrong for name, price in prices_of(order) if (wrong := _off_tick(order, name, price, tick))), None)


def prices_of(order: OrderTerms) -> tuple[tuple[str, Decimal | None], ...]:
    """The prices that the order's type demands, by name; others mean nothing."""
    match order.order_type:
        case OrderType.MARKET:
            return ()
        case OrderType.LIMIT:
            return (("price", order.price),)
        case OrderType.SL:
            return (("price", order.price), ("trigger price", order.trigger_price))
        case OrderType.SL_M:
            return (("trigger price", order.trigger_price),)


def _off_tick(order: OrderTerms, name: str, price: Decimal | None, tick: Decimal) -> Denial | None:
    if price is None or price <= 0:
        found = "none was given" if price is None else f"{price} was given"
        reason = f"an order of type {order.order_type} needs a {name} above 0: {found}"
        return Denial(DenialRule.TICK_SIZE, reason, str(tick), None if price is None else str(price))
    if price < HIGHEST_PRICE and price % tick == 0:
        return None
    reason = f"{name} {plain(price)} is not a multiple of the tick size {tick}"
    return Denial(DenialRule.TICK_SIZE, reason, plain(tick), plain(price))


def quantity_is_within_freeze(check: OrderCheck) -> Denial | None:
    quantity, largest = check.order.quantity, check.listed.freeze_quantity
    if largest is None or quantity <= largest:
        return None
    reason = f"quantity {quantity} exceeds {largest}, the largest single order in whole lots"
    return Denial(DenialRule.FREEZE_QUANTITY, reason, str(largest), str(quantity))


def price_is_within_band(check: OrderCheck) -> Denial | None:
    band = check.listed.price_band
    reference = check.price.reference if check.price else None
    if band is None or reference is None:
        return None
    low, high = reference * (1 - band), reference * (1 + band)
    outside = next(
        ((name, price) for name, price in prices_of(check.order) if price and not low <= price <= high), None
    )
    if outside is None:
        return None
    name, price = outside
    limit = f"{rupees(low)} to {rupees(high)}"
    reason = f"{name} {rupees(price)} is outside {limit} ({plain(band * 100)} % around {rupees(reference)})"
    return Denial(DenialRule.PRICE_BAND, reason, limit, plain(price))


def market_has_a_price(check: OrderCheck) -> Denial | None:
    if check.order.order_type is not OrderType.MARKET:
        return None
    longest = check.policy.reference_price_max_age
    limit = f"{longest.total_seconds():g} s"
    if check.price is None or check.price.last is None:
        return Denial(DenialRule.NO_REFERENCE_PRICE, f"{check.order.instrument} has no price", limit)
    age = check.now - check.price.at
    if age <= longest:
        return None
    found = f"{age.total_seconds():.1f} s"
    reason = f"the last price of {check.order.instrument} is {found} old, older than {limit}"
    return Denial(DenialRule.NO_REFERENCE_PRICE, reason, limit, found)


def exit_only_reduces(check: OrderCheck) -> Denial | None:
    if check.order.purpose is not OrderPurpose.EXIT or check.only_reduces:
        return None
    book = check.ledger.book or check.ledger.net
    open_still = max(
        book.reducible(check.order.side, check.own_pending),
        check.ledger.net.reducible(check.order.side, check.own_pending),
    )
    reason = f"exit of {check.remaining} exceeds the {open_still} that is open and not being closed already"
    return Denial(DenialRule.NOT_REDUCING, reason, str(open_still), str(check.remaining))


def order_is_not_repeated(check: OrderCheck) -> Denial | None:
    windows = [each.identical_order_window_s for each in check.limits if each.identical_order_window_s]
    if not windows or check.last_identical is None or check.changing is not None:
        return None
    age = abs((check.now - check.last_identical).total_seconds())  # by the clock of then, which may have been ahead
    if age >= max(windows):
        return None
    reason = f"the same order was cleared {age:.1f} s ago, within the window of {max(windows)} s"
    return Denial(DenialRule.IDENTICAL_ORDER, reason, f"{max(windows)} s", f"{age:.1f} s")


def value_is_within_limit(check: OrderCheck) -> Denial | None:
    smallest = min((each.max_order_value for each in check.limits if each.max_order_value is not None), default=None)
    if smallest is None or check.value <= smallest:
        return None
    before = check.changing
    if before is not None and before.price is not None and check.value <= before.price * before.footprint.quantity:
        return None
    reason = f"order value {rupees(check.value)} exceeds max order value {rupees(smallest)}"
    return Denial(DenialRule.MAX_ORDER_VALUE, reason, plain(smallest), plain(check.value))


def positions_are_within_limit(check: OrderCheck) -> Denial | None:
    for limit in check.limits:
        if limit.max_open_positions is None or not _opens_another(check, limit):
            continue
        held = check.open_positions[limit.limit_id]
        if held >= limit.max_open_positions:
            reason = f"{held} positions open or being opened reach max open positions {limit.max_open_positions}"
            return Denial(DenialRule.MAX_OPEN_POSITIONS, reason, str(limit.max_open_positions), str(held))
    return None


def _opens_another(check: OrderCheck, limit: OrderLimit) -> bool:
    exposure = check.ledger.book if limit.level is RiskLevel.STRATEGY else check.ledger.net
    return exposure is None or not exposure.in_use


def daily_loss_is_not_hit(check: OrderCheck) -> Denial | None:
    today = trading_day(check.now)
    hit = next((each for each in check.limits if each.lost_on == today and each.max_daily_loss is not None), None)
    if hit is None or hit.max_daily_loss is None:
        return None
    reason = f"the daily loss limit of the {hit.scope}, {rupees(hit.max_daily_loss)}, was hit today: exits only"
    return Denial(DenialRule.DAILY_LOSS, reason, plain(hit.max_daily_loss))


def margin_is_available(check: OrderCheck) -> Denial | None:
    held = check.changing.margin if check.changing else ZERO
    more, available = check.margin - held, check.ledger.account.available
    if more <= 0 or more <= available:
        return None
    reason = f"margin {rupees(more)} exceeds available margin {rupees(available)}"
    return Denial(DenialRule.MARGIN, reason, plain(available), plain(more))


STANDING: tuple[Rule, ...] = (
    request_is_fresh,
    account_is_the_users,
    account_is_active,
    scope_is_not_halted,
)
CORRECTNESS: tuple[Rule, ...] = (
    instrument_is_known,
    instrument_is_tradable,
    product_fits,
    quantity_is_in_lots,
    prices_are_on_tick,
    quantity_is_within_freeze,
    price_is_within_band,
    market_has_a_price,
    exit_only_reduces,
)
LIMITS: tuple[Rule, ...] = (
    order_is_not_repeated,
    value_is_within_limit,
    positions_are_within_limit,
    daily_loss_is_not_hit,
)
SQUARE_OFF: tuple[Rule, ...] = (
    instrument_is_known,
    instrument_is_tradable,
    quantity_is_in_lots,
    prices_are_on_tick,
    quantity_is_within_freeze,
)


def denial(check: OrderCheck) -> Denial | None:
    """The first rule that refuses the order, or None: it may go."""
    if check.order.purpose is OrderPurpose.SQUARE_OFF:
        return _first(SQUARE_OFF, check)
    refused = _first(STANDING, check) or _first(CORRECTNESS, check)
    if refused is None and not check.only_reduces:
        refused = _first(LIMITS, check)
    return refused or margin_is_available(check)


def _first(rules: tuple[Rule, ...], check: OrderCheck) -> Denial | None:
    for rule in rules:
        refused = rule(check)
        if refused is not None:
            return refused
    return None
