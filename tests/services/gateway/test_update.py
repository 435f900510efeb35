"""What an update of the platform leaves as it was."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from libs.common import ids, schemas
from libs.common.contracts.ids import AccountId, UserId
from libs.common.database import connect
from libs.common.settings import load
from libs.common.testing.apps import opened
from libs.common.testing.databases import unmigrated
from services.gateway.app import app
from services.gateway.memory.passwords import Passwords
from services.gateway.settings import GatewaySettings
from services.gateway.store import people
from tests.services.gateway import said
from tests.services.gateway.scene import PASSWORD, Platform, counterparty, forget_counts
from tests.services.gateway.test_orders_api import PLACE

EMAIL = "asha@example.com"
USER, ACCOUNT = UserId(ids.new_id()), AccountId(ids.new_id())


@pytest.fixture
async def url(real_servers: None) -> AsyncIterator[str]:
    """The database of the first version, where somebody has registered and works."""
    async with unmigrated("update") as made:
        connection = await connect(made, "gateway")
        await connection.execute("CREATE SCHEMA gateway")
        await schemas.migrate(made, "gateway", to="gateway_0001")
        user = {"user_id": USER, "email": EMAIL, "username": "asha", "role": "trader", "created_at": said.NOW}
        password_hash = await Passwords(load(GatewaySettings).password_pepper).hash(PASSWORD)
        assert await people.add_user(connection, {**user, "password_hash": password_hash})
        used = "INSERT INTO idempotency_keys VALUES ($1, 'yesterday', '', $2, $3, 201, '{}', $4)"
        await connection.execute(used, USER, ids.new_id(), said.NOW, said.NOW - timedelta(hours=1))
        listed = (
            "INSERT INTO instruments (instrument, exchange, symbol, name, kind, lot_size, tick_size, tradable, words)"
        )
        await connection.execute(
            f"{listed} VALUES ('NSE:SBIN', 'NSE', 'SBIN', 'SBIN', 'EQUITY', 1, 0.05, true, 'sbin')"
        )
        await connection.close()
        yield made


async def test_openalgo_207_who_registered_before_an_update_logs_in_and_orders_after_it(url: str) -> None:
    """Every update broke the login, or the placing of orders."""
    await schemas.migrate(url, "gateway")
    async with opened(app, database_url=url) as runtime:
        await forget_counts()
        platform = Platform(runtime)
        platform.answer = said.yes
        async with counterparty(platform):
            await platform.project(said.account_saved(USER, ACCOUNT))
            client = await platform.client()
            login = await client.post("/api/v2/auth/login", json={"email": EMAIL, "password": PASSWORD})
            assert login.status_code == 200, login.text
            client.headers["Authorization"] = f"Bearer {login.json()['access_token']}"
            order = {
                "account_id": str(ACCOUNT),
                "instrument": "NSE:SBIN",
                "side": "BUY",
                "quantity": 1,
                "product": "MIS",
            }
            placed = await client.post(PLACE, json=order, headers={"Idempotency-Key": "today"})
            assert placed.status_code == 201, placed.text
            [listed] = (await client.get("/api/v2/trading/orders/")).json()["data"]
            assert listed["order_id"] == placed.json()["order_id"]
        await platform.close()
