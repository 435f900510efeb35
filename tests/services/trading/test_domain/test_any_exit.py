"""Whatever a venue, risk and other traders do meanwhile: exits never close more than is held, and all is closed.

The venue here knows the truth, and may lose our sight of an order that it has (silent, refused, found).
"""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from libs.common.contracts.enums import DenialRule, ExecutionKind, OrderStatus, Side
from libs.common.contracts.ids import OrderId
from libs.common.contracts.orders import OrderCleared, OrderDenied
from libs.common.testing import NOON
from services.trading.domain import executions, exit_plan, orders, positions, square_offs
from services.trading.domain.exit_plan import Plan
from services.trading.domain.orders import AWAITED, Order
from services.trading.domain.positions import Book
from tests.services.trading.making import ACCOUNT, ALPHA, SBIN, cleared, execution, order_id, square_off
from tests.services.trading.test_domain.filling import FILL_ID

KIND = ExecutionKind
QUANTITIES = st.integers(1, 50)
PICK = st.randoms(use_true_random=False)


class AnyExit(RuleBasedStateMachine):
    """`at_venue` are the orders that it works on, known to us or not; `wrong` were exits beyond what was held."""

    @initialize(quantity=st.integers(-60, 60))
    def begin(self, quantity: int) -> None:
        self.now = NOON
        self.book = Book(ACCOUNT, ALPHA, SBIN, cleared().product)
        self.book = replace(self.book, holding=positions.trade(self.book.holding, quantity, Decimal(100)))
        self.orders: dict[OrderId, Order] = {}
        self.at_venue: set[OrderId] = set()
        self.largest: dict[str, int] = {}
        self.square_off = square_offs.start(square_off(strategy=ALPHA), NOON)
        self.is_over = False

    # what trading does

    def pursue(self) -> Plan:
        pending = [order for order in self.orders.values() if order.is_open]
        plan = exit_plan.plan(self.square_off, pending, [self.book], {SBIN: 20}, self.now)
        held = self.book.holding.quantity
        closing = [order.side.sign * order.leaves for order in pending if order.is_exit]
        if plan.exits and all(each * held < 0 for each in closing):
            asked = sum(wanted.side.sign * wanted.quantity for wanted in plan.exits)
            assert abs(asked + sum(closing)) <= abs(held), "asked for twice"
        for order in plan.cancels:
            self.orders[order.order_id] = orders.cancel(order, self.now)
        for wanted in plan.exits:
            request = exit_plan.request_exit(self.square_off, wanted, OrderId(order_id()), 0, self.now)
            self.orders[request.order_id] = orders.requested(request)
        self.is_over = plan.is_flat
        return plan

    def report(self, order: Order, kind: ExecutionKind, quantity: int = 0, leaves: int = 0) -> None:
        price = "100" if quantity else None
        said = execution(order, kind, quantity, price, leaves=leaves, at=self.now)
        after, _ = executions.report(order, said, FILL_ID)
        self.orders[order.order_id] = after
        if quantity:
            holding = positions.trade(self.book.holding, order.side.sign * quantity, Decimal(100))
            self.book = replace(self.book, holding=holding)
        self.square_off = square_offs.judge(self.square_off, after, kind, self.now)
        if not self.is_over:
            self.pursue()

    # what others do

    @rule(side=st.sampled_from(Side), quantity=QUANTITIES)
    @precondition(lambda self: not self.is_over)
    def somebody_trades(self, side: Side, quantity: int) -> None:
        order, _ = orders.submit(cleared(side, quantity, strategy=ALPHA, order=OrderId(order_id())))
        self.orders[order.order_id] = order
        self.at_venue.add(order.order_id)

    @rule(pick=PICK, clears=st.booleans())
    def risk_decides(self, pick: object, clears: bool) -> None:
        asked = [order for order in self.orders.values() if order.status is OrderStatus.REQUESTED]
        if asked and not clears:
            self.decide(self._one_of(asked, pick), clears=False)
        for order in asked if clears else ():
            self.decide(order, clears=True)

    def decide(self, order: Order, *, clears: bool) -> None:
        terms = {name: getattr(order, name) for name in OrderDenied.model_fields if hasattr(order, name)}
        if clears:
            sent, _ = orders.submit(OrderCleared(**terms, epoch=0, margin=Decimal(0)))
            self.orders[order.order_id] = sent
            self.at_venue.add(order.order_id)
            return
        denied = OrderDenied(**terms, rule=DenialRule.INSTRUMENT_UNKNOWN, reason="no")
        self.orders[order.order_id] = orders.denied(denied)
        self.square_off = square_offs.after_denial(self.square_off, denied, self.now)
        self.pursue()

    @rule(pick=PICK, share=st.integers(1, 50))
    def the_venue_fills(self, pick: object, share: int) -> None:
        working = [self.orders[each] for each in sorted(self.at_venue) if self.orders[each].is_open]
        if working:
            self.fill(self._one_of(working, pick), share)

    def fill(self, order: Order, share: int) -> None:
        quantity = min(share, order.leaves)
        if quantity == order.leaves:
            self.at_venue.discard(order.order_id)
        self.report(order, KIND.FILLED, quantity, order.leaves - quantity)

    @rule(pick=PICK, kind=st.sampled_from((KIND.ACCEPTED, KIND.UNKNOWN, KIND.CANCELLED, KIND.CANCEL_REJECTED)))
    def the_venue_tells(self, pick: object, kind: ExecutionKind) -> None:
        working = [self.orders[each] for each in sorted(self.at_venue) if self.orders[each].is_open]
        if not working:
            return
        order = self._one_of(working, pick)
        if kind is KIND.CANCELLED:
            self.at_venue.discard(order.order_id)
        self.report(order, kind)

    @rule(pick=PICK)
    def we_lose_sight_of_an_order(self, pick: object) -> None:
        """It is told to be refused, and the venue has it."""
        unanswered = [self.orders[each] for each in sorted(self.at_venue) if self.orders[each].status in AWAITED]
        if unanswered:
            self.report(self._one_of(unanswered, pick), KIND.REJECTED)

    @rule(pick=PICK)
    def an_order_is_found(self, pick: object) -> None:
        lost = [self.orders[each] for each in sorted(self.at_venue) if not self.orders[each].is_open]
        if lost:
            self.report(self._one_of(lost, pick), KIND.FOUND)

    @rule(seconds=st.integers(0, 40))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        if not self.is_over:
            self.pursue()

    # what must hold

    @invariant()
    def what_is_asked_for_never_closes_more_than_is_held(self) -> None:
        """Of the exits at the venue that nobody asked to cancel. After a failure a cancel waits for the pause's end."""
        if not hasattr(self, "book") or self.is_over or self.square_off.is_pausing(SBIN, self.now):
            return
        self.pursue()
        held = self.book.holding.quantity
        exits = [order for order in self.orders.values() if order.is_open and order.is_exit]
        sent = [order for order in exits if order.status is not OrderStatus.REQUESTED]
        closing = sum(order.side.sign * order.leaves for order in sent if order.cancel_requested_at is None)
        assert closing * held <= 0
        assert abs(closing) <= abs(held)

    def teardown(self) -> None:
        """Left alone by everybody else, it ends flat."""
        if not hasattr(self, "book"):
            return
        for _ in range(60):
            for order in [each for each in self.orders.values() if each.is_open]:
                self.settle(order.order_id)
            for lost in [each for each in sorted(self.at_venue) if not self.orders[each].is_open]:
                self.report(self.orders[lost], KIND.FOUND)
            self.now += timedelta(seconds=31)
            if self.pursue().is_flat and not self.at_venue:
                break
        assert self.is_over
        assert self.book.holding.quantity == 0

    def settle(self, settled: OrderId) -> None:
        order = self.orders[settled]
        if order.status is OrderStatus.REQUESTED:
            self.decide(order, clears=True)
        elif order.cancel_requested_at is not None:
            self.at_venue.discard(settled)
            self.report(order, KIND.CANCELLED)
        elif order.is_open:
            self.fill(order, order.leaves)

    def _one_of(self, found: list[Order], pick: object) -> Order:
        return pick.choice(sorted(found, key=lambda order: order.order_id))  # type: ignore[attr-defined,no-any-return]


AnyExit.TestCase.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
TestAnyExit = AnyExit.TestCase
