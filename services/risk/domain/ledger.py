"""What an account has bound: margin and quantity of open orders, margin and quantity of positions.

Every change is a step from one reservation to the next; `post` carries the difference into the account's totals,
so that the totals are always the sum of the parts.
"""

from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal

from libs.common.contracts.enums import Broker, OrderPurpose, OrderType, Product, Side
from libs.common.contracts.ids import AccountId, CorrelationId, InstrumentId, OrderId, StrategyId, UserId
from libs.common.contracts.portfolio import PositionState
from services.risk.domain.money import MICRO, ZERO, to_paise


@dataclass(frozen=True, slots=True)
class Account:
    """`user_id` is None while trading has not told of the account, and after it was deleted.

    `funds_version` is trading's, of the balance and the profit; 0 while it has not told. `broker` never changes.
    """

    account_id: AccountId
    user_id: UserId | None = None
    active: bool = False
    opening_balance: Decimal = ZERO
    realised_pnl: Decimal = ZERO
    order_margin: Decimal = ZERO
    position_margin: Decimal = ZERO
    open_positions: int = 0
    funds_version: int = 0
    broker: Broker | None = None

    @property
    def available(self) -> Decimal:
        return self.opening_balance + self.realised_pnl - self.order_margin - self.position_margin


@dataclass(frozen=True, slots=True)
class Exposure:
    """A position with the orders that may still move it: the account's net one, or one strategy's book of it.

    `carried_quantity` at `carried_average` is what it was when `pnl_day` began, `realised_before` all that it had
    realised until then, and `bought_quantity` what was bought since. `opened_on` is the day when what is open now was
    opened; None of what is flat.

    `unbooked` are the shares that splits and bonuses made of it at a broker (see `splits`), `carried_unbooked` those
    when `pnl_day` began; what the sold ones of that day brought is `unbooked_pnl`, beside `realised_pnl`.
    """

    account_id: AccountId
    strategy_id: StrategyId | None
    instrument: InstrumentId
    product: Product
    user_id: UserId
    quantity: int = 0
    average_price: Decimal = ZERO
    realised_pnl: Decimal = ZERO
    pnl_day: date | None = None
    margin: Decimal = ZERO
    version: int = 0
    pending_buy: int = 0
    pending_sell: int = 0
    carried_quantity: int = 0
    carried_average: Decimal = ZERO
    realised_before: Decimal = ZERO
    opened_on: date | None = None
    bought_quantity: int = 0
    unbooked: Decimal = ZERO
    carried_unbooked: Decimal = ZERO
    unbooked_pnl: Decimal = ZERO

    @property
    def made_on_day(self) -> Decimal:
        """What it realised on `pnl_day`, also of what nobody booked."""
        return self.realised_pnl + self.unbooked_pnl

    @property
    def in_use(self) -> bool:
        """Open, or about to be: what `max_open_positions` counts."""
        return self.quantity != 0 or self.pending_buy != 0 or self.pending_sell != 0

    def carried_into(self, day: date) -> int:
        """What it was when the day began."""
        return self.carried_quantity if self.pnl_day is not None and self.pnl_day >= day else self.quantity

    def bought_on(self, day: date) -> int:
        return self.bought_quantity if self.pnl_day is not None and self.pnl_day >= day else 0

    def reducible(self, side: Side, own: int = 0) -> int:
        """How much an order of this side may close that no other pending order is closing already.

        `own` is what the order itself has pending, when it is being changed.
        """
        if self.quantity * side.sign >= 0:
            return 0
        pending = self.pending_buy if side is Side.BUY else self.pending_sell
        return max(abs(self.quantity) - pending + own, 0)


@dataclass(frozen=True, slots=True)
class Footprint:
    """What the terms of an order bind: `quantity` in all, of which the last `increasing` units block margin.

    Fills close before they open, so the units that reduce a position are the first to go.
    """

    quantity: int
    increasing: int
    unit_margin: Decimal

    def margin(self, filled: int) -> Decimal:
        return to_paise(self.unit_margin * max(min(self.increasing, self.quantity - filled), 0))


@dataclass(frozen=True, slots=True)
class Reservation:
    """A decided order. While a change is under way both footprints count, and the larger one binds.

    `proposed_by` is the story of the request for the change.
    """

    order_id: OrderId
    account_id: AccountId
    user_id: UserId
    strategy_id: StrategyId | None
    instrument: InstrumentId
    product: Product
    side: Side
    order_type: OrderType
    price: Decimal | None
    trigger_price: Decimal | None
    purpose: OrderPurpose
    epoch: int
    footprint: Footprint
    decided_at: datetime
    proposed: Footprint | None = None
    proposed_by: CorrelationId | None = None
    filled: int = 0
    closed: bool = False

    @property
    def open(self) -> bool:
        return not self.closed and self.filled < self.footprint.quantity

    @property
    def margin(self) -> Decimal:
        if self.closed:
            return ZERO
        own = self.footprint.margin(self.filled)
        return own if self.proposed is None else max(own, self.proposed.margin(self.filled))

    @property
    def outstanding(self) -> int:
        """Units that may still be filled."""
        if self.closed:
            return 0
        own = self.footprint.quantity
        return max(own if self.proposed is None else max(own, self.proposed.quantity), self.filled) - self.filled


@dataclass(frozen=True, slots=True)
class Ledger:
    """What one order touches: its account, the net position, and its strategy's book."""

    account: Account
    net: Exposure
    book: Exposure | None


def post(ledger: Ledger, before: Reservation | None, after: Reservation) -> Ledger:
    """Carry an order's step into the totals."""
    margin = after.margin - (before.margin if before else ZERO)
    outstanding = after.outstanding - (before.outstanding if before else 0)
    if not margin and not outstanding:
        return ledger
    net = _pend(ledger.net, after.side, outstanding)
    account = replace(
        ledger.account,
        order_margin=ledger.account.order_margin + margin,
        open_positions=ledger.account.open_positions + net.in_use - ledger.net.in_use,
    )
    return Ledger(account, net, ledger.book and _pend(ledger.book, after.side, outstanding))


def _pend(exposure: Exposure, side: Side, units: int) -> Exposure:
    if side is Side.BUY:
        return replace(exposure, pending_buy=exposure.pending_buy + units)
    return replace(exposure, pending_sell=exposure.pending_sell + units)


def fill(reservation: Reservation, units: int) -> Reservation:
    """A filled order waits for no change any more; if the venue took one after all, `change` revives it."""
    filled = reservation.filled + units
    done = filled >= reservation.footprint.quantity
    return replace(withdraw(reservation) if done else reservation, filled=filled)


def close(reservation: Reservation) -> Reservation:
    """The order is over: nothing of it can still be filled."""
    return replace(withdraw(reservation), closed=True)


def reopen(reservation: Reservation) -> Reservation:
    """The venue has an order that was taken for refused: what of it is not filled may be filled still."""
    return replace(reservation, closed=False)


def propose(reservation: Reservation, footprint: Footprint, epoch: int, by: CorrelationId) -> Reservation:
    return replace(reservation, proposed=footprint, proposed_by=by, epoch=epoch)


def withdraw(reservation: Reservation) -> Reservation:
    """No change is under way any more."""
    return replace(reservation, proposed=None, proposed_by=None)


def change(
    reservation: Reservation,
    quantity: int,
    order_type: OrderType,
    price: Decimal | None,
    trigger_price: Decimal | None,
) -> Reservation:
    """The venue took new terms. When they are not what was proposed last, the dearer rate stands."""
    old, proposed = reservation.footprint, reservation.proposed
    if proposed is not None and proposed.quantity == quantity:
        footprint = proposed
    else:
        rate = old.unit_margin if proposed is None else max(old.unit_margin, proposed.unit_margin)
        increasing = min(max(old.increasing + quantity - old.quantity, 0), quantity)
        footprint = Footprint(quantity, increasing, rate)
    return replace(
        withdraw(reservation),
        footprint=footprint,
        order_type=order_type,
        price=price,
        trigger_price=trigger_price,
    )


def move(
    ledger: Ledger,
    net: PositionState,
    book: PositionState,
    margin: Decimal,
    version: int,
    day: date,
    *,
    is_filled: bool = True,
) -> Ledger:
    """A fill moved the position: take over what trading says it is now. Where none did, and nothing was traded on that
    day, it is what was carried into it: a split or bonus may have changed that overnight.
    """
    moved = replace(_moved(ledger.net, net, version, day, is_filled), margin=margin)
    account = replace(
        ledger.account,
        position_margin=ledger.account.position_margin + margin - ledger.net.margin,
        open_positions=ledger.account.open_positions + moved.in_use - ledger.net.in_use,
    )
    return Ledger(account, moved, ledger.book and _moved(ledger.book, book, version, day, is_filled))


def _moved(exposure: Exposure, state: PositionState, version: int, day: date, is_filled: bool) -> Exposure:
    is_first = exposure.pnl_day is None or exposure.pnl_day < day
    opened_on = opened(exposure.quantity, state.quantity, exposure.opened_on, day)
    carried = exposure.carried_quantity, exposure.carried_average, exposure.carried_unbooked
    unbooked, brought = _sold(exposure, state, ZERO if is_first else exposure.realised_pnl)
    if is_as_carried(state, is_filled):
        carried = state.quantity, state.average_price, unbooked
    elif is_first:
        carried = exposure.quantity, exposure.average_price, exposure.unbooked
    return replace(
        exposure,
        quantity=state.quantity,
        average_price=state.average_price,
        realised_pnl=state.realised_pnl,
        pnl_day=day,
        version=version,
        carried_quantity=carried[0],
        carried_average=carried[1],
        realised_before=exposure.realised_before + (exposure.made_on_day if is_first else ZERO),
        opened_on=opened_on,
        bought_quantity=state.bought_quantity,
        unbooked=unbooked,
        carried_unbooked=carried[2],
        unbooked_pnl=brought + (ZERO if is_first else exposure.unbooked_pnl),
    )


def _sold(exposure: Exposure, state: PositionState, realised_before: Decimal) -> tuple[Decimal, Decimal]:
    """The shares that are left of those that nobody booked, and what those brought that went: as large a part of them
    as of the booked ones, at the same price. What of them the broker has then is no position of ours.
    """
    change = state.quantity - exposure.quantity
    if not exposure.unbooked or change * exposure.quantity >= 0:
        return exposure.unbooked, ZERO
    closed = -change if abs(change) < abs(exposure.quantity) else exposure.quantity
    price = exposure.average_price + (state.realised_pnl - realised_before) / closed
    gone = (exposure.unbooked * closed / exposure.quantity).quantize(MICRO)
    return exposure.unbooked - gone, to_paise(gone * price)


def is_as_carried(state: PositionState, is_filled: bool) -> bool:
    """Whether it is what the day began with."""
    return not (is_filled or state.bought_quantity or state.sold_quantity or state.realised_pnl)


def made(before: Exposure | None, state: PositionState, day: date) -> Decimal:
    """What was realised on that day since it was as `before`."""
    known = before.realised_pnl if before is not None and before.pnl_day == day else ZERO
    return state.realised_pnl - known


def opened(before: int, after: int, opened_on: date | None, day: date) -> date | None:
    """When what is open after a fill was opened. One that turns a position closes it and opens another."""
    if not after:
        return None
    return opened_on if before * after > 0 else day
