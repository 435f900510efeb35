"""MIS ends before its market closes: nothing more is opened, and what is open is squared off, as Indian brokers do it.

Only in paper accounts. A broker does it for its own accounts, at an hour of its own.
"""

from datetime import date, datetime, timedelta

from libs.common.contracts.enums import Product, SquareOffReason
from libs.common.contracts.ids import SquareOffId
from libs.common.contracts.orders import SquareOffRequested
from libs.common.trading_calendar import MarketSession
from services.risk.domain.instruments import Instrument
from services.risk.domain.ledger import Exposure


def cutoff(session: MarketSession, before: timedelta) -> datetime:
    """A session that is shorter than `before` takes no MIS at all."""
    return max(session.close - before, session.open)


def is_ending(session: MarketSession, before: timedelta, now: datetime) -> bool:
    """From the cutoff until nobody trades any more, a closing auction included."""
    return cutoff(session, before) <= now < session.end


def is_due(
    held: Exposure, instrument: Instrument, session: MarketSession, before: timedelta, now: datetime, today: date
) -> bool:
    """Whether this position or book, or the orders that may still move it, are to be squared off now.

    What was carried overnight, because nobody was there at the end of its day, is from the next opening on. Nothing is
    while the market is closed: no order would be taken. What has expired is settled in cash (decision 18), and what
    was delisted nobody can trade: its square-off leaves it, and would be asked for anew all day.
    """
    if held.product is not Product.MIS or not held.in_use or not session.open <= now < session.end:
        return False
    if instrument.has_expired(today) or not instrument.tradable:
        return False
    return is_ending(session, before, now) or held.quantity * held.carried_into(today) > 0


def square_off(held: Exposure, square_off_id: SquareOffId) -> SquareOffRequested:
    """All strategies' MIS of the instrument, and of no other: one that nobody trades must not hold up the next day of
    the others.
    """
    return SquareOffRequested(
        square_off_id=square_off_id,
        account_id=held.account_id,
        user_id=held.user_id,
        instrument=held.instrument,
        product=Product.MIS,
        reason=SquareOffReason.SESSION_END,
    )
