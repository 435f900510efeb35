"""What Zerodha posts about orders: a reason to look at the book, never the truth itself."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest

from libs.common import database
from libs.common.contracts.enums import Broker, OrderStatus
from libs.common.contracts.ids import AccountId
from libs.common.contracts.orders import FillReported, OrderAccepted
from libs.common.ids import new_id
from libs.common.testing import Databases
from services.trading.adapters.zerodha.translate import is_postback
from services.trading.store.brokers.calls import BOOKS
from tests.services.trading.broker_world import World, world
from tests.services.trading.making import USER
from tests.services.trading.test_vault import an_account, body

API_SECRET = "the-app-s-secret"


def posted(secret: str = API_SECRET, **changes: object) -> bytes:
    """As Kite documents it: the order's row, and a checksum over its id, its time and the app's secret."""
    fields: dict[str, object] = {
        "user_id": "AB1234",
        "order_id": "220303000308932",
        "order_timestamp": "2022-03-03 09:24:25",
        "status": "COMPLETE",
        "filled_quantity": 10,
        "app_id": 1234,
    }
    signed = f"{fields['order_id']}{fields['order_timestamp']}{secret}"
    fields["checksum"] = hashlib.sha256(signed.encode()).hexdigest()
    return json.dumps({**fields, **changes}).encode()


def test_a_postback_is_known_by_its_checksum() -> None:
    assert is_postback(posted(), API_SECRET)
    assert is_postback(posted(status="CANCELLED"), API_SECRET)


@pytest.mark.parametrize(
    "wrong",
    [
        posted("another secret"),
        posted(order_id="220303000308933"),
        posted(order_timestamp="2022-03-03 09:24:26"),
        posted(checksum=""),
        posted(checksum="\u00e9"),
        b"",
        b"[]",
        b'{"order_id": "1"}',
    ],
)
def test_what_anybody_else_posts_is_not_one(wrong: bytes) -> None:
    assert not is_postback(wrong, API_SECRET)


async def an_account_with_a_secret(client: httpx.AsyncClient, pool: asyncpg.Pool) -> AccountId:
    account_id = await an_account(pool, Broker.ZERODHA)
    wish = body(user_id=str(USER), api_secret=API_SECRET)
    assert (await client.put(f"/internal/accounts/{account_id}/credentials", json=wish)).status_code == 200
    return account_id


async def test_openalgo_1706_a_postback_tells_every_instance_to_look_and_a_forged_one_nobody(
    client: httpx.AsyncClient, pool: asyncpg.Pool
) -> None:
    account_id = await an_account_with_a_secret(client, pool)
    heard: asyncio.Queue[object] = asyncio.Queue()
    listening = await database.connect(await Databases.url("trading"), "test")
    try:
        await listening.add_listener(BOOKS, lambda *said: heard.put_nowait(said[-1]))
        url = f"/internal/accounts/{account_id}/postback"
        assert (await client.post(url, content=posted("forged"))).status_code == 403
        assert (await client.post(url, content=posted())).status_code == 204
        assert await asyncio.wait_for(heard.get(), 5) == str(account_id)
        assert heard.empty()
    finally:
        await listening.close()


async def test_without_the_app_s_secret_or_an_account_no_postback_is_taken(
    client: httpx.AsyncClient, pool: asyncpg.Pool
) -> None:
    account_id = await an_account(pool, Broker.ZERODHA)
    for each in (account_id, new_id()):
        assert (await client.post(f"/internal/accounts/{each}/postback", content=posted())).status_code == 403
    await client.put(f"/internal/accounts/{account_id}/credentials", json=body(user_id=str(USER)))
    assert (await client.post(f"/internal/accounts/{account_id}/postback", content=posted())).status_code == 403


@pytest.fixture
async def the_world(pool: asyncpg.Pool) -> AsyncIterator[World]:
    async with world(pool) as made:
        yield made


async def test_a_hint_brings_the_fill_long_before_the_next_poll_and_many_hints_bring_it_once(the_world: World) -> None:
    account_id = await the_world.account()
    the_world.stub.exchange.fills_market = False
    number = the_world.start(broker_poll_s=2.0)
    order = the_world.order(account_id)
    await the_world.tell(order)
    await the_world.becomes(order, OrderStatus.ACCEPTED)
    [broker_order_id] = the_world.placed(order)
    office, _ = the_world.offices[number]
    desk = office.desks[account_id]
    desk._poll_at += 3600
    the_world.stub.exchange.fill(broker_order_id, order.quantity)
    for _ in range(20):
        await the_world.pool.execute("SELECT pg_notify($1::text, $2::text)", BOOKS, str(account_id))
    await the_world.becomes(order, OrderStatus.FILLED)
    assert len(the_world.events(order, FillReported)) == len(the_world.events(order, OrderAccepted)) == 1
    assert await the_world.held(account_id) == order.quantity


async def test_a_hint_about_an_account_where_nothing_is_open_reads_nothing(the_world: World) -> None:
    account_id = await the_world.account()
    number = the_world.start()
    await asyncio.sleep(0.1)
    await the_world.pool.execute("SELECT pg_notify($1::text, $2::text)", BOOKS, str(account_id))
    await asyncio.sleep(0.1)
    assert account_id not in the_world.offices[number][0].desks
