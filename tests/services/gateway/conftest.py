"""The fixture that every test of the gateway's API stands on."""

import os
from collections.abc import AsyncIterator

import asyncpg
import pytest

from libs.common.testing.apps import opened, served
from services.gateway.app import app
from tests.services.gateway.scene import Platform, counterparty, forget_counts
from tests.services.gateway.streaming import Live

os.environ.setdefault("GATEWAY_WEBHOOK_SECRET", "a secret of thirty-two characters")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that waits for outcomes as long as a busy machine needs for very many at once."""
    monkeypatch.setenv("GATEWAY_ANSWER_S", "20")


@pytest.fixture
async def platform(pool: asyncpg.Pool) -> AsyncIterator[Platform]:
    async with opened(app) as runtime:
        await forget_counts()
        platform = Platform(runtime)
        async with counterparty(platform):
            yield platform
        await platform.close()


@pytest.fixture
async def live(pool: asyncpg.Pool) -> AsyncIterator[Live]:
    async with served(app) as (url, runtime):
        await forget_counts()
        live = Live(runtime)
        live.url = url
        yield live
        await live.close()
