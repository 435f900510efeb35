"""Settlement at expiry: what is held of an expired contract is closed in cash at the price that it was worth.

In a broker's account the exchange does so, and no order book tells of it: ours is the feed's price for it. What a
broker squares off itself is booked in the same way.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from libs.common.contracts.brokers import PositionClosedAtBroker
from libs.common.contracts.enums import Side
from libs.common.contracts.ids import FillId, InstrumentId, SettlementId
from libs.common.contracts.masters import ContractUnsettled
from libs.common.contracts.portfolio import PositionSettled, PositionUnsettled
from services.trading.domain.accounts import trading_day
from services.trading.domain.positions import Book, Net, book_key


@dataclass(frozen=True, slots=True)
class Settlement:
    """What one unit of a contract was worth when it expired, or of MIS when its broker closed it."""

    instrument: InstrumentId
    settlement_id: SettlementId
    expiry: date
    price: Decimal
    spot: InstrumentId
    spot_price: Decimal


def held(books: Iterable[Book]) -> list[Book]:
    """What may be settled: each book by itself, those that offset each other too, always in the same order."""
    return sorted((book for book in books if book.holding.quantity), key=lambda book: tuple(map(str, book_key(book))))


def unsettled(told: ContractUnsettled, net: Net) -> PositionUnsettled:
    return PositionUnsettled(
        account_id=net.account_id,
        user_id=net.user_id,
        instrument=net.instrument,
        product=net.product,
        quantity=net.holding.quantity,
        expiry=told.expiry,
        reason=told.reason,
    )


def settled(settlement: Settlement, net: Net, book: Book, fill_id: FillId, at: datetime) -> PositionSettled:
    quantity = book.holding.quantity
    return PositionSettled(
        fill_id=fill_id,
        account_id=net.account_id,
        user_id=net.user_id,
        strategy_id=book.strategy_id,
        instrument=net.instrument,
        product=net.product,
        side=Side.SELL if quantity > 0 else Side.BUY,
        quantity=abs(quantity),
        price=settlement.price,
        expiry=settlement.expiry,
        spot=settlement.spot,
        spot_price=settlement.spot_price,
        settled_at=at,
    )


def at_broker(told: PositionClosedAtBroker, event_id: SettlementId) -> Settlement:
    """Worth what its broker closed it at."""
    day = trading_day(told.closed_at)
    return Settlement(told.instrument, event_id, day, told.price, told.instrument, told.price)
