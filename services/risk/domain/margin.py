"""What an order would block. A simple product-wise model: rates on value, not SPAN."""

from dataclasses import dataclass
from decimal import Decimal

from libs.common.contracts.enums import InstrumentKind, OrderType, Product, Side
from libs.common.contracts.orders import OrderTerms
from services.risk.domain.instruments import Instrument, Price
from services.risk.domain.money import ZERO


@dataclass(frozen=True, slots=True)
class MarginRates:
    """Fractions of an order's value. A bought option always costs its premium; a sold one blocks a fraction of
    what it is written on: the spot's price, or the strike while no spot price is known.
    """

    equity_delivery: Decimal
    equity_intraday: Decimal
    future_carried: Decimal
    future_intraday: Decimal
    option_sold_carried: Decimal
    option_sold_intraday: Decimal


def price_of(order: OrderTerms, at_market: Decimal | None) -> Decimal:
    """The price at which an order counts against limits: the dearest that it is likely to trade at.

    A limit binds a buyer; a seller below the market gets what is bid, and a buyer's trigger below it wakes at once.
    """
    buys, market = order.side is Side.BUY, at_market or ZERO
    price, trigger = order.price or ZERO, order.trigger_price or ZERO
    match order.order_type:
        case OrderType.LIMIT:
            return price if buys else max(price, market)
        case OrderType.SL:
            return price if buys else max(price, trigger)
        case OrderType.SL_M:
            return max(trigger, market) if buys else trigger
        case OrderType.MARKET:
            return market


def may_trade_dearer(order: OrderTerms) -> bool:
    """At the market's price, whatever its own is: by that alone it could be as cheap as one likes."""
    return (order.side, order.order_type) in ((Side.SELL, OrderType.LIMIT), (Side.BUY, OrderType.SL_M))


def unit_margin(
    order: OrderTerms, price: Decimal, instrument: Instrument, spot: Price | None, rates: MarginRates
) -> Decimal:
    """What each unit blocks that opens or adds to a position."""
    intraday = order.product is Product.MIS
    match instrument.kind:
        case InstrumentKind.OPTION if order.side is Side.BUY:
            return price
        case InstrumentKind.OPTION:
            rate = rates.option_sold_intraday if intraday else rates.option_sold_carried
            return rate * _written_on(instrument, spot, price)
        case InstrumentKind.FUTURE:
            return price * (rates.future_intraday if intraday else rates.future_carried)
        case InstrumentKind.EQUITY | InstrumentKind.INDEX:
            return price * (rates.equity_intraday if intraday else rates.equity_delivery)


def _written_on(instrument: Instrument, spot: Price | None, premium: Decimal) -> Decimal:
    known = spot.last if spot is not None else None
    return known or instrument.strike or premium
