"""Which partition a record goes to: by its key, as every Kafka client has it."""

from collections.abc import Sequence
from functools import lru_cache

from aiokafka.partitioner import DefaultPartitioner, murmur2


def partition_for(key: bytes | None, every: Sequence[int], available: Sequence[int]) -> int:
    """The default partitioner's choice. The same few thousand keys come again and again: each is hashed once,
    since hashing in Python was three hundredths of trading's CPU.
    """
    if key is None:
        return int(DefaultPartitioner()(key, every, available))
    return every[_hashed(key) % len(every)]


@lru_cache(maxsize=65_536)
def _hashed(key: bytes) -> int:
    return int(murmur2(key)) & 0x7FFFFFFF
