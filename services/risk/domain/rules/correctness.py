"""Whether the exchange would take the order: the contract, the product, lots, ticks, freeze quantity, price band."""

from decimal import Decimal

from libs.common.contracts.enums import Broker, DenialRule, InstrumentKind, OrderPurpose, OrderType, Product, Side
from libs.common.contracts.orders import OrderTerms
from services.risk.domain.instruments import Instrument, trading_day
from services.risk.domain.money import plain, rupees
from services.risk.domain.rules.check import Denial, OrderCheck

HIGHEST_PRICE = Decimal(10) ** 12
LARGEST_QUANTITY = 10**9
"""No order is larger or dearer; beyond them decimals would lose their last digits."""


def instrument_is_known(check: OrderCheck) -> Denial | None:
    if check.instrument is not None:
        return None
    instrument = check.order.instrument
    reason = f"instrument {instrument} is not known"
    return Denial(DenialRule.INSTRUMENT_UNKNOWN, reason, "an instrument of the contract master", instrument)


def instrument_is_tradable(check: OrderCheck) -> Denial | None:
    listed, today = check.listed, trading_day(check.now)
    if listed.has_expired(today):
        return Denial(
            DenialRule.INSTRUMENT_NOT_TRADABLE,
            f"{listed.instrument} expired on {listed.expiry}",
            str(listed.expiry),
            str(today),
        )
    if listed.tradable and listed.kind is not InstrumentKind.INDEX:
        return None
    reason = f"{listed.instrument} cannot be traded"
    return Denial(DenialRule.INSTRUMENT_NOT_TRADABLE, reason, "an instrument that is traded", listed.instrument)


def product_fits(check: OrderCheck) -> Denial | None:
    product, kind = check.order.product, check.listed.kind
    carried = Product.CNC if kind is InstrumentKind.EQUITY else Product.NRML
    if product is Product.MIS and not check.only_reduces and _is_delivered(check.listed):
        return Denial(
            DenialRule.PRODUCT_NOT_ALLOWED,
            f"{check.listed.instrument} is traded for delivery alone (series {check.listed.series}): use {carried}",
            carried,
            product,
        )
    if product in (Product.MIS, carried):
        return None
    return Denial(
        DenialRule.PRODUCT_NOT_ALLOWED,
        f"product {product} is not allowed for {kind.lower()} {check.listed.instrument}: use MIS or {carried}",
        f"MIS, {carried}",
        product,
    )


def _is_delivered(instrument: Instrument) -> bool:
    """Each trade in it is settled by itself, so that no position in it can be closed on its day."""
    return instrument.series is not None and instrument.series.is_trade_for_trade


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
        return Denial(DenialRule.LOT_SIZE, reason, str(LARGEST_QUANTITY), str(quantity))
    if quantity % lot == 0 or _closes_an_odd_lot(check):
        return None
    reason = f"quantity {quantity} is not a multiple of the lot size {lot}"
    return Denial(DenialRule.LOT_SIZE, reason, str(lot), str(quantity))


def _closes_an_odd_lot(check: OrderCheck) -> bool:
    """Since the lot size was changed what is held may be no multiple of it. Who closes all of that, or so much that
    whole lots are left, can close it no other way.
    """
    is_exit = check.order.purpose is not OrderPurpose.ENTRY
    exposures = (check.ledger.net, check.ledger.book if is_exit else None)
    held = [each.reducible(check.order.side, check.own_pending) for each in exposures if each is not None]
    lot = check.listed.lot_size
    return any(check.remaining <= each and (each - check.remaining) % lot == 0 for each in held)


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
        return Denial(DenialRule.TICK_SIZE, reason, str(tick), "none" if price is None else str(price))
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
    reference = check.price.reference(trading_day(check.now)) if check.price else None
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
    closed = "" if check.market_open else f"{check.listed.exchange} is closed; "
    if check.price is None or check.price.last is None:
        return Denial(
            DenialRule.NO_REFERENCE_PRICE, f"{closed}{check.order.instrument} has no price", limit, "no price"
        )
    age = check.now - check.price.at
    if age <= longest:
        return None
    found = f"{age.total_seconds():.1f} s"
    reason = f"{closed}the last price of {check.order.instrument} is {found} old, older than {limit}"
    return Denial(DenialRule.NO_REFERENCE_PRICE, reason, limit, found)


def exit_only_reduces(check: OrderCheck) -> Denial | None:
    """One that names its strategy closes that one's book: what others hold it would sell short in its own."""
    if check.order.purpose is not OrderPurpose.EXIT:
        return None
    open_still = (check.ledger.book or check.ledger.net).reducible(check.order.side, check.own_pending)
    if check.remaining <= open_still:
        return None
    reason = f"exit of {check.remaining} exceeds the {open_still} that is open and not being closed already"
    return Denial(DenialRule.NOT_REDUCING, reason, str(open_still), str(check.remaining))


def delivery_is_held(check: OrderCheck) -> Denial | None:
    """What was bought today may be sold today, but for what has to be delivered first. What a broker's account holds
    elsewhere only the broker knows.
    """
    order, ledger = check.order, check.ledger
    is_ours = order.product is Product.CNC and order.side is Side.SELL and ledger.account.broker is Broker.PAPER
    undelivered = ledger.net.bought_on(trading_day(check.now)) if _is_delivered(check.listed) else 0
    held = max(ledger.net.reducible(order.side, check.own_pending) - undelivered, 0)
    if not is_ours or check.remaining <= held:
        return None
    reason = f"sale of {check.remaining} in CNC exceeds the {held} held and not being sold already: "
    if _is_delivered(check.listed):
        reason += f"in trade for trade (series {check.listed.series}) what is bought today is sold when it is delivered"
    else:
        reason += "buy first, or use MIS"
    return Denial(DenialRule.NOT_HELD, reason, str(held), str(check.remaining))
