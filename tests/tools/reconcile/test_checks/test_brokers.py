"""Brokers behind HTTP: what a broker saw of ours is counted."""

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

import pytest

from libs.common.contracts import topics
from libs.common.contracts.enums import Broker, OrderPurpose, Validity
from tests.tools.reconcile.test_checks.seeding import check
from tests.tools.reconcile.world.world import World, busy_world
from tools.reconcile import Rule, rows
from tools.reconcile.record import Record

CALLED = {"broker": Broker.ZERODHA, "purpose": OrderPurpose.ENTRY, "validity": Validity.DAY, "epoch": 1}
"""What a wish to a broker behind HTTP says beside what it says to the paper venue."""


def at_broker() -> World:
    """Its account is at a broker that is called, whose book is told apart; the paper venue knows nothing of it."""
    world = busy_world().settle()
    ends: defaultdict[str, int] = defaultdict(int)
    world.records = [_called(record, ends) for record in world.records]
    world.rows[rows.VenueOrder].clear()
    world.change(rows.TradingAccount, broker="zerodha")
    world.change(rows.RiskAccount, broker="zerodha")
    for place in range(len(world.rows[rows.TradingOrder])):
        world.change(rows.TradingOrder, place, tag=f"TAG{place}")
    return world


def _called(record: Record, ends: defaultdict[str, int]) -> Record:
    topic, kind, value = record.topic, record.type, record.value
    if topic == topics.VENUE_REQUESTS.name:
        topic, kind = topics.BROKER_REQUESTS.name, kind.replace("Venue", "Broker")
        value = json.dumps({**json.loads(value), **CALLED}).encode()
    elif topic == topics.EXECUTIONS.name:
        topic = topics.BROKER_EXECUTIONS.name
    offset = ends[topic]
    ends[topic] += 1
    headers = {**record.headers, "ce_type": kind.encode()}
    return replace(record, topic=topic, offset=offset, headers=headers, value=value)


def in_its_book(world: World) -> list[str]:
    return [row.tag for row in world.rows[rows.TradingOrder] if row.status != "DENIED"]


async def test_a_brokers_book_that_has_each_order_once_is_sound() -> None:
    world = at_broker()
    report = await check(world, seen=tuple(in_its_book(world)))
    assert report.passed, report.text()


async def test_an_order_at_a_broker_is_not_missed_in_the_paper_venues_book() -> None:
    report = await check(at_broker())
    assert report.passed, report.text()


async def test_an_order_of_a_broker_that_the_paper_venue_took_is_named() -> None:
    """Its owner would believe in fills that no exchange ever saw."""
    world = at_broker()
    world.rows[rows.VenueOrder].append(busy_world().settle().rows[rows.VenueOrder][0])
    report = await check(world)
    assert report.broken == [Rule.VENUE]
    assert "is in the paper venue's book, and its account is at zerodha" in report.text()


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
