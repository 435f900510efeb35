"""The tests here begin on topics without what earlier tests told."""

import os

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from libs.common import ids
from tests.e2e.emptying import empty


@pytest.mark.servers
def test_topics_that_were_made_this_moment_are_emptied() -> None:
    """On a Kafka that was just formatted they are all new: a partition without a leader yet ended every test here."""
    bootstrap = os.environ["KAFKA_BOOTSTRAP"]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for _ in range(20):
        topic = f"emptied{ids.new_id().hex[-12:]}"
        admin.create_topics([NewTopic(topic, 50, 1)])[topic].result(10)
        try:
            empty(bootstrap, {topic})
        finally:
            admin.delete_topics([topic])[topic].result(10)
