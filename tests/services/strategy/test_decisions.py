"""Whatever crosses on the road between strategy, risk and trading: an exit ends flat, and positions never pile up."""

from dataclasses import dataclass, field
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.algos import Algo
from libs.common.contracts.base import Message
from libs.common.contracts.enums import RepeatRule, Side
from libs.common.contracts.ids import InstrumentId, OrderId
from libs.common.contracts.orders import OrderRequested, SquareOffRequested
from libs.common.contracts.signals import SignalReceived
from libs.common.ids import new_id
from services.strategy.domain import decisions, holdings
from services.strategy.domain.algos import KnownAccount
from services.strategy.domain.decisions import Decision, Patience, Situation
from services.strategy.domain.holdings import Holding
from tests.services.strategy.markets import a_market
from tests.services.strategy.scene import FIRST, FUTURE_LEG, LOT, NOW, SPREAD, USER, a_signal, an_algo, an_exit

SITUATION = Situation(
    a_market(),
    {FIRST: KnownAccount(USER, "paper", active=True)},
    Patience(timedelta(seconds=60), timedelta(seconds=10), timedelta(seconds=60)),
)


@dataclass
class World:
    """Strategy's holding on one side; risk's gate and trading's books on the other. Time stands still."""

    algo: Algo
    holding: Holding
    at_risk: dict[OrderId, OrderRequested] = field(default_factory=dict)
    working: dict[OrderId, OrderRequested] = field(default_factory=dict)
    books: dict[InstrumentId, int] = field(default_factory=dict)
    square_offs: list[SquareOffRequested] = field(default_factory=list)

    def take(self, decision: Decision) -> None:
        for message in decision.messages:
            self.take_request(message)
        for holding in decision.holdings:
            self.holding = holding

    def take_request(self, message: Message) -> None:
        if isinstance(message, OrderRequested):
            assert message.order_id not in self.at_risk
            self.at_risk[message.order_id] = message
        if isinstance(message, SquareOffRequested):
            self.square_offs.append(message)

    def signal(self, signal: SignalReceived) -> None:
        self.take(decisions.decide(self.algo, [self.holding], signal, SITUATION))

    def advance(self, holding: Holding) -> None:
        self.take(decisions.advance(self.algo, holding, SITUATION))

    def deny(self) -> None:
        if self.at_risk:
            order_id = next(iter(self.at_risk))
            del self.at_risk[order_id]
            self.advance(holdings.ended(self.holding, order_id))

    def clear(self) -> None:
        if self.at_risk:
            order_id = next(iter(self.at_risk))
            self.working[order_id] = self.at_risk.pop(order_id)

    def fill(self) -> None:
        if self.working:
            order_id = next(iter(self.working))
            order = self.working.pop(order_id)
            quantity = self.books.get(order.instrument, 0) + order.side.sign * order.quantity
            self._book(order.instrument, quantity, order_id, order.quantity)

    def square_off(self) -> None:
        """Trading cancels what works, closes what is open, and calls it complete."""
        if not self.square_offs:
            return
        request = self.square_offs.pop(0)
        for order_id in list(self.working):
            del self.working[order_id]
            self.advance(holdings.ended(self.holding, order_id))
        for instrument, quantity in list(self.books.items()):
            if quantity:
                self._book(instrument, 0, OrderId(new_id()), abs(quantity))
        self.advance(holdings.closed(self.holding, request.square_off_id, NOW))

    def _book(self, instrument: InstrumentId, quantity: int, order_id: OrderId, filled: int) -> None:
        self.books[instrument] = quantity
        self.advance(holdings.booked(self.holding, instrument, self.algo.product, quantity, order_id, filled))

    def drain(self) -> None:
        for _ in range(100):
            if not (self.at_risk or self.working or self.square_offs):
                return
            self.clear()
            self.fill()
            self.square_off()
        raise AssertionError("never comes to rest")


STEPS = st.lists(st.sampled_from(["buy", "sell", "exit", "deny", "clear", "fill", "square_off"]), max_size=40)
LEGS = st.sampled_from([(FUTURE_LEG,), SPREAD])


def play(world: World, steps: list[str]) -> None:
    for step in steps:
        match step:
            case "buy" | "sell":
                world.signal(a_signal(action=Side(step.upper())))
            case "exit":
                world.signal(an_exit())
            case _:
                getattr(world, step)()


@given(steps=STEPS, rule=st.sampled_from(RepeatRule), some_legs=LEGS)
def test_after_an_exit_everything_comes_to_rest_flat(steps: list[str], rule: RepeatRule, some_legs: tuple[()]) -> None:
    algo = an_algo(some_legs, on_repeat=rule)
    world = World(algo, Holding(algo.algo_id, FIRST, USER))
    play(world, steps)
    world.signal(an_exit())
    world.drain()
    assert not any(world.books.values())
    assert world.holding.is_empty


@given(steps=STEPS, rule=st.sampled_from([RepeatRule.IGNORE, RepeatRule.REVERSE]), some_legs=LEGS)
def test_without_add_an_algo_never_holds_more_than_one_entry(
    steps: list[str], rule: RepeatRule, some_legs: tuple[()]
) -> None:
    algo = an_algo(some_legs, on_repeat=rule)
    world = World(algo, Holding(algo.algo_id, FIRST, USER))
    for step in steps:
        play(world, [step])
        on_their_way = [order.instrument for order in (*world.at_risk.values(), *world.working.values())]
        for instrument in {*on_their_way, *world.books}:
            exposed = abs(world.books.get(instrument, 0)) + LOT * on_their_way.count(instrument)
            assert exposed <= LOT


@given(steps=STEPS, direction=st.sampled_from(Side))
def test_a_reversing_algo_ends_in_the_direction_of_the_last_signal(steps: list[str], direction: Side) -> None:
    algo = an_algo([FUTURE_LEG], on_repeat=RepeatRule.REVERSE)
    world = World(algo, Holding(algo.algo_id, FIRST, USER))
    play(world, [step for step in steps if step != "deny"])
    world.signal(a_signal(action=direction))
    world.drain()
    assert sum(world.books.values()) == direction.sign * LOT
    assert world.holding.closing is None
