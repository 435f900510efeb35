"""Signals on a real database, Redis and Kafka, as a sender meets it."""

from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest

from libs.common.clock import FixedClock
from libs.common.contracts.signals import SignalGroup
from libs.common.testing import NOON, deliver, service_app
from services.signals.app import app
from tests.services.signals.making import a_group, save
from tests.services.signals.webhooks import Make


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty alerts at once are decided on a busy machine too. What is heard of a late decision is tested apart."""
    monkeypatch.setenv("SIGNALS_ANSWER_SECONDS", "20")


@pytest.fixture
async def make(pool: asyncpg.Pool) -> Make:
    """Save a group as a request from the gateway would."""

    async def make(**changes: object) -> SignalGroup:
        group = a_group(**changes)
        async with pool.acquire() as connection, connection.transaction():
            await deliver(app, connection, save(group))
        return group

    return make


@pytest.fixture
async def clock() -> FixedClock:
    return FixedClock(NOON)


@pytest.fixture
async def client(pool: asyncpg.Pool, clock: FixedClock) -> AsyncIterator[httpx.AsyncClient]:
    async with service_app(app, clock=clock) as client:
        yield client
