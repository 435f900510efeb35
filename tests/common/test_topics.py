"""How Kafka keeps what is declared."""

import os

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from libs.common.messaging import admin


@pytest.mark.servers
def test_no_topic_has_a_newest_segment_of_a_gigabyte_or_one_that_outlives_what_it_keeps() -> None:
    """Killed, Kafka reads the newest segments through before it answers: a day's gigabytes, half a minute of a core.
    And an hour's topic kept a week.
    """
    bootstrap = os.environ["KAFKA_BOOTSTRAP"]
    admin.ensure_topics(bootstrap)
    asked = [ConfigResource(ResourceType.TOPIC, topic.name) for topic in admin.all_topics()]
    client = AdminClient({"bootstrap.servers": bootstrap})
    for resource, future in client.describe_configs(asked).items():
        found = {name: int(future.result()[name].value) for name in ("segment.bytes", "segment.ms", "retention.ms")}
        assert found["segment.bytes"] <= 128 * 2**20, resource
        assert found["retention.ms"] == -1 or found["segment.ms"] <= found["retention.ms"], resource
