"""A record's partition follows from its key alone, by the rule that every Kafka client has."""

from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from libs.common.messaging.partitioner import partition_for

PARTITIONS = st.integers(1, 64)


@given(st.binary(), PARTITIONS)
def test_a_key_goes_where_other_clients_send_it(key: bytes, count: int) -> None:
    every = list(range(count))
    assert partition_for(key, every, every) == DefaultPartitioner()(key, every, every)


@given(st.binary(), PARTITIONS, PARTITIONS)
def test_a_key_that_was_seen_follows_the_number_of_partitions(key: bytes, before: int, after: int) -> None:
    partition_for(key, range(before), range(before))
    every = list(range(after))
    assert partition_for(key, every, every) == DefaultPartitioner()(key, every, every)


def test_a_record_without_a_key_goes_where_a_partition_is_available() -> None:
    assert {partition_for(None, range(8), [3, 5]) for _ in range(100)} == {3, 5}
