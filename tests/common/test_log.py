"""The log in order of time, whoever has written to it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

import pytest

from libs.common.messaging.envelope import read_envelope
from libs.common.messaging.errors import Undecodable
from libs.common.messaging.log import KafkaLog, LogAway, Logged, in_order_of_time, reading
from libs.common.settings import KafkaSettings
from tests.common.ledger import Ledger, deposit_of

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ZONELESS = b"2026-11-23T12:00:00"


async def partition(number: int, *times: bytes) -> AsyncIterator[Logged]:
    millis = int(NOON.timestamp() * 1000)
    for offset, time in enumerate(times):
        yield Logged("t", number, offset, millis + offset, b"key", [("ce_time", time)], b"{}")


async def test_a_foreign_record_whose_time_has_no_zone_counts_when_kafka_kept_it() -> None:
    """One such record on a topic, parked or discarded long ago, and no rebuild and no replay could begin any more."""
    early, late = (f"2026-11-23T{hour}:00:00+00:00".encode() for hour in ("11", "13"))
    found = [each async for each in in_order_of_time([partition(0, early, late), partition(1, ZONELESS)])]
    assert [(each.partition, each.offset) for each in found] == [(0, 0), (1, 0), (0, 1)]


async def test_kafka_that_goes_away_while_the_log_is_read_ends_the_reading(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup and a rebuild, which holds what it has locked, waited for it as long as it took, without a word."""

    async def nothing(*_: object, **__: object) -> dict[object, object]:
        await asyncio.sleep(0.05)
        return {}

    await ledger.request(deposit_of("a", 1))
    log = KafkaLog(KafkaSettings(), [ledger.requests.name], patience_s=0.5)
    try:
        await log.open()
        monkeypatch.setattr(log._consumer, "getmany", nothing)
        async with asyncio.timeout(5):
            with pytest.raises(LogAway, match="for 0 s"):
                [each for partition in log.partitions() async for each in partition]
    finally:
        await log.close()


async def test_kafka_that_is_away_is_told_as_such() -> None:
    with pytest.raises(LogAway, match="does not answer"):
        async with reading(KafkaSettings(kafka_bootstrap="127.0.0.1:1"), ["t"]):
            pass


async def test_a_topic_that_kafka_does_not_have_is_told_as_such(ledger: Ledger) -> None:
    """A rebuild by a version that adds one, before it is made, ended with a traceback."""
    with pytest.raises(LogAway, match=r"no topic added.by-this-version.v1; .* topics` makes"):
        async with reading(KafkaSettings(), [ledger.requests.name, "added.by-this-version.v1"]):
            pass


def test_a_message_whose_time_has_no_zone_cannot_be_read() -> None:
    """Handlers reckon with aware times alone."""
    own = str(UUID(int=7)).encode()
    headers = [("ce_id", own), ("ce_type", b"X"), ("ce_source", b"/elsewhere"), ("ce_time", ZONELESS)]
    with pytest.raises(Undecodable, match="ce_time"):
        read_envelope(headers, b"key")
