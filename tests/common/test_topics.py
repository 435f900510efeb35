"""How Kafka keeps what is declared."""

import os
import time
from collections.abc import Callable

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from libs.common.clock import stopwatch
from libs.common.contracts import topics
from libs.common.messaging import admin
from libs.common.messaging.envelope import LARGEST
from libs.common.settings import KafkaSettings


@pytest.mark.servers
def test_no_topic_has_a_newest_segment_of_a_gigabyte_or_one_that_outlives_what_it_keeps() -> None:
    """Killed, Kafka reads the newest segments through before it answers: a day's gigabytes, half a minute of a core.
    And an hour's topic kept a week.
    """
    bootstrap = os.environ["KAFKA_BOOTSTRAP"]
    admin.ensure_topics(KafkaSettings())
    asked = [ConfigResource(ResourceType.TOPIC, topic.name) for topic in admin.all_topics()]
    client = AdminClient({"bootstrap.servers": bootstrap})
    for resource, future in client.describe_configs(asked).items():
        found = {name: int(future.result()[name].value) for name in ("segment.bytes", "segment.ms", "retention.ms")}
        assert found["segment.bytes"] <= 128 * 2**20, resource
        assert found["retention.ms"] == -1 or found["segment.ms"] <= found["retention.ms"], resource


@pytest.mark.servers
def test_every_topic_takes_whatever_a_service_may_say() -> None:
    """On a cluster that takes less a message of an outbox was refused for good, with all that its service said after
    it; what was to take the limit back left it.
    """
    bootstrap, resource = os.environ["KAFKA_BOOTSTRAP"], ConfigResource(ResourceType.TOPIC, topics.ALGOS.name)
    admin.ensure_topics(KafkaSettings())
    client = AdminClient({"bootstrap.servers": bootstrap})

    def until(is_so: Callable[[int], bool]) -> None:
        """The broker hears of it a moment later."""
        deadline = stopwatch() + 5
        while not is_so(int(client.describe_configs([resource])[resource].result()["max.message.bytes"].value)):
            assert stopwatch() < deadline
            time.sleep(0.1)

    less = ConfigEntry("max.message.bytes", "100000", incremental_operation=AlterConfigOpType.SET)
    limited = ConfigResource(ResourceType.TOPIC, topics.ALGOS.name, incremental_configs=[less])
    client.incremental_alter_configs([limited])[limited].result(10)
    until(lambda most: most == 100_000)
    admin.ensure_topics(KafkaSettings())
    until(lambda most: most > LARGEST)
