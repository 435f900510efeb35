"""Topics as files, a line of JSON per record, and back: `kafka/<topic>/<partition>.<offset of the first>.ndjson.gz`.

What another store keeps better is left out: ticks and quotes, kept some hours, are in QuestDB.
"""

import base64
import contextlib
import gzip
import hashlib
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient, NewPartitions

from libs.common.clock import stopwatch
from libs.common.contracts.topics import HOURS
from libs.common.messaging.admin import all_topics
from libs.common.messaging.entry import of_librdkafka
from libs.common.messaging.inbox import Partition
from libs.common.messaging.log import Logged
from libs.common.settings import KafkaSettings

KEPT = frozenset(t.name for t in all_topics() if t.retention is None or t.retention > HOURS)
FOLDER = "kafka"
FULL = 32 * 2**20
"""Bytes of a piece that is never written again."""
_LEVEL = 1
_PAGE = 2_000
_POLL_EVERY = 1_000
_ANSWER_S = 30.0


class Offsets:
    """Those that a partition's records had, which now count from 0. Kept is where they jump: a log of years has more of
    them than memory.
    """

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._places: list[int] = []
        self._next = -1
        self._count = 0

    def append(self, offset: int) -> None:
        if offset != self._next:
            self._firsts.append(offset)
            self._places.append(self._count)
        self._next = offset + 1
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def place_of(self, offset: int) -> int:
        """Where a reader that was at it goes on: as many records were before it."""
        run = bisect_left(self._firsts, offset) - 1
        if run < 0:
            return 0
        end = self._places[run + 1] if run + 1 < len(self._places) else self._count
        return min(self._places[run] + offset - self._firsts[run], end)

    def __contains__(self, offset: int) -> bool:
        return self.place_of(offset + 1) > self.place_of(offset)


async def pages(partition: AsyncIterator[Logged]) -> AsyncIterator[list[Logged]]:
    page: list[Logged] = []
    async for record in partition:
        page.append(record)
        if len(page) == _PAGE:
            yield page
            page = []
    if page:
        yield page


def write(root: Path, records: list[Logged]) -> None:
    """The next of one partition, behind what is there of it."""
    topic, partition = records[0].topic, records[0].partition
    there = pieces(root, topic, partition)
    path = there[-1] if there else None
    if path is None or path.stat().st_size >= FULL:
        path = root / topic / f"{partition}.{records[0].offset:020}.ndjson.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "ab", compresslevel=_LEVEL) as file:
        file.writelines(orjson.dumps(_line(record)) + b"\n" for record in records)


def pieces(root: Path, topic: str, partition: int) -> list[Path]:
    """In order. Earlier versions wrote one, without the offset in its name."""
    return sorted((root / topic).glob(f"{partition}.*ndjson.gz"))


def first_of(piece: str) -> int:
    """The offset that a piece begins with, by its name."""
    return int(piece.split(".")[1])


def read(root: Path, topic: str, partition: int, begin: int = 0) -> Iterator[Logged]:
    """Without what is before `begin`: Kafka had deleted it, and what comes after it is in the same piece."""
    for path in pieces(root, topic, partition):
        with gzip.open(path) as file:
            for line in file:
                record = _record(topic, partition, orjson.loads(line))
                if record.offset >= begin:
                    yield record


def partitions(root: Path) -> list[Partition]:
    return sorted({(file.parent.name, int(file.name.split(".")[0])) for file in root.glob("*/*.ndjson.gz")})


async def each(root: Path, topic: str, partition: int, begin: int = 0) -> AsyncIterator[Logged]:
    for record in read(root, topic, partition, begin):
        yield record


def checksum(record: Logged) -> str:
    return hashlib.sha256(orjson.dumps(_line(record))).hexdigest()


def put_back(
    root: Path, kafka: KafkaSettings, ends: Iterable[str], begins: Mapping[Partition, int]
) -> dict[Partition, Offsets]:
    """Produce every record to its own partition, in order, at its own time; the offsets that they had. `ends` are all
    partitions that there were, `<topic>/<partition>`, those without a record, too.
    """
    _make_partitions(kafka, ends)
    producer = Producer(
        {
            **of_librdkafka(kafka),
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 20,
            "log_level": 3,  # errors; a Kafka that has just been started has it ask twice for its number
        }
    )
    refused: list[str] = []

    def confirmed(error: KafkaError | None, message: Message) -> None:
        if error:
            refused.append(f"{message.topic()}/{message.partition()}: {error}")

    before: dict[Partition, Offsets] = {}
    for topic, partition in partitions(root):
        offsets = before[topic, partition] = Offsets()
        for n, record in enumerate(read(root, topic, partition, begins.get((topic, partition), 0))):
            offsets.append(record.offset)
            _produce(producer, record, confirmed)
            if n % _POLL_EVERY == 0:
                producer.poll(0)
    producer.flush(120)
    if refused or len(producer):
        raise OSError(f"Kafka did not take everything back: {refused[:3] or len(producer)}")
    return before


def _make_partitions(kafka: KafkaSettings, ends: Iterable[str]) -> None:
    """Operators may have given a topic more than are declared; where a key's messages go follows from their number."""
    had: Counter[str] = Counter()
    for place in ends:
        topic, _, number = place.rpartition("/")
        had[topic] = max(had[topic], int(number) + 1)
    admin, until = AdminClient({**of_librdkafka(kafka), "log_level": 3}), stopwatch() + _ANSWER_S
    while few := _topics_with_fewer(admin, had):
        if stopwatch() > until:
            raise OSError(f"Kafka did not give {', '.join(few)} as many partitions as there were")
        for future in admin.create_partitions([NewPartitions(topic, had[topic]) for topic in few]).values():
            with contextlib.suppress(KafkaException):  # it has them, and has yet to show them
                future.result(_ANSWER_S)
        time.sleep(0.2)


def _topics_with_fewer(admin: AdminClient, than: Mapping[str, int]) -> list[str]:
    there = admin.list_topics(timeout=_ANSWER_S).topics
    return [topic for topic, count in than.items() if topic in there and len(there[topic].partitions) < count]


def _produce(producer: Producer, record: Logged, confirmed: Any) -> None:
    while True:
        try:
            producer.produce(
                record.topic,
                record.value,
                record.key,
                partition=record.partition,
                timestamp=record.timestamp,
                headers=list(record.headers),
                on_delivery=confirmed,
            )
        except BufferError:
            producer.poll(0.5)
        else:
            return


def _line(record: Logged) -> dict[str, object]:
    headers = [[name, _text(value)] for name, value in record.headers]
    return {"o": record.offset, "t": record.timestamp, "k": _text(record.key), "h": headers, "v": _text(record.value)}


def _record(topic: str, partition: int, line: dict[str, Any]) -> Logged:
    headers = [(name, _bytes(value) or b"") for name, value in line["h"]]
    return Logged(topic, partition, line["o"], line["t"], _bytes(line["k"]), headers, _bytes(line["v"]))


def _text(value: bytes | None) -> object:
    """Text as it is; what is no text (a poisoned message) in base64."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return [base64.b64encode(value).decode()]


def _bytes(value: Any) -> bytes | None:
    match value:
        case None:
            return None
        case [encoded]:
            return base64.b64decode(encoded)
        case text:
            return bytes(str(text), "utf-8")
