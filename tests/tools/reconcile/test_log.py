"""What is on the wire twice is one message; what retention took away is no false alarm."""

from collections.abc import Iterable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import OFFSET_INVALID, TopicPartition

from libs.common.contracts import topics
from libs.common.settings import KafkaSettings
from tests.tools.reconcile.test_checks.seeding import check
from tests.tools.reconcile.world.world import busy_world
from tools.reconcile import Rule, rows
from tools.reconcile.log import MONEY, KafkaLog, LogUnreadable


async def test_the_same_message_twice_on_the_wire_is_no_second_one() -> None:
    world = busy_world().settle()
    for name in ("OrderRequested", "OrderCleared", "OrderSubmitted", "VenueOrderRequested", "FillReported"):
        world.repeat(name)
    report = await check(world)
    assert report.passed, report.text()
    assert report.repeats == 5


async def test_what_retention_took_away_is_no_false_alarm() -> None:
    world = busy_world().settle()
    world.lost = {"trading.events.v1": 20, "risk.order-requests.v1": 3, "walkforward.order-requests.v1": 3}
    world.lost |= {"risk.decisions.v1": 3}
    report = await check(world)
    assert report.passed, report.text()
    assert "the log does not reach back to their beginning" in report.text()


async def test_a_log_that_was_put_back_lacks_what_retention_had_taken_away_before() -> None:
    """It counts from 0 again, so nothing shows that its beginning is missing."""
    world = busy_world().settle()
    for name in ("OrderRequested", "VenueOrderRequested", "VenueModifyRequested"):
        while any(each.type == name for each in world.records):
            world.unsay(name)
    report = await check(world, at=world.now + topics.MONTH)
    assert report.passed, report.text()
    assert "the log does not reach back to their beginning" in report.text()
    report = await check(world)
    assert {Rule.DECIDED, Rule.VENUE, Rule.SIGNALS} <= set(report.broken)


async def test_behind_what_retention_took_away_corruption_is_still_named() -> None:
    world = busy_world().settle()
    world.lost = {"trading.events.v1": 20}
    world.change(rows.TradingPosition, quantity=11)
    assert Rule.POSITIONS in (await check(world)).broken


class Unheard:
    """As librdkafka answers for a broker that dies once it was asked, or is silent: with a number that is no offset."""

    def list_topics(self, timeout: float) -> SimpleNamespace:
        return SimpleNamespace(topics={name: SimpleNamespace(partitions={0: None}) for name in MONEY})

    def list_offsets(
        self, asked: Iterable[TopicPartition], request_timeout: float
    ) -> dict[TopicPartition, Future[Any]]:
        answers = {each: Future[Any]() for each in asked}
        for answer in answers.values():
            answer.set_result(SimpleNamespace(offset=OFFSET_INVALID))
        return answers


def test_a_log_whose_ends_nobody_tells_is_not_taken_for_an_empty_one(monkeypatch: pytest.MonkeyPatch) -> None:
    log = KafkaLog(KafkaSettings(kafka_bootstrap="127.0.0.1:1"))
    monkeypatch.setattr(log, "_admin", Unheard())
    with pytest.raises(LogUnreadable, match="begins or ends"):
        log.spans()
    log.close()
