"""Looks at the market that were folded into one because their reader fell behind."""

from services.walkforward.domain.market import fold
from services.walkforward.domain.matching import meet
from tests.services.walkforward.test_domain.terms import BUY, LIMIT, SL_M, fills
from tests.services.walkforward.venue import NOON, later, market, order, tick


def test_a_crossing_between_two_folded_looks_is_not_missed() -> None:
    resting = order(BUY, 100, LIMIT, "99.00", seen=NOON)
    dip = market(tick(98.9, bid=98.8, ask=98.9, ask_quantity=70, at=later(1)))
    back = market(tick(100.0, bid=99.9, ask=100.0, at=later(2)))
    assert fills(meet(resting, fold(dip, back), later(2)).change.executions) == [(70, "99.00")]


def test_a_trigger_between_two_folded_looks_is_not_missed_and_trades_at_the_newest_price() -> None:
    stop = order(BUY, 100, SL_M, trigger="105.00", seen=NOON)
    folded = fold(market(tick(105.0, at=later(1))), market(tick(100.0, at=later(2))))
    assert fills(meet(stop, folded, later(2)).change.executions) == [(100, "100.00")]


def test_a_crossing_within_the_newer_of_two_folded_looks_is_not_missed() -> None:
    """What waited while the database was away is folded with what came meanwhile, and was folded as well."""
    resting = order(BUY, 100, LIMIT, "99.00", seen=NOON)
    older = fold(market(tick(100.0, ask=100.0, at=later(1))), market(tick(100.0, ask=100.0, at=later(2))))
    dip = market(tick(98.9, bid=98.8, ask=98.9, ask_quantity=70, at=later(3)))
    newer = fold(dip, market(tick(100.0, ask=100.0, at=later(4))))
    assert fills(meet(resting, fold(older, newer), later(4)).change.executions) == [(70, "99.00")]


def test_an_extreme_from_before_an_order_came_is_not_its_own() -> None:
    folded = fold(market(tick(98.0, bid=97.9, ask=98.0, at=later(1))), market(tick(bid=99.9, ask=100.0, at=later(3))))
    newcomer = order(BUY, 100, LIMIT, "99.00", seen=later(2), active_from=later(2))
    assert meet(newcomer, folded, later(3)).change.order is newcomer


def test_a_trigger_from_before_a_stop_came_does_not_wake_it() -> None:
    folded = fold(market(tick(105.0, at=later(1))), market(tick(100.0, at=later(3))))
    newcomer = order(BUY, 100, SL_M, trigger="105.00", seen=later(2), active_from=later(2))
    assert meet(newcomer, folded, later(3)).change.order is newcomer
