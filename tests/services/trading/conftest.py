"""Trading with a stub of a broker behind it."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.services.trading.broker_world import World, world


@pytest.fixture
async def the_world(pool: asyncpg.Pool) -> AsyncIterator[World]:
    async with world(pool) as made:
        yield made
