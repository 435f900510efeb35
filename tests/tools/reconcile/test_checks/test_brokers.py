"""Brokers behind HTTP: what a broker saw of ours is counted."""

from collections.abc import Callable

import pytest

from tests.tools.reconcile.test_checks.seeding import check
from tests.tools.reconcile.world.world import World, busy_world
from tools.reconcile import Rule, rows


def at_broker() -> World:
    """As if its account were at a broker that is called, whose book is told apart."""
    world = busy_world().settle()
    world.change(rows.TradingAccount, broker="zerodha")
    world.change(rows.RiskAccount, broker="zerodha")
    for place in range(len(world.rows[rows.TradingOrder])):
        world.change(rows.TradingOrder, place, tag=f"TAG{place}")
    return world


def in_its_book(world: World) -> list[str]:
    return [row.tag for row in world.rows[rows.TradingOrder] if row.status != "DENIED"]


async def test_a_brokers_book_that_has_each_order_once_is_sound() -> None:
    world = at_broker()
    report = await check(world, seen=tuple(in_its_book(world)))
    assert report.passed, report.text()


@pytest.mark.parametrize(
    ("book", "words"),
    [
        (lambda tags: [*tags, tags[0]], "is in the broker's book 2 times"),
        (lambda tags: tags[1:], "is not in the broker's book that took it"),
        (lambda tags: [*tags, "TAG99"], "no order of ours has that tag"),
    ],
    ids=["twice", "never", "one_that_is_not_ours"],
)
async def test_openalgo_1991_what_a_broker_saw_of_ours_is_counted(
    book: Callable[[list[str]], list[str]], words: str
) -> None:
    world = at_broker()
    report = await check(world, seen=tuple(book(in_its_book(world))))
    assert report.broken == [Rule.VENUE]
    assert words in report.text()


async def test_an_order_that_two_calls_place_is_named() -> None:
    world = at_broker()
    order_id = next(iter(world.orders))
    calls = [rows.BrokerCall(order_id, world.new_id(), 1, world.now) for _ in range(2)]
    world.rows[rows.BrokerCall].extend(calls)
    report = await check(world)
    assert Rule.VENUE in report.broken
    assert "by two calls" in report.text()
