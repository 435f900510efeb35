"""The totals of an account are the sum of its orders and positions, whatever happens in whatever order."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from libs.common import ids
from libs.common.contracts.enums import OrderPurpose, OrderType, Product, Side
from libs.common.contracts.ids import CorrelationId, OrderId
from libs.common.contracts.orders import OrderCleared, OrderModifyCleared, OrderModifyRequested
from services.risk.domain import ledger as books
from services.risk.domain.ledger import Account, Exposure, Footprint, Ledger, Reservation
from services.risk.domain.orders import changed_terms, decide, decide_change, reserve
from services.risk.domain.rules import OrderCheck
from services.risk.settings import RiskSettings
from tests.services.risk.scene import ACCOUNT, NOW, SBIN, TODAY, USER, market, order, state

MARKET = market()
STORY = CorrelationId(ids.new_id())
POLICY = RiskSettings().policy


def reserved(quantity: int = 100, increasing: int = 100, rate: str = "10", filled: int = 0) -> Reservation:
    return Reservation(
        order_id=OrderId(ids.new_id()),
        account_id=ACCOUNT,
        user_id=USER,
        strategy_id=None,
        instrument=SBIN,
        product=Product.MIS,
        side=Side.BUY,
        order_type=OrderType.LIMIT,
        price=Decimal(100),
        trigger_price=None,
        purpose=OrderPurpose.ENTRY,
        epoch=0,
        footprint=Footprint(quantity, increasing, Decimal(rate)),
        decided_at=NOW,
        filled=filled,
    )


def test_fills_close_before_they_open() -> None:
    through_zero = reserved(quantity=100, increasing=40)
    blocked = [books.fill(through_zero, units).margin for units in (0, 60, 61, 100)]
    assert blocked == [400, 400, 390, 0]


def test_an_order_that_reduces_after_all_sets_aside_no_more_than_what_is_left_of_it() -> None:
    opening = reserved(quantity=100, increasing=100)
    assert [books.fill(opening, units).margin for units in (0, 40, 80, 100)] == [1000, 600, 200, 0]


def test_a_closed_order_binds_nothing() -> None:
    closed = books.close(reserved(filled=30))
    assert (closed.margin, closed.outstanding, closed.open) == (Decimal(0), 0, False)


def test_while_a_change_is_under_way_the_dearer_terms_bind() -> None:
    larger = books.propose(reserved(filled=10), Footprint(150, 140, Decimal(10)), 0, STORY)
    assert (larger.margin, larger.outstanding) == (Decimal(1400), 140)
    smaller = books.propose(reserved(filled=10), Footprint(50, 40, Decimal(10)), 0, STORY)
    assert (smaller.margin, smaller.outstanding) == (Decimal(900), 90)
    assert (books.withdraw(larger).margin, books.withdraw(larger).outstanding) == (Decimal(900), 90)


def test_a_change_that_the_venue_took_binds_as_it_was_cleared() -> None:
    proposed = books.propose(reserved(), Footprint(150, 150, Decimal(12)), 0, STORY)
    taken = books.change(proposed, 150, OrderType.LIMIT, Decimal(120), None)
    assert (taken.margin, taken.outstanding, taken.price) == (Decimal(1800), 150, Decimal(120))


def test_a_change_that_nobody_proposed_keeps_the_dearer_rate() -> None:
    proposed = books.propose(reserved(), Footprint(150, 150, Decimal(12)), 0, STORY)
    taken = books.change(proposed, 120, OrderType.LIMIT, Decimal(110), None)
    assert (taken.margin, taken.outstanding) == (Decimal(1440), 120)


def test_a_position_takes_over_what_the_fill_released() -> None:
    start = Ledger(
        Account(ACCOUNT, USER, True, Decimal(10_000)), Exposure(ACCOUNT, None, SBIN, Product.MIS, USER), None
    )
    cleared = books.post(start, None, reserved())
    assert (cleared.account.available, cleared.account.open_positions) == (Decimal(9000), 1)
    moved = books.move(cleared, state(60, 100), state(60, 100), Decimal(600), 1, TODAY)
    filled = books.post(moved, reserved(), books.fill(reserved(), 60))
    assert (filled.account.order_margin, filled.account.position_margin) == (Decimal(400), Decimal(600))
    assert filled.account.available == 9000
    assert filled.account.open_positions == 1


@given(quantity=st.integers(1, 10**6), increasing=st.integers(0, 10**6), filled=st.integers(0, 2 * 10**6))
def test_margin_is_never_negative(quantity: int, increasing: int, filled: int) -> None:
    assert Footprint(quantity, increasing, Decimal("7.77")).margin(filled) >= 0


class Trading(RuleBasedStateMachine):
    """Orders in one instrument are cleared, changed, filled and ended in any order; fills move the position."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(
            Account(ACCOUNT, USER, True, Decimal(10**6)), Exposure(ACCOUNT, None, SBIN, Product.MIS, USER), None
        )
        self.orders: dict[OrderId, Reservation] = {}
        self.version = 0

    def check(self, terms: object, changing: Reservation | None = None) -> OrderCheck:
        return OrderCheck(
            order=terms,  # type: ignore[arg-type]
            expires_at=NOW,
            now=NOW,
            ledger=self.ledger,
            halts=(),
            limits=(),
            instrument=MARKET.instrument(SBIN),
            price=None,
            spot=None,
            policy=POLICY,
            open_positions={},
            changing=changing,
        )

    def step(self, before: Reservation | None, after: Reservation) -> None:
        self.ledger = books.post(self.ledger, before, after)
        self.orders[after.order_id] = after

    def pick(self, data: st.DataObject) -> Reservation:
        return data.draw(st.sampled_from([each for each in self.orders.values() if each.open]))

    @rule(
        side=st.sampled_from(Side),
        quantity=st.integers(1, 100),
        price=st.integers(1, 1000),
        purpose=st.sampled_from((OrderPurpose.ENTRY, OrderPurpose.EXIT)),
    )
    def request(self, side: Side, quantity: int, price: int, purpose: OrderPurpose) -> None:
        wish = order(side=side, quantity=quantity, price=Decimal(price), purpose=purpose)
        check = self.check(wish)
        event = decide(wish, check)
        if isinstance(event, OrderCleared):
            assert event.margin >= 0
            self.step(None, reserve(event, check.now))

    @precondition(lambda self: any(each.open for each in self.orders.values()))
    @rule(data=st.data(), units=st.integers(1, 100))
    def fill(self, data: st.DataObject, units: int) -> None:
        before = self.pick(data)
        units = min(units, before.footprint.quantity - before.filled)
        self.version += 1
        quantity = self.ledger.net.quantity + before.side.sign * units
        margin = Decimal(abs(quantity)) * 5
        net = state(quantity, 100)
        self.ledger = books.move(self.ledger, net, net, margin, self.version, date(2026, 11, 24))
        self.step(before, books.fill(before, units))

    @precondition(lambda self: any(each.open for each in self.orders.values()))
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        before = self.pick(data)
        self.step(before, books.close(before))

    @precondition(lambda self: any(each.closed for each in self.orders.values()))
    @rule(data=st.data())
    def find_after_its_end(self, data: st.DataObject) -> None:
        before = data.draw(st.sampled_from([each for each in self.orders.values() if each.closed]))
        self.step(before, books.reopen(before))

    @precondition(lambda self: any(each.open for each in self.orders.values()))
    @rule(data=st.data(), quantity=st.integers(1, 150), price=st.integers(1, 1000))
    def ask_for_change(self, data: st.DataObject, quantity: int, price: int) -> None:
        before = self.pick(data)
        if before.proposed is not None:
            return
        request = OrderModifyRequested(
            order_id=before.order_id,
            account_id=ACCOUNT,
            user_id=USER,
            quantity=quantity,
            price=Decimal(price),
            expires_at=NOW,
        )
        check = self.check(changed_terms(before, request), before)
        event, after = decide_change(before, request, check, STORY)
        if isinstance(event, OrderModifyCleared):
            self.step(before, after)

    @precondition(lambda self: any(each.open and each.proposed for each in self.orders.values()))
    @rule(data=st.data(), taken=st.booleans())
    def answer_change(self, data: st.DataObject, taken: bool) -> None:
        before = data.draw(st.sampled_from([each for each in self.orders.values() if each.open and each.proposed]))
        assert before.proposed is not None
        if taken:
            after = books.change(before, before.proposed.quantity, before.order_type, before.price, None)
        else:
            after = books.withdraw(before)
        self.step(before, after)

    @invariant()
    def totals_are_the_sum_of_the_parts(self) -> None:
        account, net = self.ledger.account, self.ledger.net
        open_orders = [each for each in self.orders.values() if each.open]
        assert account.order_margin == sum(each.margin for each in open_orders)
        assert account.position_margin == net.margin
        assert net.pending_buy == sum(each.outstanding for each in open_orders if each.side is Side.BUY)
        assert net.pending_sell == sum(each.outstanding for each in open_orders if each.side is Side.SELL)
        assert account.open_positions == net.in_use
        assert account.order_margin >= 0
        assert min(net.pending_buy, net.pending_sell) >= 0


TestTrading = Trading.TestCase


@given(
    held=st.integers(1, 500),
    exits=st.lists(st.integers(1, 500), max_size=6),
    side=st.sampled_from(Side),
)
def test_freqtrade_7365_exits_never_flip_a_position_however_many_there_are(
    held: int, exits: list[int], side: Side
) -> None:
    trading = Trading()
    net = replace(trading.ledger.net, quantity=held * side.sign)
    trading.ledger = replace(trading.ledger, net=net)
    for quantity in exits:
        wish = order(side=side.opposite, quantity=quantity, purpose=OrderPurpose.EXIT)
        check = trading.check(wish)
        event = decide(wish, check)
        if isinstance(event, OrderCleared):
            assert event.margin == 0
            trading.step(None, reserve(event, check.now))
    assert sum(each.outstanding for each in trading.orders.values()) <= held
