"""Every fill is booked exactly once."""

from decimal import Decimal

import pytest

from libs.common.contracts import topics
from libs.common.contracts.enums import ExecutionKind, OrderStatus
from libs.common.contracts.venue import ExecutionReported
from tests.tools.reconcile.test_checks.seeding import Corruption, Corruptions
from tests.tools.reconcile.world.world import World
from tools.reconcile import Rule, rows

CORRUPTIONS = Corruptions()


@CORRUPTIONS.of(Rule.FILLS, "was never booked")
def a_fill_is_lost(world: World) -> None:
    resting = world.first(OrderStatus.ACCEPTED)
    execution_id = world.execute(resting.order_id, ExecutionKind.FILLED, 1, Decimal(80))
    world.rows[rows.BookedExecutions].append(rows.BookedExecutions(resting.order_id, [execution_id]))


@CORRUPTIONS.of(Rule.FILLS, "is booked a second time", made_by_the_platform=True)
def a_fill_is_booked_twice(world: World) -> None:
    """lean-alpaca#41: the broker repeats a fill."""
    first = next(iter(world.orders.values()))
    world.report_fill(first.order_id, 4, Decimal(105), first.filled_by[-1])
    world.book(first.order_id, 4, Decimal(105))


@CORRUPTIONS.of(Rule.FILLS, "which no venue told of", made_by_the_platform=True)
def a_fill_is_made_up(world: World) -> None:
    """nautilus#4736: a synthetic fill after a restart."""
    resting = world.first(OrderStatus.ACCEPTED)
    world.report_fill(resting.order_id, 7, Decimal(80), "made up")
    world.book(resting.order_id, 7, Decimal(80))


@CORRUPTIONS.of(Rule.FILLS, "to the venue and")
def a_fill_is_booked_at_another_price(world: World) -> None:
    world.falsify("FillReported", price="100.05")


@CORRUPTIONS.of(Rule.FILLS, "was told twice, differently")
def a_venue_tells_two_fills_under_one_id(world: World) -> None:
    told = ExecutionReported.model_validate_json(world.find("ExecutionReported", 1).value)
    world.say(topics.EXECUTIONS, told.model_copy(update={"quantity": told.quantity + 1}))


@CORRUPTIONS.of(Rule.FILLS, "are filled of an order of 10", made_by_the_platform=True)
def more_is_filled_than_was_ordered(world: World) -> None:
    """openalgo#932: one lot became two."""
    world.fill(next(iter(world.orders)), 10, "100.00")


@CORRUPTIONS.of(Rule.FILLS, "moved a position without being reported")
def a_position_moves_without_a_fill(world: World) -> None:
    world.unsay("FillReported")


@CORRUPTIONS.of(Rule.FILLS, "and no position moved")
def a_fill_moves_no_position(world: World) -> None:
    world.unsay("PositionChanged", 4)


@CORRUPTIONS.of(Rule.FILLS, "differ about its executions")
def the_owner_forgets_an_execution(world: World) -> None:
    world.change(rows.BookedExecutions, execution_ids=[])


@CORRUPTIONS.of(Rule.FILLS, "knows none of its executions")
def the_owner_forgets_all_executions_of_an_order(world: World) -> None:
    world.drop(rows.BookedExecutions)


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=str)
async def test_is_named(corruption: Corruption) -> None:
    await corruption.is_named()
