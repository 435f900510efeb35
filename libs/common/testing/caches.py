"""Redis, for tests that ask it themselves."""

import os

from redis.asyncio import Redis


def patient_redis() -> Redis:
    """It waits as long as it takes: services take a Redis that is slow for one that is away, and do without it. A test
    on a busy machine, or one that stops processes, cannot.
    """
    return Redis.from_url(
        os.environ["REDIS_URL"], decode_responses=True, socket_timeout=None, socket_connect_timeout=None
    )
