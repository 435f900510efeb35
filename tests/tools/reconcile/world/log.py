"""The log of a platform on paper: every message that was said, as Kafka would hold it."""

import json
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from libs.common.contracts.base import Message, Topic
from tools.reconcile.record import Record

BEGINNING = datetime(2026, 11, 20, 5, 0, tzinfo=UTC)


class Log:
    """What was said on all topics, in time; and what tests do to it afterwards."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.lost: dict[str, int] = {}
        """How many of a topic's records retention has taken away."""
        self.now = BEGINNING
        self._ids = 0
        self._ends: defaultdict[str, int] = defaultdict(int)

    def new_id(self) -> UUID:
        self._ids += 1
        return UUID(int=0x01A0_0000_0000_7000_8000_0000_0000_0000 + self._ids)

    def say(
        self,
        topic: Topic,
        message: Message,
        message_id: UUID | None = None,
        story: UUID | None = None,
        service: str = "test",
    ) -> Record:
        self.now += timedelta(milliseconds=10)
        own = message_id or self.new_id()
        offset = self._ends[topic.name]
        self._ends[topic.name] += 1
        record = Record(
            topic.name,
            0,
            offset,
            int(self.now.timestamp() * 1000),
            topic.key_of(message),
            {
                "ce_id": str(own).encode(),
                "ce_type": type(message).__name__.encode(),
                "ce_source": f"/services/{service}".encode(),
                "ce_time": self.now.isoformat().encode(),
                "ce_correlationid": str(story or own).encode(),
            },
            message.model_dump_json().encode(),
        )
        self.records.append(record)
        return record

    def find(self, name: str, place: int = 0) -> Record:
        """A message by its type."""
        return [each for each in self.records if each.type == name][place]

    def repeat(self, name: str) -> None:
        """The same message once more on the wire."""
        known = self.find(name)
        self.records.append(replace(known, offset=self._ends[known.topic]))
        self._ends[known.topic] += 1

    def unsay(self, name: str, place: int = 0) -> None:
        """As if a message had never been written."""
        gone = self.find(name, place)
        self._ends[gone.topic] -= 1
        later = [each for each in self.records if each is not gone]
        self.records = [
            replace(each, offset=each.offset - 1) if each.topic == gone.topic and each.offset > gone.offset else each
            for each in later
        ]

    def falsify(self, name: str, place: int = 0, **values: Any) -> None:
        """Other values in a message that was said."""
        record = self.find(name, place)
        body = {**json.loads(record.value), **values}
        changed = replace(record, value=json.dumps(body, default=str).encode())
        self.records[self.records.index(record)] = changed
