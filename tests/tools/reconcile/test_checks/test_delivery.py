"""What was set aside or waits between the services, and what somebody explained or gave up."""

from dataclasses import replace
from datetime import timedelta

import pytest

from libs.common.contracts.enums import Side
from tests.tools.reconcile.test_checks.seeding import NOWHERE, Corruption, Corruptions, check
from tests.tools.reconcile.world.world import World, busy_world
from tools.reconcile import Rule, rows

CORRUPTIONS = Corruptions()


@CORRUPTIONS.of(Rule.PARKED, "is parked in risk: ValueError: a bug")
def a_message_is_parked(world: World) -> None:
    headers = f'[["ce_id", "{NOWHERE}"], ["ce_type", "OrderRequested"]]'
    parked = rows.ParkedRow(
        1, "risk.order-requests.v1", 0, 3, "key", "OrderRequested", headers, "ValueError: a bug", world.now
    )
    world.common[rows.ParkedRow, "risk"] = [parked]


@CORRUPTIONS.of(Rule.READABLE, "is no ExecutionReported that can be read, and nobody set it aside")
def a_message_cannot_be_read(world: World) -> None:
    record = world.find("ExecutionReported", -1)
    world.records[world.records.index(record)] = replace(record, value=b"{not json")


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=str)
async def test_is_named(corruption: Corruption) -> None:
    await corruption.is_named()


async def test_a_parked_message_that_somebody_explained_breaks_nothing() -> None:
    world = busy_world().settle()
    a_message_is_parked(world)
    assert (await check(world, explained=frozenset({str(NOWHERE)}))).passed


async def test_a_request_that_somebody_discarded_is_not_called_lost() -> None:
    world = busy_world().settle()
    world.request(world.wish(Side.BUY, 1))
    record = world.find("OrderRequested", -1)
    world.common[rows.DiscardedRow, "risk"] = [rows.DiscardedRow(record.topic, 0, record.offset)]
    report = await check(world)
    assert report.passed, report.text()
    assert "somebody gave it up" in report.text()


async def test_what_cannot_be_read_and_was_parked_or_discarded_is_said_and_no_finding() -> None:
    for kind in ("parked", "discarded"):
        world = busy_world().settle()
        record = world.request(world.wish(Side.BUY, 1))
        world.records[-1] = replace(record, value=b"{not json")
        if kind == "discarded":
            world.common[rows.DiscardedRow, "risk"] = [rows.DiscardedRow(record.topic, 0, record.offset)]
        else:
            place, headers = (1, record.topic, 0, record.offset, "key"), f'[["ce_id", "{record.id}"]]'
            parked = rows.ParkedRow(*place, "OrderRequested", headers, "no JSON", world.now)
            world.common[rows.ParkedRow, "risk"] = [parked]
        report = await check(world, explained=frozenset({record.id}))
        assert report.passed, report.text()
        assert (report.unreadable, "it was set aside" in report.text()) == (1, True)


async def test_an_outbox_row_is_named_when_it_is_older_than_a_minute() -> None:
    world = busy_world().settle()
    said_at = world.now - timedelta(seconds=61)
    waiting = rows.OutboxRow("trading.events.v1", "key", NOWHERE, "OrderAccepted", said_at)
    world.common[rows.OutboxRow, "trading"] = [waiting]
    report = await check(world)
    assert Rule.OUTBOX in report.broken
    assert "waits in the outbox of trading for 62 s" in report.text()
