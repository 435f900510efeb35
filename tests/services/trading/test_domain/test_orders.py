"""The order state machine: whatever a venue reports, in whatever order."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.enums import ExecutionKind, OrderStatus, OrderType
from libs.common.contracts.orders import OrderAccepted, OrderFact
from services.trading.domain import executions, orders
from tests.services.trading.making import accepted, cancelled, change_to, execution, filled, modified, order_id
from tests.services.trading.test_domain.filling import FILL_ID, after, submitted

LEGAL = {
    OrderStatus.SUBMITTED: {OrderStatus.ACCEPTED, OrderStatus.OUTCOME_UNKNOWN},
    OrderStatus.OUTCOME_UNKNOWN: {OrderStatus.ACCEPTED},
    OrderStatus.ACCEPTED: {OrderStatus.PARTIALLY_FILLED, OrderStatus.FILLED},
    OrderStatus.PARTIALLY_FILLED: {OrderStatus.FILLED},
    OrderStatus.FILLED: {OrderStatus.PARTIALLY_FILLED},
}
ENDS = {OrderStatus.CANCELLED, OrderStatus.EXPIRED, OrderStatus.REJECTED}
kinds = st.tuples(st.sampled_from(ExecutionKind), st.integers(1, 12), st.integers(0, 10))


@given(st.lists(kinds, max_size=14), st.booleans())
def test_whatever_a_venue_reports_an_order_stays_on_legal_paths(
    reports: list[tuple[ExecutionKind, int, int]], changing: bool
) -> None:
    order = submitted(10)
    if changing:
        order = orders.modify(order, change_to(order, 14))
    version, total = 1, 0
    for kind, quantity, leaves in reports:
        before = order
        order, said = executions.report(order, execution(order, kind, quantity, "100", leaves=leaves), FILL_ID)
        for event in said:
            if isinstance(event, OrderFact):
                version += 1
                assert event.version == version
                assert event.status is before.status or _is_legal(before.status, event.status, kind)
                before = replace(before, status=event.status)
        total += quantity if kind is ExecutionKind.FILLED else 0
        assert order.version == version
        assert order.filled_quantity == total
        assert order.blocked >= 0
        assert order.is_open or order.blocked == 0


def _is_legal(old: OrderStatus, new: OrderStatus, kind: ExecutionKind) -> bool:
    if old is OrderStatus.FILLED and new is OrderStatus.PARTIALLY_FILLED:
        return kind is ExecutionKind.MODIFIED
    if old is OrderStatus.REJECTED and kind is ExecutionKind.FOUND:
        return new in (OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED)
    if new is OrderStatus.OUTCOME_UNKNOWN and kind is ExecutionKind.UNSEEN:
        return old in (OrderStatus.SUBMITTED, OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED)
    if old in ENDS:
        return new is OrderStatus.FILLED and kind is ExecutionKind.FILLED
    return new in LEGAL[old] or (new in ENDS and old is not OrderStatus.FILLED)


@given(st.permutations([(4, 6), (3, 3), (3, 0)]), st.integers(0, 3))
def test_fills_in_any_order_and_the_acceptance_anywhere_end_in_the_same_order(
    pieces: list[tuple[int, int]], place: int
) -> None:
    order = submitted(10)
    reports = [filled(order, quantity, leaves=leaves) for quantity, leaves in pieces]
    reports.insert(place, accepted(order))
    done, said = after(order, *reports)
    assert (done.status, done.filled_quantity, done.average_price) == (OrderStatus.FILLED, 10, Decimal(100))
    assert [type(event) for event in said].count(OrderAccepted) == 1


def test_a_late_acceptance_of_a_filled_order_changes_nothing() -> None:
    order = submitted(10)
    done, _ = after(order, filled(order, 10))
    assert after(done, accepted(order)) == (done, [])


def test_an_order_cancelled_before_it_was_accepted_is_cancelled() -> None:
    order, said = after(submitted(), cancelled(submitted()), accepted(submitted()))
    assert order.status is OrderStatus.CANCELLED
    assert len(said) == 1


def test_an_order_whose_outcome_was_unknown_is_resolved_by_the_venues_word() -> None:
    unknown = replace(submitted(), status=OrderStatus.OUTCOME_UNKNOWN)
    assert after(unknown, accepted(unknown))[0].status is OrderStatus.ACCEPTED
    assert after(unknown, execution(unknown, ExecutionKind.REJECTED))[0].status is OrderStatus.REJECTED
    assert after(unknown, filled(unknown, 4))[0].status is OrderStatus.PARTIALLY_FILLED


def test_a_cancel_that_loses_against_the_last_fill_leaves_the_order_filled() -> None:
    order, _ = after(submitted(10), filled(submitted(), 10), cancelled(submitted()))
    assert order.status is OrderStatus.FILLED


def test_an_overfill_is_booked_and_known_as_one() -> None:
    order, _ = after(submitted(10), filled(submitted(), 7), filled(submitted(), 7))
    assert (order.filled_quantity, order.status) == (14, OrderStatus.FILLED)
    assert executions.is_overfill(order)


def test_a_change_to_what_is_filled_already_completes_the_order() -> None:
    order = orders.modify(after(submitted(10), filled(submitted(), 4, leaves=6))[0], change_to(submitted(), 6))
    order, _ = after(order, filled(order, 2, leaves=0))
    assert order.status is OrderStatus.PARTIALLY_FILLED
    order, _ = after(order, modified(order, 6))
    assert (order.status, order.quantity) == (OrderStatus.FILLED, 6)


def test_a_fill_under_larger_terms_that_overtakes_their_report_does_not_end_the_order() -> None:
    order = orders.modify(submitted(10), change_to(submitted(), 15))
    order, _ = after(order, filled(order, 10, leaves=5))
    assert order.status is OrderStatus.PARTIALLY_FILLED
    order, _ = after(order, modified(order, 15), filled(order, 5, leaves=0))
    assert (order.status, order.filled_quantity) == (OrderStatus.FILLED, 15)


def test_a_stop_order_triggers_once_and_so_was_accepted() -> None:
    order, said = after(submitted(), *[execution(submitted(), ExecutionKind.TRIGGERED)] * 2)
    assert [type(event).__name__ for event in said] == ["OrderAccepted", "OrderTriggered"]
    assert order.triggered


def test_a_fill_without_a_price_is_a_bug_of_the_venue() -> None:
    with pytest.raises(ValueError, match="has no price"):
        after(submitted(), execution(submitted(), ExecutionKind.FILLED, 5))


def test_openalgo_424_the_average_price_of_an_order_is_that_of_its_fills() -> None:
    order, _ = after(submitted(10), filled(submitted(), 3, "100.10"), filled(submitted(), 7, "100.20"))
    assert order.average_price == Decimal("100.17")


def test_a_rejected_change_leaves_the_terms() -> None:
    order = orders.modify(submitted(10, "1000"), change_to(submitted(), 15, margin="1500"))
    assert order.blocked == 1500
    order, _ = after(order, execution(order, ExecutionKind.MODIFY_REJECTED))
    assert (order.quantity, order.blocked, order.order_type) == (10, Decimal(1000), OrderType.LIMIT)


def test_a_change_blocks_no_margin_for_what_was_filled_before_it_came() -> None:
    """Risk cleared it for all ten units, before it heard of a fill of six: those have taken their margin along."""
    order, _ = after(submitted(10, "1000"), filled(submitted(), 6, leaves=4))
    order, moved = orders.spend_margin(submitted(10, "1000"), order, closing=0)
    assert (moved, order.blocked) == (Decimal(600), Decimal(400))
    change = change_to(order, 10, margin="1010").model_copy(update={"increasing": 10, "unit_margin": Decimal(101)})
    order = orders.modify(order, change)
    assert order.blocked == 404
    order, _ = after(order, modified(order, 10))
    assert order.blocked == 404


def test_a_fill_leaves_less_set_aside_for_a_change_on_its_way_too() -> None:
    order = orders.modify(submitted(10, "1000"), change_to(submitted(), 15, margin="1650"))
    reported, _ = after(order, filled(order, 4, leaves=11))
    order, moved = orders.spend_margin(order, reported, closing=0)
    assert (moved, order.margin, order.blocked) == (Decimal(400), Decimal(600), Decimal(1210))


@pytest.mark.parametrize(
    ("pieces", "change", "margin"),
    [
        ([15], "1650", 1650),
        ([10, 5], "1650", 1000 + 550),
        ([12, 3], "1650", 1650),
        ([4, 11], "1650", 400 + 1210),
        ([15], "1350", 1500),
    ],
)
def test_what_fills_beyond_the_old_quantity_carries_the_dearer_margin(
    pieces: list[int], change: str, margin: int
) -> None:
    """A broker's book shows the trades before the terms that they were made under."""
    order, moved = orders.modify(submitted(10, "1000"), change_to(submitted(), 15, margin=change)), Decimal(0)
    for quantity in pieces:
        reported, _ = after(order, filled(order, quantity, leaves=15 - order.filled_quantity - quantity))
        order, opened = orders.spend_margin(order, reported, closing=0)
        moved += opened
    order, _ = after(order, modified(order, 15))
    assert (moved, order.blocked, order.status) == (Decimal(margin), Decimal(0), OrderStatus.FILLED)


def test_terms_the_venue_chose_itself_scale_the_margin() -> None:
    order, _ = after(submitted(10, "1000"), modified(submitted(), 5))
    assert (order.blocked, order.unit_margin) == (Decimal(500), Decimal(100))


def test_of_a_change_that_the_venue_took_otherwise_the_dearer_unit_margin_stands() -> None:
    order = orders.modify(submitted(10, "1000"), change_to(submitted(), 15, margin="1650"))
    assert after(order, modified(order, 15))[0].unit_margin == 110
    assert after(order, modified(order, 12))[0].unit_margin == 110
    order = orders.modify(submitted(10, "1000"), change_to(submitted(), 15, margin="1350"))
    assert after(order, modified(order, 15))[0].unit_margin == 90
    assert after(order, modified(order, 12))[0].unit_margin == 100


def test_a_tag_is_twenty_letters_and_digits_and_never_the_same_for_neighbours() -> None:
    tags = [orders.tag_of(order_id(n)) for n in range(1, 5000)]
    assert all(len(tag) == 20 and tag.isalnum() and tag == tag.upper() for tag in tags)
    assert len(set(tags)) == len(tags)
