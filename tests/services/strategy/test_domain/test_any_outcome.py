"""Whatever becomes of an algo's orders: an exit leaves nothing of it, and then it can enter again.

Trading is played here by what it promises: a square-off cancels and closes until its scope is flat.
"""

import asyncio
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from libs.common.contracts.algos import Algo
from libs.common.contracts.enums import EntryLegs, LegRefusedRule, RepeatRule, Side
from libs.common.contracts.ids import AccountId, InstrumentId, OrderId, SquareOffId
from libs.common.contracts.orders import OrderRequested, SquareOffRequested
from libs.common.contracts.signals import SignalReceived
from libs.common.ids import new_id
from services.strategy.domain import decisions, holdings
from services.strategy.domain.algos import KnownAccount
from services.strategy.domain.decisions import Decision, Situation
from services.strategy.domain.holdings import Holding
from services.strategy.domain.stocks import named_in
from tests.services.strategy.scene import FIRST, FUTURE_LEG, NOW, SHARE_LEG, USER, a_signal, an_algo, an_exit, knowing

PICK = st.integers(0, 20)
MEMORY = asyncio.run(knowing())
SBIN = named_in(a_signal(symbol="SBIN"))


class AnyOutcome(RuleBasedStateMachine):
    """`open` is what of each order the venue may still fill, `lost` what it may fill though we told that it cannot."""

    @initialize(
        kind=st.sampled_from(["share", "spread", "named"]),
        repeat=st.sampled_from(RepeatRule),
        refused=st.sampled_from(LegRefusedRule),
    )
    def begin(self, kind: str, repeat: RepeatRule, refused: LegRefusedRule) -> None:
        legs = (SHARE_LEG, FUTURE_LEG) if kind == "spread" else (SHARE_LEG,)
        which = EntryLegs.NAMED if kind == "named" else EntryLegs.ALL
        self.stock = SHARE_LEG.instrument if kind == "named" else None
        self.algo: Algo = an_algo(legs, entry_legs=which, on_repeat=repeat, on_leg_refused=refused)
        self.now = NOW
        self.held: dict[AccountId, Holding] = {}
        self.orders: dict[OrderId, OrderRequested] = {}
        self.open: dict[OrderId, int] = {}
        self.lost: dict[OrderId, int] = {}
        self.books: dict[InstrumentId, int] = {}
        self.square_offs: list[SquareOffId] = []

    def situation(self) -> Situation:
        return MEMORY.situation(self.now, {FIRST: KnownAccount(USER, "paper", active=True)})

    @property
    def holding(self) -> Holding:
        return self.held.get(FIRST) or Holding(self.algo.algo_id, FIRST, USER, stock=self.stock)

    def settle(self, decision: Decision) -> list[OrderRequested]:
        """Keep what the algo keeps, and hand its wishes to trading."""
        for holding in decision.holdings:
            self.held[holding.account_id] = holding
        asked = [each for each in decision.messages if isinstance(each, OrderRequested)]
        for order in asked:
            assert order.order_id not in self.orders, "the same order twice"
            self.orders[order.order_id] = order
            self.open[order.order_id] = order.quantity
        for each in decision.messages:
            if isinstance(each, SquareOffRequested):
                assert each.square_off_id not in self.square_offs, "the same square-off twice"
                assert each.instrument == self.stock
                self.square_offs.append(each.square_off_id)
        return asked

    def advance(self, holding: Holding) -> None:
        self.settle(decisions.advance(self.algo, holding, self.situation()))

    def hear(self, signal: SignalReceived) -> list[OrderRequested]:
        return self.settle(decisions.decide(self.algo, self.held.values(), signal, self.situation(), named=SBIN))

    @rule(side=st.sampled_from(Side))
    def enter(self, side: Side) -> None:
        self.hear(a_signal(action=side, at=self.now))

    @rule()
    def leave(self) -> None:
        self.hear(an_exit(at=self.now))

    @rule(seconds=st.integers(1, 70))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        if self.holding.reversal is not None and self.holding.reversal.deadline < self.now:
            self.settle(decisions.give_up(self.algo, self.holding))

    @rule(pick=PICK, quantity=st.integers(1, 80))
    @precondition(lambda self: self.open)
    def a_part_is_filled(self, pick: int, quantity: int) -> None:
        self.fill(self._one_of(self.open, pick), quantity)

    def fill(self, order_id: OrderId, most: int) -> None:
        order, left = self.orders[order_id], self.open[order_id]
        filled = min(most, left)
        self.open[order_id] = left - filled
        if left == filled:
            del self.open[order_id]
        self.book(order.instrument, order.side.sign * filled, order_id, filled)

    def book(self, instrument: InstrumentId, moved: int, order_id: OrderId, filled: int) -> None:
        self.books[instrument] = self.books.get(instrument, 0) + moved
        quantity = self.books[instrument]
        self.advance(holdings.booked(self.holding, instrument, self.algo.product, quantity, order_id, filled))

    @rule(pick=PICK)
    @precondition(lambda self: self.open)
    def an_order_ends_short(self, pick: int) -> None:
        self.end(self._one_of(self.open, pick))

    @rule(pick=PICK)
    @precondition(lambda self: self.open)
    def an_order_is_taken_for_refused(self, pick: int) -> None:
        order_id = self._one_of(self.open, pick)
        self.lost[order_id] = self.open[order_id]
        self.end(order_id)

    def end(self, order_id: OrderId) -> None:
        del self.open[order_id]
        if order_id in self.holding.entries:
            instrument = self.orders[order_id].instrument
            self.settle(decisions.leg_ended(self.algo, self.holding, order_id, instrument, "refused", self.situation()))

    @rule(pick=PICK)
    @precondition(lambda self: self.lost)
    def an_order_is_found(self, pick: int) -> None:
        order_id = self._one_of(self.lost, pick)
        self.open[order_id] = self.lost.pop(order_id)
        self.find(order_id)

    def find(self, order_id: OrderId) -> None:
        order, left, now = self.orders[order_id], self.open[order_id], self.situation()
        self.settle(decisions.entry_found(self.algo, self.holding, order_id, order.instrument, order.side, left, now))

    @rule(pick=PICK, quantity=st.integers(0, 90))
    @precondition(lambda self: self.open)
    def an_order_is_changed(self, pick: int, quantity: int) -> None:
        order_id = self._one_of(self.open, pick)
        self.open[order_id] = quantity
        if not quantity:
            del self.open[order_id]
        self.advance(holdings.awaiting(self.holding, order_id, quantity))

    @rule(share=st.integers(1, 80))
    @precondition(lambda self: self.square_offs)
    def trading_squares_off(self, share: int) -> None:
        """One step: a cancel, or a part of what is open, or the end."""
        if self.open:
            self.end(next(iter(self.open)))
            return
        instrument = next((each for each, quantity in self.books.items() if quantity), None)
        if instrument is None:
            self.complete()
            return
        held = self.books[instrument]
        closed = min(share, abs(held))
        self.book(instrument, -closed if held > 0 else closed, OrderId(new_id()), closed)

    def complete(self) -> None:
        for square_off_id in list(self.square_offs):
            self.square_offs.remove(square_off_id)
            self.advance(holdings.closed(self.holding, square_off_id, self.now))

    @invariant()
    def the_algo_knows_what_may_still_fill_and_what_it_holds(self) -> None:
        if hasattr(self, "algo"):
            assert {own: entry.remaining for own, entry in self.holding.entries.items()} == self.open
            held = {name.partition(" ")[0]: quantity for name, quantity in self.holding.books.items()}
            assert held == {each: quantity for each, quantity in self.books.items() if quantity}

    def teardown(self) -> None:
        """Left alone, an exit flattens it for good, and the next signal enters."""
        if not hasattr(self, "algo"):
            return
        for order_id in list(self.lost):
            self.open[order_id] = self.lost.pop(order_id)
            self.find(order_id)
        self.come_to_rest()
        self.time_passes(70)
        self.leave()
        self.come_to_rest()
        assert not self.holding.occupied
        assert not any(self.books.values())
        assert self.hear(a_signal(at=self.now)), "it is stuck"

    def come_to_rest(self) -> None:
        for _ in range(500):
            if self.square_offs:
                self.trading_squares_off(share=80)
            elif self.open:
                self.fill(next(iter(self.open)), 10_000)
            else:
                return
        raise AssertionError("it never comes to rest")

    def _one_of(self, found: dict[OrderId, int], pick: int) -> OrderId:
        return list(found)[pick % len(found)]


AnyOutcome.TestCase.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
TestAnyOutcome = AnyOutcome.TestCase
