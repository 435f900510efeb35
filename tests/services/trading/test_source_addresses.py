"""From which address an account's broker is asked: it takes orders from the account's registered one alone."""

import asyncio
import contextlib

import asyncpg
import httpx
import pytest
from websockets.asyncio.server import ServerConnection, serve

from libs.common.clock import SystemClock
from libs.common.contracts.enums import Broker
from libs.common.contracts.enums import OrderStatus as S
from libs.common.contracts.ids import AccountId
from libs.common.contracts.orders import OrderRejected
from services.trading.adapters.zerodha import updates
from services.trading.adapters.zerodha.client import Kite
from services.trading.store import TradingStore
from services.trading.store.brokers.credentials import Secrets, Vault
from tests.services.trading.broker_world import SECRET, TOKEN, World
from tests.services.trading.test_vault import an_account, body

ELSEWHERE = "203.0.113.9"
"""Of a block that is kept for documentation: no machine has it."""


@pytest.mark.parametrize("address", [ELSEWHERE, "2001:db8::9", "0.0.0.0", "::"])  # noqa: S104 - to be refused
async def test_openalgo_1574_ip_drift_blocks_arming(
    client: httpx.AsyncClient, pool: asyncpg.Pool, address: str
) -> None:
    """An account is not given a login while its registered address is not this machine's, and keeps the one it had."""
    account_id = await an_account(pool, Broker.ZERODHA)
    url = f"/internal/accounts/{account_id}/credentials"
    assert (await client.put(url, json=body(source_address="127.0.0.2"))).json()["version"] == 1
    answer = await client.put(url, json=body(source_address=address, access_token="tuesdays"))
    assert (answer.status_code, answer.json()["code"], answer.json()["source_address"]) == (
        422,
        "address_not_ours",
        address,
    )
    assert (await client.put(url, json=body(source_address="my-server"))).status_code == 422
    async with pool.acquire() as connection:
        sealed = await TradingStore(connection).credentials.get(account_id, Broker.ZERODHA)
    assert sealed is not None
    kept = Vault(SECRET).unseal(account_id, Broker.ZERODHA, sealed)
    assert kept == Secrets("kite-app", "todays-token", source_address="127.0.0.2")


async def test_openalgo_1574_an_address_that_was_lost_lets_no_order_leave_from_another(the_world: World) -> None:
    account_id = await the_world.account()
    await log_in(the_world, account_id, ELSEWHERE)
    the_world.start(broker_leave_s=0.5)
    order = the_world.market(account_id)
    await the_world.tell(order)
    await the_world.becomes(order, S.REJECTED)
    assert the_world.arrived(order) == 0
    assert "nothing was sent" in the_world.events(order, OrderRejected)[0].reason
    await log_in(the_world, account_id, "127.0.0.2")
    again = the_world.market(account_id)
    await the_world.tell(again)
    await the_world.becomes(again, S.FILLED)


async def log_in(world: World, account_id: AccountId, address: str) -> None:
    secrets = Secrets(account_id.hex, TOKEN, source_address=address)
    async with world.pool.acquire() as connection:
        await TradingStore(connection).credentials.save(
            account_id,
            Broker.ZERODHA,
            Vault(SECRET).seal(account_id, Broker.ZERODHA, secrets),
            world.runtime.clock.now(),
        )


async def test_openalgo_817_1574_each_account_asks_from_its_own_address() -> None:
    """Orders, books and the socket of updates alike, one process for all accounts."""
    seen: list[tuple[str, str]] = []

    async def book(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        seen.append((head.split("token ")[1].split(":")[0], writer.get_extra_info("peername")[0]))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 31\r\n\r\n")
        writer.write(b'{"status":"success","data": []}')
        await writer.drain()
        writer.close()

    async def socket(connection: ServerConnection) -> None:
        assert connection.request is not None
        seen.append((connection.request.path.split("api_key=")[1][0], connection.remote_address[0]))

    server = await asyncio.start_server(book, "127.0.0.1", 0)
    kite = Kite(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", 2.0, 5.0)
    accounts = [
        Secrets(name, "t", source_address=address) for name, address in (("a", "127.0.0.2"), ("b", "127.0.0.3"))
    ]
    async with server, serve(socket, "127.0.0.1", 0) as sockets:
        for secrets in [*accounts, Secrets("c", "t")]:
            await kite.book(secrets, SystemClock().now())
            url, heard = f"ws://127.0.0.1:{sockets.sockets[0].getsockname()[1]}", asyncio.Event()
            listening = asyncio.create_task(updates.listen(url, secrets, heard.set))
            await asyncio.wait_for(heard.wait(), 5)
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening
        await kite.close()
    assert set(seen) == {("a", "127.0.0.2"), ("b", "127.0.0.3"), ("c", "127.0.0.1")}
