"""What holds whatever the orders are and whatever the market does."""

from hypothesis import given

from libs.common.contracts.enums import OrderStatus, Side
from services.walkforward.domain.market import Market
from services.walkforward.domain.orders import Order
from tests.services.walkforward.test_domain.stories import play, stories
from tests.services.walkforward.test_domain.terms import K
from tests.services.walkforward.venue import STOCK


@given(stories())
def test_an_order_is_filled_by_the_sum_of_its_fills_and_never_beyond_its_quantity(
    story: tuple[list[Order], list[Market]],
) -> None:
    rows, said = play(*story)
    for each in rows.values():
        filled = [e.quantity for _, e in said if e.order_id == each.order_id and e.kind is K.FILLED]
        assert sum(filled) == each.filled <= each.quantity
        assert all(quantity > 0 for quantity in filled)
        assert (each.status is OrderStatus.FILLED) == (each.filled == each.quantity)


@given(stories())
def test_no_fill_is_worse_than_the_limit_or_off_the_tick(story: tuple[list[Order], list[Market]]) -> None:
    rows, said = play(*story)
    for _, execution in said:
        if execution.kind is not K.FILLED:
            continue
        assert execution.price is not None
        limit = rows[execution.order_id].limit
        assert execution.price > 0
        assert execution.price % STOCK.tick_size == 0
        if limit is not None:
            assert (limit - execution.price) * rows[execution.order_id].side.sign >= 0


@given(stories())
def test_no_market_gives_more_than_it_shows_and_none_fills_without_a_price_to_meet(
    story: tuple[list[Order], list[Market]],
) -> None:
    rows, said = play(*story)
    for each in story[1]:
        for side in Side:
            facing = each.facing(side)
            got = sum(e.quantity for m, e in said if m is each and e.kind is K.FILLED and rows[e.order_id].side is side)
            assert not got or facing
            if all(step.quantity is not None for step in facing):
                assert got <= sum(step.quantity or 0 for step in facing)


@given(stories())
def test_execution_ids_are_never_used_twice(story: tuple[list[Order], list[Market]]) -> None:
    _, said = play(*story)
    names = [execution.execution_id for _, execution in said]
    assert len(names) == len(set(names))


@given(stories())
def test_playing_the_same_markets_twice_changes_nothing_more(story: tuple[list[Order], list[Market]]) -> None:
    """openalgo#932: two roads that see the same tick fill an order once."""
    book, markets = story
    rows, _ = play(book, markets)
    again, said = play(list(rows.values()), markets[:1])
    assert [e for _, e in said if rows[e.order_id].seen] == []
    assert again == rows
