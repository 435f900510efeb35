"""Positions, profit and margin recomputed from the fills, and held against what trading tells as it is read."""

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

from libs.common.contracts.orders import FillReported
from libs.common.contracts.portfolio import (
    FundsChanged,
    PositionAdjusted,
    PositionChanged,
    PositionSettled,
    PositionState,
)
from tools.reconcile.facts import (
    AVERAGE,
    HALF_PAISA,
    NIL,
    ZERO,
    Account,
    BookKey,
    Holding,
    NetKey,
    Order,
    Position,
    closing,
    share,
    to_paise,
    trading_day,
)
from tools.reconcile.record import Record
from tools.reconcile.rules import Findings, Rule, Subject, account, order, position


@dataclass
class Books:
    positions: dict[NetKey, Position] = field(default_factory=dict)
    books: dict[BookKey, Holding] = field(default_factory=dict)
    accounts: dict[UUID, Account] = field(default_factory=dict)
    believed: set[BookKey] = field(default_factory=set)
    """Those whose figures begin with the first that was told, since the log does not reach back further."""

    def account(self, account_id: UUID) -> Account:
        found = self.accounts.get(account_id)
        if found is None:
            found = self.accounts[account_id] = Account(account_id)
        return found

    def position(self, key: NetKey) -> Position:
        found = self.positions.get(key)
        if found is None:
            found = self.positions[key] = Position()
        return found

    def book(self, key: BookKey) -> Holding:
        found = self.books.get(key)
        if found is None:
            found = self.books[key] = Holding()
        return found

    def fill(self, event: FillReported, filled: Order, record: Record, *, is_cut: bool) -> None:
        """Book it anew: the net position, the strategy's book, the margin that moves, the profit."""
        owner = self.account(event.account_id)
        day = self._begin(owner, trading_day(record.time))
        owner.is_guessed |= is_cut
        key: NetKey = (event.account_id, event.instrument, event.product)
        held = self.position(key)
        signed = event.side.sign * event.quantity
        self._move_margin(held, filled, event, closing(held.net.quantity, signed))
        held.net.begin(day)
        realised = held.net.fill(signed, event.price)
        if not held.net.quantity:
            held.margin, held.margin_is_known = ZERO, True
        held.unbooked.append((event.order_id, event.quantity))
        book = self.book((*key, event.strategy_id or NIL))
        book.begin(day)
        book.fill(signed, event.price)
        owner.realised += realised
        owner.ever += realised

    def settle(self, event: PositionSettled, record: Record, findings: Findings, *, is_cut: bool) -> None:
        """Close the book of an expired contract: no order takes part, and what it frees comes of the position alone."""
        owner = self.account(event.account_id)
        day = self._begin(owner, trading_day(record.time))
        owner.is_guessed |= is_cut
        key: NetKey = (event.account_id, event.instrument, event.product)
        held, book = self.position(key), self.book((*key, event.strategy_id or NIL))
        signed = event.side.sign * event.quantity
        if not (is_cut and (held.is_guessed or not held.version)):
            what = f"{event.quantity} are settled ({event.side}), where {book.quantity} are held ({record.place})"
            about = position(*key, event.strategy_id)
            findings.expect(Rule.SETTLED, bool(signed) and book.quantity == -signed, about, what, record.sent_at)
        closed = closing(held.net.quantity, signed)
        held.margin -= share(held.margin, closed, abs(held.net.quantity)) if closed else ZERO
        held.net.begin(day)
        realised = held.net.fill(signed, event.price)
        if not held.net.quantity:
            held.margin, held.margin_is_known = ZERO, True
        book.begin(day)
        book.fill(signed, event.price)
        owner.realised += realised
        owner.ever += realised

    def adjust(
        self, event: PositionAdjusted, shares: Fraction, record: Record, findings: Findings, *, is_cut: bool
    ) -> None:
        """A split or bonus: whole shares at another average price for the same cost. Nothing is realised; what a
        fraction blocked is free.
        """
        key: NetKey = (event.account_id, event.instrument, event.product)
        held, day = self.position(key), self._begin(self.account(event.account_id), trading_day(record.time))
        if is_cut and not held.version:
            return
        if not held.is_guessed:
            self._check_adjusted(event, held, shares, record, findings)
        exact = held.net.quantity * shares
        units, of = event.quantity * exact.denominator, exact.numerator
        held.margin = share(held.margin, units, of) if units and of else ZERO
        held.net.begin(day)
        held.net.become(event.quantity, shares)
        for each in event.books:
            book = self.book((*key, each.strategy_id or NIL))
            book.begin(day)
            book.become(each.quantity, shares)

    def _check_adjusted(
        self, event: PositionAdjusted, held: Position, shares: Fraction, record: Record, findings: Findings
    ) -> None:
        about = position(event.account_id, event.instrument, event.product)
        whole = int(held.net.quantity * shares)
        what = f"{event.before} became {event.quantity}, where {held.net.quantity} become {whole} ({record.place})"
        same = (event.before, event.quantity) == (held.net.quantity, whole)
        findings.expect(Rule.POSITIONS, same, about, what, record.sent_at)
        sums = tuple(sum(each) for each in zip(*((each.before, each.quantity) for each in event.books), strict=True))
        what = f"its books add up to {sums}, of {event.before} that became {event.quantity} ({record.place})"
        findings.expect(Rule.POSITIONS, sums == (event.before, event.quantity), about, what, record.sent_at)
        for each in event.books:
            whose: BookKey = (event.account_id, event.instrument, event.product, each.strategy_id or NIL)
            own = self.book(whose).quantity
            what = f"{each.before} became {each.quantity}, where {own} become {own * shares} ({record.place})"
            near = each.before == own and abs(each.quantity - own * shares) < 1
            findings.expect(Rule.POSITIONS, near, position(*whose), what, record.sent_at)

    def _move_margin(self, held: Position, filled: Order, event: FillReported, closed: int) -> None:
        """What a fill opens blocks its order's unit margin, set aside or not; what it closes frees the position's.
        What is left of the order sets aside no more than all of it would block. `filled` counts the fill already.
        """
        opened = event.quantity - closed
        if filled.unit_margin:
            of_the_rest = to_paise(filled.unit_margin * filled.leaves)
            moved = to_paise(filled.unit_margin * (filled.leaves + opened)) - of_the_rest
            filled.margin = min(filled.margin, of_the_rest)
        else:
            left_to_open = filled.leaves + opened
            moved = share(filled.margin, opened, left_to_open) if opened else ZERO
            filled.margin -= moved
        freed = share(held.margin, closed, abs(held.net.quantity)) if closed else ZERO
        held.margin += moved - freed
        held.margin_is_known &= filled.margin_is_known

    def position_changed(self, event: PositionChanged, record: Record, findings: Findings, *, is_cut: bool) -> None:
        key: NetKey = (event.account_id, event.instrument, event.product)
        held = self.position(key)
        about = position(*key)
        if is_cut and not held.version and event.version > 1:
            self._believe(held, event, trading_day(record.time))
            return
        if held.is_guessed:
            self._believe_book(event, trading_day(record.time))
        what = f"version {event.version} follows version {held.version} ({record.place})"
        findings.expect(Rule.POSITIONS, event.version == held.version + 1, about, what, record.sent_at)
        held.version = max(held.version, event.version)
        if event.fill_quantity:
            self._check_cause(held, event, record, findings)
        else:
            day = self._begin(self.account(event.account_id), trading_day(record.time))
            held.net.begin(day)
            self.book((*key, event.strategy_id or NIL)).begin(day)
        _check(held.net, event.net, about, record, findings, guessed=held.is_guessed)
        book = self.book((*key, event.strategy_id or NIL))
        whose = position(*key, event.strategy_id) if event.strategy_id else about
        _check(book, event.book, whose, record, findings, guessed=held.is_guessed)
        if held.margin_is_known:
            what = f"blocks a margin of {event.margin}, its fills make {held.margin} ({record.place})"
            findings.expect(Rule.FUNDS, event.margin == held.margin, about, what, record.sent_at)
        held.margin = event.margin

    def _check_cause(self, held: Position, event: PositionChanged, record: Record, findings: Findings) -> None:
        cause = (event.order_id, event.fill_quantity)
        booked = cause in held.unbooked
        what = f"a fill of {event.fill_quantity} moved a position without being reported ({record.place})"
        if findings.expect(Rule.FILLS, booked, order(event.order_id), what, record.sent_at):
            held.unbooked.remove(cause)

    def _believe(self, held: Position, event: PositionChanged, day: date) -> None:
        """The log does not reach back to this position's beginning: from here on it is recomputed."""
        held.net = _holding(event.net, day)
        self._believe_book(event, day)
        held.version, held.margin, held.margin_is_known = event.version, event.margin, False
        held.is_guessed = True
        held.unbooked.clear()

    def _believe_book(self, event: PositionChanged, day: date) -> None:
        key: BookKey = (event.account_id, event.instrument, event.product, event.strategy_id or NIL)
        if key not in self.believed:
            self.believed.add(key)
            self.books[key] = _holding(event.book, day)

    def funds_changed(self, event: FundsChanged, record: Record, findings: Findings, *, is_cut: bool) -> None:
        owner = self.account(event.account_id)
        about = account(event.account_id)
        left = event.opening_balance + event.realised_pnl - event.used_margin
        sum_ = f"{event.opening_balance} + {event.realised_pnl} - {event.used_margin}"
        what = f"has {event.available} available, but {sum_} is {left}"
        findings.expect(Rule.FUNDS, event.available == left, about, f"{what} ({record.place})", record.sent_at)
        if is_cut and not owner.version:
            owner.is_guessed = True
        else:
            what = f"funds version {event.version} follows version {owner.version} ({record.place})"
            findings.expect(Rule.FUNDS, event.version == owner.version + 1, about, what, record.sent_at)
        if not owner.is_guessed:
            self._check_profit(owner, event, record, findings)
        if event.version < owner.version:
            return
        owner.version, owner.opening = event.version, event.opening_balance
        owner.said_realised, owner.used = event.realised_pnl, event.used_margin

    def _check_profit(self, owner: Account, event: FundsChanged, record: Record, findings: Findings) -> None:
        """Just after midnight the funds may still be of the day before."""
        day = trading_day(record.time)
        if abs(event.realised_pnl - owner.realised) >= HALF_PAISA and owner.day is not None and day > owner.day:
            self._begin(owner, day)
        what = f"tells a realised profit of {event.realised_pnl}, its fills made {owner.realised} ({record.place})"
        near = abs(event.realised_pnl - owner.realised) < HALF_PAISA
        findings.expect(Rule.PNL, near, account(owner.account_id), what, record.sent_at)

    def _begin(self, owner: Account, day: date) -> date:
        """The day that the account is in: a clock that is set back does not bring the day before again."""
        if owner.day is not None and day > owner.day:
            owner.realised = ZERO
        owner.day = day if owner.day is None else max(owner.day, day)
        return owner.day


def _check(
    own: Holding, said: PositionState, about: Subject, record: Record, findings: Findings, *, guessed: bool
) -> None:
    what = f"is {said.quantity}, its fills sum up to {own.quantity} ({record.place})"
    if not findings.expect(Rule.POSITIONS, said.quantity == own.quantity, about, what, record.sent_at) or guessed:
        return
    what = f"has an average price of {said.average_price}, its fills make {own.average} ({record.place})"
    near = abs(said.average_price - own.average) <= AVERAGE
    findings.expect(Rule.POSITIONS, near, about, what, record.sent_at)
    traded = (said.bought_quantity, said.sold_quantity, said.bought_value, said.sold_value)
    what = f"tells of {traded} bought and sold today, its fills make {_traded(own)} ({record.place})"
    findings.expect(Rule.POSITIONS, traded == _traded(own), about, what, record.sent_at)
    what = f"has realised {said.realised_pnl}, its fills {own.realised} ({record.place})"
    near = abs(said.realised_pnl - own.realised) < HALF_PAISA
    findings.expect(Rule.PNL, near, about, what, record.sent_at)


def _traded(own: Holding) -> tuple[int, int, Decimal, Decimal]:
    return own.bought, own.sold, own.bought_value, own.sold_value


def _holding(said: PositionState, day: date) -> Holding:
    return Holding(
        said.quantity,
        said.average_price,
        said.realised_pnl,
        said.bought_quantity,
        said.sold_quantity,
        said.bought_value,
        said.sold_value,
        day,
    )
