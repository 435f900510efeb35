"""Whether the hour, the user's own limits, and his money let the order through."""

from libs.common.contracts.enums import Broker, DenialRule, InstrumentKind, Product, RiskLevel, Side
from libs.common.trading_calendar import IST
from services.risk.domain import margin
from services.risk.domain.instruments import trading_day
from services.risk.domain.limits import OrderLimit
from services.risk.domain.money import ZERO, plain, rupees
from services.risk.domain.rules.check import Denial, OrderCheck


def intraday_goes_on(check: OrderCheck) -> Denial | None:
    """In a broker's account that is the broker's to say."""
    until = check.intraday_until
    ours = check.order.product is Product.MIS and check.ledger.account.broker is Broker.PAPER
    if not ours or until is None or check.now < until:
        return None
    limit = f"{until.astimezone(IST):%H:%M}"
    reason = f"MIS of {check.order.instrument} is squared off from {limit} Indian time on: only exits pass"
    return Denial(DenialRule.INTRADAY_CUTOFF, reason, limit, f"{check.now.astimezone(IST):%H:%M:%S}")


def order_is_not_repeated(check: OrderCheck) -> Denial | None:
    windows = [each.identical_order_window_s for each in check.limits if each.identical_order_window_s]
    if not windows or check.last_identical is None or check.changing is not None:
        return None
    age = abs((check.now - check.last_identical).total_seconds())  # by the clock of then, which may have been ahead
    if age >= max(windows):
        return None
    reason = f"the same order was cleared {age:.1f} s ago, within the window of {max(windows)} s"
    return Denial(DenialRule.IDENTICAL_ORDER, reason, f"{max(windows)} s", f"{age:.1f} s")


def value_is_known(check: OrderCheck) -> Denial | None:
    """What a sold option blocks does not follow from its price."""
    order = check.order
    known = check.price is not None and check.price.last is not None
    if known or not margin.may_trade_dearer(order):
        return None
    is_sold_option = check.listed.kind is InstrumentKind.OPTION and order.side is Side.SELL
    if is_sold_option and all(each.max_order_value is None for each in check.limits):
        return None
    reason = f"{order.instrument} has no price yet, and this order trades at it: ask for its quote, then again"
    return Denial(DenialRule.NO_REFERENCE_PRICE, reason, "a price", "no price")


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
    """Also of a day that the clock had begun before it was set back over midnight."""
    today = trading_day(check.now)
    hit = next((each for each in check.limits if each.lost_on and each.lost_on >= today and each.max_daily_loss), None)
    if hit is None or hit.max_daily_loss is None:
        return None
    reason = f"the daily loss limit of the {hit.scope}, {rupees(hit.max_daily_loss)}, was hit today: exits only"
    lost = "not kept" if hit.mtm is None else plain(-hit.mtm)
    return Denial(DenialRule.DAILY_LOSS, reason, plain(hit.max_daily_loss), lost)


def margin_is_available(check: OrderCheck) -> Denial | None:
    held = check.changing.margin if check.changing else ZERO
    more, available = check.margin - held, check.ledger.account.available
    if more <= 0 or more <= available:
        return None
    reason = f"margin {rupees(more)} exceeds available margin {rupees(available)}"
    return Denial(DenialRule.MARGIN, reason, plain(available), plain(more))
