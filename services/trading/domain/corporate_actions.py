"""Splits and bonuses: what an account on paper carried into their ex-date is more shares at a lower price from then on,
or fewer at a higher. A broker's accounts are left alone: when it delivers the shares is its own affair.

Whole shares only. The fraction that an account is left with is paid out at what it had cost, so nothing is realised.
Its books share what is whole: each has the next number below its own, or above it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from decimal import Decimal
from fractions import Fraction

from libs.common import ids
from libs.common.contracts.ids import InstrumentId, OrderId
from libs.common.contracts.masters import CorporateActionKind, CorporateActionTerms
from libs.common.contracts.portfolio import BookAdjusted, PositionAdjusted, PositionUnadjusted
from libs.common.trading_calendar import IST
from services.trading.domain.money import MICRO, PAISA, ZERO, part_of
from services.trading.domain.positions import Book, Holding, Net, book_key


@dataclass(frozen=True, slots=True)
class ShareAction:
    """A split makes `new` shares of `old`, a bonus gives `new` for `old` held."""

    instrument: InstrumentId
    kind: CorporateActionKind
    ex_date: date
    old: int
    new: int

    @property
    def shares(self) -> Fraction:
        """What one share became."""
        whole = self.old + self.new if self.kind is CorporateActionKind.BONUS else self.new
        return Fraction(whole, self.old)

    @property
    def begins(self) -> OrderId:
        """No id that was drawn on its ex-date, or later, is smaller."""
        return OrderId(ids.first_of(datetime.combine(self.ex_date, time(), IST)))


@dataclass(frozen=True, slots=True)
class Adjusted:
    net: Net
    books: tuple[Book, ...]
    said: PositionAdjusted


def share_action(terms: CorporateActionTerms) -> ShareAction:
    return ShareAction(terms.instrument, terms.kind, terms.ex_date, terms.old, terms.new)


def changes_shares(terms: CorporateActionTerms) -> bool:
    return terms.kind is not CorporateActionKind.DIVIDEND


def is_untouched(net: Net, action: ShareAction) -> bool:
    """No order of its ex-date moved it, or of a later day: all that is held was carried. Of what was traded since,
    nobody knows how much was.
    """
    return net.order_id < action.begins


def adjust(net: Net, books: Sequence[Book], action: ShareAction) -> Adjusted:
    """`books` are all that are open of it; they add up to the net position, before and after."""
    ordered = sorted(books, key=lambda book: tuple(map(str, book_key(book))))
    quantity = int(net.holding.quantity * action.shares)
    quantities = _shared_out([book.holding.quantity * action.shares for book in ordered], quantity)
    after = tuple(
        replace(book, holding=_scaled(book.holding, whole, action.shares))
        for book, whole in zip(ordered, quantities, strict=True)
    )
    said = PositionAdjusted(
        adjustment_id=ids.derive(action.begins, net.account_id, net.instrument, net.product, action.kind),
        account_id=net.account_id,
        user_id=net.user_id,
        instrument=net.instrument,
        product=net.product,
        kind=action.kind,
        ex_date=action.ex_date,
        old=action.old,
        new=action.new,
        before=net.holding.quantity,
        quantity=quantity,
        books=tuple(
            BookAdjusted(strategy_id=book.strategy_id, before=before.holding.quantity, quantity=book.holding.quantity)
            for before, book in zip(ordered, after, strict=True)
        ),
    )
    exact = net.holding.quantity * action.shares
    moved = replace(
        net,
        holding=_scaled(net.holding, quantity, action.shares),
        margin=_kept(net.margin, quantity, exact, PAISA),
    )
    return Adjusted(moved, after, said)


def unadjusted(net: Net, action: ShareAction) -> PositionUnadjusted:
    """At a broker: what it will have, and we do not book."""
    return PositionUnadjusted(
        account_id=net.account_id,
        user_id=net.user_id,
        instrument=net.instrument,
        product=net.product,
        kind=action.kind,
        ex_date=action.ex_date,
        old=action.old,
        new=action.new,
        quantity=net.holding.quantity,
        shares=int(net.holding.quantity * action.shares),
    )


def _shared_out(exact: Sequence[Fraction], quantity: int) -> list[int]:
    """Whole numbers that add up to `quantity`: those with the largest fractions are rounded up."""
    found = [math.floor(each) for each in exact]
    by_fraction = sorted(range(len(exact)), key=lambda i: exact[i] - found[i], reverse=True)
    for i in by_fraction[: quantity - sum(found)]:
        found[i] += 1
    return found


def _scaled(holding: Holding, quantity: int, shares: Fraction) -> Holding:
    """Its average price is divided by what one share became."""
    return replace(holding, quantity=quantity, cost=_kept(holding.cost, quantity, holding.quantity * shares, MICRO))


def _kept(amount: Decimal, quantity: int, exact: Fraction, quantum: Decimal) -> Decimal:
    """What of an amount that belongs to `exact` shares belongs to so many whole ones."""
    if not quantity or not exact:
        return ZERO
    return part_of(amount, quantity * exact.denominator, exact.numerator, quantum)
