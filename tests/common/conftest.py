"""The ledger that tests of the runtime stand on, and a process of it."""

from collections.abc import AsyncIterator

import pytest

from tests.common.instance import Process
from tests.common.ledger import Ledger, new_ledger


@pytest.fixture
async def ledger(real_servers: None) -> AsyncIterator[Ledger]:
    async with new_ledger() as made:
        yield made


@pytest.fixture
async def process(ledger: Ledger) -> AsyncIterator[Process]:
    made = Process(ledger.name, ledger.url, 0)
    yield made
    made.end()
