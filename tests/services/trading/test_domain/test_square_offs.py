"""What a square-off asks for, and when again."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.enums import ExecutionKind, OrderPurpose, Side, SquareOffReason
from libs.common.contracts.ids import InstrumentId
from libs.common.testing import NOON
from services.trading.domain import exit_plan, orders, square_offs
from services.trading.domain.orders import Order
from services.trading.domain.positions import Book, Holding
from tests.services.trading.making import ACCOUNT, ALPHA, SBIN, cleared, execution, square_off
from tests.services.trading.test_domain.filling import after, submitted


def book(quantity: int) -> Book:
    return Book(ACCOUNT, ALPHA, SBIN, cleared().product, Holding(quantity=quantity, cost=Decimal(quantity)))


def exit_order(side: Side, quantity: int, filled_quantity: int = 0) -> Order:
    order, _ = orders.submit(cleared(side, quantity, strategy=ALPHA, purpose=OrderPurpose.SQUARE_OFF))
    return replace(order, square_off_id=square_off(n=2).square_off_id, filled_quantity=filled_quantity)


@given(
    st.integers(-100, 100),
    st.lists(st.tuples(st.sampled_from(Side), st.integers(1, 60)), max_size=4),
    st.one_of(st.none(), st.integers(1, 50)),
)
def test_exits_with_those_on_their_way_never_close_more_than_is_held(
    held: int, on_their_way: list[tuple[Side, int]], largest: int | None
) -> None:
    pending = [exit_order(side, quantity) for side, quantity in on_their_way]
    sizes = {} if largest is None else {SBIN: largest}
    plan = exit_plan.plan(square_offs.start(square_off(), NOON), pending, [book(held)], sizes, NOON)
    left = held + sum(order.side.sign * order.leaves for order in pending)
    asked = sum(wanted.side.sign * wanted.quantity for wanted in plan.exits)
    assert abs(asked) == (min(abs(left), abs(held)) if left * held > 0 else 0)
    assert asked * held <= 0
    assert all(wanted.quantity <= (largest or 100) for wanted in plan.exits)
    assert plan.is_flat == (not held and not pending)


def test_no_exit_is_larger_than_any_order() -> None:
    """Seen: risk denied the one exit again and again, and one of more than twice as much could not be kept."""
    plan = exit_plan.plan(square_offs.start(square_off(), NOON), [], [book(2_500_000_000)], {}, NOON)
    assert [wanted.quantity for wanted in plan.exits] == [1_000_000_000, 1_000_000_000, 500_000_000]


def test_what_was_sold_is_bought_back_before_what_covers_it_is_sold() -> None:
    """Seen: exits went in the order of their names, and of a spread the bought option could be sold first, for which a
    broker wants the margin of the sold one alone, and refuses it.
    """
    lower, upper = (InstrumentId(f"NFO:NIFTY23NOV26{strike}CE") for strike in (24000, 24500))
    for sold in (lower, upper):
        books = [replace(book(-5 if each == sold else 5), instrument=each) for each in (lower, upper)]
        plan = exit_plan.plan(square_offs.start(square_off(), NOON), [], books, {}, NOON)
        assert [(wanted.side, wanted.instrument == sold) for wanted in plan.exits] == [
            (Side.BUY, True),
            (Side.SELL, False),
        ]


def test_pauses_double_up_to_half_a_minute_and_a_fill_ends_them() -> None:
    waiting, now = square_offs.start(square_off(), NOON), NOON
    pauses = []
    for _ in range(7):
        waiting = square_offs.failed(waiting, SBIN, now)
        pauses.append((waiting.pauses[SBIN].until - now).total_seconds())
        now = waiting.pauses[SBIN].until
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    assert not square_offs.judge(waiting, exit_order(Side.SELL, 5), ExecutionKind.FILLED, NOON).pauses


def test_an_order_that_its_venue_has_after_all_can_be_cancelled_again() -> None:
    """The cancel that came while it was taken for refused went nowhere: no square-off would ask for another."""
    order = orders.cancel(submitted(), NOON)
    order, _ = after(order, execution(order, ExecutionKind.UNKNOWN), execution(order, ExecutionKind.REJECTED))
    found, _ = after(order, execution(order, ExecutionKind.FOUND))
    plan = exit_plan.plan(square_offs.start(square_off(), NOON), [found], [], {}, NOON)
    assert plan.cancels == (found,)


def test_what_a_clock_that_ran_ahead_put_off_is_done_at_once() -> None:
    """A panic's exits would wait for the hour that the clock was set back by."""
    ahead = NOON + timedelta(hours=1)
    failed = square_offs.failed(square_offs.start(square_off(), NOON), SBIN, ahead)
    pending = orders.cancel(submitted(side=Side.SELL), ahead)
    plan = exit_plan.plan(failed, [pending], [book(5)], {}, NOON)
    assert [wanted.quantity for wanted in plan.exits] == [5]
    assert orders.needs_cancel(pending, NOON)


def test_what_the_square_off_of_one_limit_has_left_that_of_the_next_tries_again() -> None:
    """A share that one day's dump lacked is listed again: the first would never close it."""
    breach = SquareOffReason.MTM_BREACH
    first, second = (square_offs.start(square_off(reason=breach, n=n), NOON) for n in (1, 2))
    assert square_offs.is_one_of_many(second, [first])
    assert not square_offs.is_one_of_many(second, [replace(first, expired=frozenset({SBIN}))])
