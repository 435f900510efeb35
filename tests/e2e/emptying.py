"""Topics emptied before the services start."""

import time
from collections.abc import Collection, Mapping

from confluent_kafka import OFFSET_END, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from libs.common.clock import stopwatch
from libs.common.messaging.waiting import PASSING

PATIENCE_S = 30.0
_AGAIN_S = 0.3


def empty(bootstrap: str, topics: Collection[str]) -> None:
    """Delete all that they hold. Of a compacted one Kafka deletes nothing, so it is none meanwhile."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    found = policies(admin, admin.list_topics(timeout=10).topics.keys() & topics)
    compacted = {name: policy for name, policy in found.items() if policy != "delete"}
    _set(admin, dict.fromkeys(compacted, "delete"))
    try:
        _delete_patiently(admin, found.keys())
    finally:
        _set(admin, compacted)


def policies(admin: AdminClient, topics: Collection[str]) -> dict[str, str]:
    asked = [ConfigResource(ResourceType.TOPIC, name) for name in topics]
    described = admin.describe_configs(asked) if asked else {}
    return {about.name: str(told.result(timeout=10)["cleanup.policy"].value) for about, told in described.items()}


def _set(admin: AdminClient, wanted: Mapping[str, str]) -> None:
    changes = [
        ConfigResource(
            ResourceType.TOPIC,
            name,
            incremental_configs=[ConfigEntry("cleanup.policy", policy, incremental_operation=AlterConfigOpType.SET)],
        )
        for name, policy in wanted.items()
    ]
    for changed in admin.incremental_alter_configs(changes).values() if changes else ():
        changed.result(timeout=10)


def _delete_patiently(admin: AdminClient, topics: Collection[str]) -> None:
    """Kafka says that a topic is made a moment before its partitions have a leader who deletes anything, and that its
    policy is another a moment before that leader knows: that passes.
    """
    until = stopwatch() + PATIENCE_S
    while True:
        try:
            _delete(admin, topics)
        except PASSING:
            if stopwatch() > until:
                raise
            time.sleep(_AGAIN_S)
        else:
            return


def _delete(admin: AdminClient, topics: Collection[str]) -> None:
    known = admin.list_topics(timeout=10).topics
    ends = [TopicPartition(name, n, OFFSET_END) for name in topics for n in known[name].partitions]
    for deleted in admin.delete_records(ends).values():
        deleted.result(timeout=10)
