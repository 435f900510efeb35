"""Where volume rules, the reading side: librdkafka hands over thousands of records at once, in a caller's thread.

Instances of a group share the partitions. What was read is committed by whoever read it, once it is safe elsewhere.
A tail reads all of them from now on, and commits nothing.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from libs.common.clock import stopwatch
from libs.common.contracts.base import Topic
from libs.common.messaging.entry import of_librdkafka
from libs.common.messaging.librdkafka import connecting
from libs.common.messaging.reader import PARTITIONS_EVERY_S
from libs.common.settings import KafkaSettings
from libs.common.telemetry import log

_ASK_SECONDS = 10.0
_TAIL_SECONDS = 2.0
"""Who only follows asks again, and must end soon when it is told to."""
_SESSION_SECONDS = 10.0
_GONE_SECONDS = 2 * _SESSION_SECONDS
"""When a reader that ended without a word is none any more, also where Kafka was started anew meanwhile."""
_KEPT_KILOBYTES = 32_768
"""What librdkafka fetches ahead, at most."""


class BulkRecord(Protocol):
    """A record as the client library has it: nothing is copied."""

    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def partition(self) -> int | None: ...
    def offset(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Mark:
    """What is committed of a partition: where to go on, and a text of the reader's own."""

    offset: int
    metadata: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A partition that was given to us: its last commit if it has one within the log, and where the log begins."""

    committed: Mark | None
    first: int


class BulkUnavailable(ConnectionError):
    """Kafka did not answer, or refused: make a new reader, which goes on from the last commit."""


def _note_commit(error: KafkaError | None, _: list[TopicPartition]) -> None:
    """The next commit is a second away. Unheard, a failure would come out of `consume` as something that is not even a
    BaseException: it ends the thread, and its future never hears of that.
    """
    if error is not None:
        log.warning("bulk_commit_failed", error=str(error))


class BulkReader:
    """Every method belongs to one thread, which also runs `assigned` and `revoked`, within `read`.

    `assigned` says where to begin in each partition; `revoked` is the last chance to commit.
    """

    def __init__(
        self,
        topic: Topic,
        kafka: KafkaSettings,
        group: str,
        instance_id: str,
        assigned: Callable[[Mapping[int, Found]], Mapping[int, int]],
        revoked: Callable[[Sequence[int]], None],
    ) -> None:
        self._topic = topic.name
        self._on_assigned = assigned
        self._on_revoked = revoked
        self._consumer = Consumer(
            {
                **connecting(kafka),
                "group.id": group,
                "group.instance.id": f"{group}-{instance_id}",
                "client.id": f"{group}-{instance_id}",
                "session.timeout.ms": int(_SESSION_SECONDS * 1000),
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "on_commit": _note_commit,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 100,
                "queued.max.messages.kbytes": _KEPT_KILOBYTES,
            }
        )
        self._consumer.subscribe([self._topic], on_assign=self._assigned, on_revoke=self._revoked)

    def read(self, most: int, seconds: float) -> Sequence[BulkRecord]:
        """At most so many records, waiting at most so long for them. BulkUnavailable when Kafka fails."""
        return _consume(self._consumer, most, seconds)

    def end(self, partition: int) -> int | None:
        """Where the partition ended at the last fetch; None before the first."""
        _, high = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), cached=True)
        return high if high >= 0 else None

    def commit(self, marks: Mapping[int, Mark], *, wait: bool) -> None:
        offsets = [TopicPartition(self._topic, number, mark.offset, mark.metadata) for number, mark in marks.items()]
        try:
            if offsets and wait:
                self._consumer.commit(offsets=offsets, asynchronous=False)
            elif offsets:
                self._consumer.commit(offsets=offsets)
        except KafkaException as error:
            raise BulkUnavailable(f"Kafka did not keep the commit: {error}") from error

    def close(self) -> None:
        self._consumer.close()

    def _assigned(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        found = {}
        for place in consumer.committed(assigned, timeout=_ASK_SECONDS):
            here = TopicPartition(self._topic, place.partition)
            first, end = consumer.get_watermark_offsets(here, timeout=_ASK_SECONDS)
            # A log that is younger than the commit was made anew.
            within = first <= place.offset <= end
            found[place.partition] = Found(Mark(place.offset, place.metadata or "") if within else None, first)
        starts = self._on_assigned(found)
        consumer.assign([TopicPartition(self._topic, number, offset) for number, offset in starts.items()])

    def _revoked(self, consumer: Consumer, revoked: list[TopicPartition]) -> None:
        self._on_revoked([place.partition for place in revoked])
        consumer.unassign()


class BulkTail:
    """Every partition of a topic from `since` on, for one reader by itself. Every method belongs to one thread."""

    def __init__(self, topic: Topic, kafka: KafkaSettings, since: datetime) -> None:
        self._consumer = Consumer(
            {
                **connecting(kafka),
                "group.id": f"tail-{topic.name}",  # the library wants one; nothing is ever committed to it
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "latest",
                "fetch.wait.max.ms": 250,
                "queued.max.messages.kbytes": _KEPT_KILOBYTES,
            }
        )
        self._topic = topic.name
        at = int(since.timestamp() * 1000)
        try:
            self._known = _partitions(self._consumer, topic.name, _TAIL_SECONDS)
            wanted = [TopicPartition(topic.name, number, at) for number in self._known]
            self._consumer.assign(self._consumer.offsets_for_times(wanted, timeout=_TAIL_SECONDS))
        except KafkaException as error:
            self._consumer.close()
            raise BulkUnavailable(f"Kafka: {error}") from error
        self._looked_at = stopwatch()

    def read(self, most: int, seconds: float) -> Sequence[BulkRecord]:
        """At most so many records, waiting at most so long for them. BulkUnavailable when Kafka fails."""
        if stopwatch() - self._looked_at > PARTITIONS_EVERY_S:
            self._look_for_more()
        return _consume(self._consumer, most, seconds)

    def _look_for_more(self) -> None:
        """What the topic was given meanwhile is read from its beginning: all of it is newer than we are."""
        self._looked_at = stopwatch()
        try:
            found = _partitions(self._consumer, self._topic, _TAIL_SECONDS)
        except KafkaException as error:
            log.warning("partitions_not_asked", error=str(error))
            return
        if new := found - self._known:
            self._consumer.incremental_assign([TopicPartition(self._topic, number, 0) for number in new])
            self._known |= new
            log.info("partitions_added", partitions=sorted((self._topic, number) for number in new))

    def close(self) -> None:
        self._consumer.close()


def has_handled(group: str, topic: Topic, kafka: KafkaSettings, before: datetime) -> bool:
    """Whether the group has committed everything that was published to the topic before that moment. Blocks.

    BulkUnavailable when Kafka does not tell.
    """
    consumer = Consumer({**of_librdkafka(kafka), "group.id": group, "enable.auto.commit": False})
    at = int(before.timestamp() * 1000)
    try:
        wanted = [TopicPartition(topic.name, number, at) for number in _partitions(consumer, topic.name, _ASK_SECONDS)]
        ends = consumer.offsets_for_times(wanted, timeout=_ASK_SECONDS)
        committed = consumer.committed(ends, timeout=_ASK_SECONDS)
        for end, mark in zip(ends, committed, strict=True):
            first, high = consumer.get_watermark_offsets(end, timeout=_ASK_SECONDS)
            if first < high and mark.offset < (end.offset if end.offset >= 0 else high):
                return False
    except KafkaException as error:
        raise BulkUnavailable(f"Kafka does not tell how far {group} has read: {error}") from error
    finally:
        consumer.close()
    return True


def forget(group: str, kafka: KafkaSettings) -> None:
    """The group's next reader begins where the log does. Blocks; who read last counts for some seconds yet.

    BulkUnavailable while somebody reads, or Kafka does not answer.
    """
    admin = AdminClient(connecting(kafka))
    until = stopwatch() + _GONE_SECONDS
    while True:
        try:
            admin.delete_consumer_groups([group], request_timeout=_ASK_SECONDS)[group].result()
        except KafkaException as error:
            match error.args[0].code():
                case KafkaError.GROUP_ID_NOT_FOUND:
                    return
                case KafkaError.NON_EMPTY_GROUP if stopwatch() < until:
                    time.sleep(1)
                case _:
                    raise BulkUnavailable(f"Kafka keeps how far {group} has read: {error}") from error
        else:
            return


def _partitions(consumer: Consumer, topic: str, seconds: float) -> set[int]:
    """Those that there are: operators may have added some. KafkaException while Kafka does not have the topic."""
    found = consumer.list_topics(topic, timeout=seconds).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    return set(found.partitions)


def _consume(consumer: Consumer, most: int, seconds: float) -> Sequence[BulkRecord]:
    try:
        messages = consumer.consume(most, seconds)
    except KafkaException as error:
        raise BulkUnavailable(f"Kafka: {error}") from error
    for message in messages:
        if (failure := message.error()) is not None:
            raise BulkUnavailable(f"Kafka: {failure}")
    return messages
