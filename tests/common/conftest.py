"""The ledger that tests of the runtime stand on."""

from collections.abc import AsyncIterator

import pytest

from tests.common.ledger import Ledger, new_ledger


@pytest.fixture
async def ledger() -> AsyncIterator[Ledger]:
    async with new_ledger() as made:
        yield made
