"""Topics emptied before the services start."""

import time
from collections.abc import Collection

from confluent_kafka import OFFSET_END, TopicPartition
from confluent_kafka.admin import AdminClient

from libs.common.clock import stopwatch
from libs.common.messaging.waiting import PASSING

PATIENCE_S = 30.0
_AGAIN_S = 0.3


def empty(bootstrap: str, topics: Collection[str]) -> None:
    """Delete all that they hold. Kafka says that a topic is made a moment before its partitions have a leader who
    deletes anything: that passes.
    """
    until = stopwatch() + PATIENCE_S
    while True:
        try:
            _delete(bootstrap, topics)
        except PASSING:
            if stopwatch() > until:
                raise
            time.sleep(_AGAIN_S)
        else:
            return


def _delete(bootstrap: str, topics: Collection[str]) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    known = admin.list_topics(timeout=10).topics
    ends = [TopicPartition(name, n, OFFSET_END) for name in known.keys() & topics for n in known[name].partitions]
    for deleted in admin.delete_records(ends).values():
        deleted.result(timeout=10)
