"""Every reason to refuse an order, one small function each, in the order in which they are asked.

Square-offs meet SQUARE_OFF alone. Other orders meet STANDING and CORRECTNESS, LIMITS unless they only reduce a
position, and at last the margin.
"""

from libs.common.contracts.enums import OrderPurpose
from services.risk.domain.rules.check import Denial, OrderCheck, Policy, Rule
from services.risk.domain.rules.correctness import (
    delivery_is_held,
    exit_only_reduces,
    instrument_is_known,
    instrument_is_tradable,
    market_has_a_price,
    price_is_within_band,
    prices_are_on_tick,
    product_fits,
    quantity_is_in_lots,
    quantity_is_within_freeze,
)
from services.risk.domain.rules.limits import (
    daily_loss_is_not_hit,
    intraday_goes_on,
    margin_is_available,
    order_is_not_repeated,
    positions_are_within_limit,
    value_is_known,
    value_is_within_limit,
)
from services.risk.domain.rules.standing import (
    account_is_active,
    account_is_the_users,
    request_is_fresh,
    scope_is_not_halted,
)

__all__ = ["Denial", "OrderCheck", "Policy", "denial"]

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
    delivery_is_held,
)
LIMITS: tuple[Rule, ...] = (
    intraday_goes_on,
    order_is_not_repeated,
    value_is_known,
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
