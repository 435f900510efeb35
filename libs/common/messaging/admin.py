"""Topics as declared, made or altered on the cluster."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
    TopicMetadata,
)

from libs.common.contracts import topics as declared
from libs.common.contracts.base import Topic
from libs.common.messaging.entry import of_librdkafka
from libs.common.settings import KafkaSettings

_TIMEOUT_S = 30
_DAY, _WEEK, _MONTHS = timedelta(days=1), timedelta(days=7), timedelta(days=60)
_SEGMENT = 32 * 2**20
"""Bytes. Killed, Kafka reads the newest segment of each partition through before it answers, 5 ms of CPU a megabyte."""
_LARGEST = 1_048_588
"""Bytes of a batch: what Kafka takes by itself, and `envelope` counts on, whatever the cluster takes by itself."""
_LONG_SEGMENT = 128 * 2**20
"""Of what is kept for years: each segment is open, in two maps of memory too, of which Linux allows 65,530."""


def all_topics() -> list[Topic]:
    return [value for value in vars(declared).values() if isinstance(value, Topic)]


def _config(topic: Topic) -> dict[str, str]:
    """Only whole segments are dropped or compacted, and never the newest: by itself Kafka has it grow for a week."""
    is_kept_long = not topic.compacted and (topic.retention is None or topic.retention > _MONTHS)
    return {
        "cleanup.policy": "compact" if topic.compacted else "delete",
        "retention.ms": _milliseconds(topic.retention) if topic.retention and not topic.compacted else "-1",
        "max.message.bytes": str(_LARGEST),
        "segment.bytes": str(_LONG_SEGMENT if is_kept_long else _SEGMENT),
        "segment.ms": _milliseconds(_DAY if topic.compacted else min(topic.retention or _WEEK, _WEEK)),
    }


def _milliseconds(time: timedelta) -> str:
    return str(int(time.total_seconds() * 1000))


class TooFewCopies(Exception):
    """Topics that are there are kept on fewer nodes than is asked for; says which, and what to do."""


def ensure_topics(kafka: KafkaSettings, *, replication: int = 1, min_insync: int = 1) -> list[str]:
    """Create what is missing, grow partitions and alter retention of what differs; what was done, a line each.

    Raises TooFewCopies, all of that done: whoever asks for three would take what is on one for safe.
    """
    admin = AdminClient({**of_librdkafka(kafka), "log_level": 3})  # errors; not what it tidies up as it ends
    existing = admin.list_topics(timeout=_TIMEOUT_S).topics
    wanted = all_topics()
    missing = [t for t in wanted if t.name not in existing]
    _create(admin, missing, replication, min_insync)
    done = [f"created {t.name} ({t.partitions} partitions)" for t in missing]
    present = [t for t in wanted if t.name in existing]
    grown = [t for t in present if len(existing[t.name].partitions) < t.partitions]
    if grown:
        _wait(admin.create_partitions([NewPartitions(t.name, t.partitions) for t in grown]))
        done += [f"grew {t.name} to {t.partitions} partitions" for t in grown]
    _alter(admin, {t.name: _config(t) for t in present})
    asked = max(replication, min_insync)
    few = {t.name: copies for t in present if (copies := _copies(existing[t.name])) < asked}
    if few:
        name, copies = next(iter(few.items()))
        raise TooFewCopies(
            f"{name} (and {len(few) - 1} more) is there already, on {copies} of {asked} nodes, and only Kafka's own "
            "kafka-reassign-partitions copies it: docs/operations.md, A cluster"
        )
    if min_insync > 1:  # never fewer, for whoever did not say how many
        _alter(admin, {t.name: {"min.insync.replicas": str(min_insync)} for t in present})
    return done


def _copies(topic: TopicMetadata) -> int:
    return min(len(partition.replicas) for partition in topic.partitions.values())


def _create(admin: AdminClient, missing: list[Topic], replication: int, min_insync: int) -> None:
    new = [
        NewTopic(
            t.name,
            num_partitions=t.partitions,
            replication_factor=replication,
            config={**_config(t), "min.insync.replicas": str(min_insync)},
        )
        for t in missing
    ]
    if new:
        _wait(admin.create_topics(new, operation_timeout=_TIMEOUT_S))


def _alter(admin: AdminClient, configs: Mapping[str, Mapping[str, str]]) -> None:
    resources = [
        ConfigResource(
            ResourceType.TOPIC,
            topic,
            incremental_configs=[
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in config.items()
            ],
        )
        for topic, config in configs.items()
    ]
    if resources:
        _wait(admin.incremental_alter_configs(resources))


def _wait(futures: dict[Any, Any]) -> None:
    for future in futures.values():
        future.result(timeout=_TIMEOUT_S)
