"""One active account and a market, before the first message of each test."""

import pytest

from libs.common.database import Connection
from tests.services.risk.scene import Scene


@pytest.fixture
async def scene(connection: Connection) -> Scene:
    return await Scene(connection).open()
