"""Trading with one account, with a stub of a broker behind it, and as the gateway asks it."""

import os
from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest

from libs.common.database import Connection
from libs.common.testing.apps import service_app
from services.trading.app import app
from tests.services.trading.broker_world import SECRET, World, world
from tests.services.trading.hearing import Trading
from tests.services.trading.making import account_save


@pytest.fixture
async def trading(connection: Connection) -> Trading:
    trading = Trading(connection)
    await trading.hears(account_save())
    return trading


@pytest.fixture
async def the_world(pool: asyncpg.Pool) -> AsyncIterator[World]:
    async with world(pool) as made:
        yield made


@pytest.fixture
async def client(pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """Of the internal routes."""
    monkeypatch.setenv("TRADING_VAULT_SECRET", SECRET)
    async with service_app(app) as client:
        client.headers["X-Internal-Token"] = os.environ["INTERNAL_TOKEN"]
        yield client
