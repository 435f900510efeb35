"""Zerodha's order updates over its WebSocket: they make us look at the book at once, and are never believed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from websockets.asyncio.server import ServerConnection, serve

from libs.common.contracts.enums import OrderStatus
from libs.common.contracts.orders import FillReported
from services.trading.adapters.zerodha import updates
from services.trading.settings import KITE_UPDATES, TradingSettings
from services.trading.store.brokers.credentials import Secrets
from tests.services.trading.broker_world import SECRET, TOKEN, World, world

ORDER = '{"type": "order", "data": {"order_id": "1", "status": "COMPLETE"}}'


@dataclass
class Ticker:
    """Kite's WebSocket, as far as orders go."""

    url: str = ""
    asked: list[str] = field(default_factory=list)
    sockets: list[ServerConnection] = field(default_factory=list)

    async def say(self, *frames: str | bytes) -> None:
        for frame in frames:
            await self.sockets[-1].send(frame)

    async def connected(self, times: int) -> None:
        async with asyncio.timeout(10):
            while len(self.sockets) < times:
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def ticking() -> AsyncIterator[Ticker]:
    ticker = Ticker()

    async def connection(socket: ServerConnection) -> None:
        assert socket.request is not None
        ticker.asked.append(socket.request.path)
        ticker.sockets.append(socket)
        await socket.wait_closed()

    async with serve(connection, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        ticker.url = f"ws://127.0.0.1:{port}"
        yield ticker


@contextlib.asynccontextmanager
async def listening(ticker: Ticker) -> AsyncIterator[asyncio.Queue[None]]:
    heard: asyncio.Queue[None] = asyncio.Queue()
    listener = updates.listen(ticker.url, Secrets("the-app", "a&token"), lambda: heard.put_nowait(None), 0.05)
    task = asyncio.create_task(listener)
    await ticker.connected(1)
    await asyncio.wait_for(heard.get(), 5)
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_it_logs_in_with_the_account_s_credentials_and_hears_of_orders_alone() -> None:
    async with ticking() as ticker, listening(ticker) as heard:
        assert ticker.asked == ["/?api_key=the-app&access_token=a%26token"]
        await ticker.say(b"\x00", '{"type": "message", "data": "hello"}', "not JSON", "[]", ORDER)
        await asyncio.wait_for(heard.get(), 5)
        assert heard.empty()


async def test_lean_ib_227_a_connection_that_breaks_is_made_anew_and_what_was_missed_is_looked_for() -> None:
    async with ticking() as ticker, listening(ticker) as heard:
        await ticker.sockets[0].close()
        await ticker.connected(2)
        await asyncio.wait_for(heard.get(), 5)
        await ticker.say(ORDER)
        await asyncio.wait_for(heard.get(), 5)


async def test_accounts_that_were_dropped_together_do_not_come_back_together() -> None:
    came_back: list[float] = []
    loop = asyncio.get_running_loop()
    async with ticking() as ticker:
        tasks = [
            asyncio.create_task(updates.listen(ticker.url, Secrets(f"{n}", "token"), lambda: None, 1.0))
            for n in range(30)
        ]
        await ticker.connected(30)
        dropped = loop.time()
        await asyncio.gather(*(socket.close() for socket in ticker.sockets[:30]))
        for n in range(31, 61):
            await ticker.connected(n)
            came_back.append(loop.time() - dropped)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert came_back[-1] - came_back[0] > 0.4


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_openalgo_788_tries_in_a_row_come_ever_later_up_to_a_minute(attempt: int, drawn: float) -> None:
    pause = updates.wait_before(attempt, 1.0, lambda: drawn)
    assert 0 <= pause <= updates.LONGEST_PAUSE_S
    assert pause == drawn * updates.wait_before(attempt, 1.0, lambda: 1.0)
    assert updates.wait_before(attempt + 1, 1.0, lambda: drawn) >= pause


async def test_a_broker_that_hangs_up_at_once_is_asked_ever_more_rarely() -> None:
    pauses: list[float] = []

    async def hang_up(socket: ServerConnection) -> None:
        pauses.append(asyncio.get_running_loop().time())

    async with serve(hang_up, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        listener = updates.listen(f"ws://127.0.0.1:{port}", Secrets("a", "b"), lambda: None, 0.1, lambda: 1.0)
        task = asyncio.create_task(listener)
        async with asyncio.timeout(10):
            while len(pauses) < 4:
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
    assert pauses[3] - pauses[0] >= 0.1 + 0.2 + 0.4


@pytest.fixture
async def the_world(pool: asyncpg.Pool) -> AsyncIterator[World]:
    async with world(pool) as made:
        yield made


async def test_an_update_brings_the_fill_long_before_the_next_poll_and_repeats_bring_it_once(
    the_world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    account_id = await the_world.account()
    the_world.stub.exchange.fills_market = False
    async with ticking() as ticker:
        number = the_world.start(broker_poll_s=2.0, zerodha_updates_url=ticker.url)
        order = the_world.order(account_id)
        await the_world.tell(order)
        await the_world.becomes(order, OrderStatus.ACCEPTED)
        await ticker.connected(1)
        office, _ = the_world.offices[number]
        await asyncio.sleep(0.6)
        office.desks[account_id]._poll_at += 3600
        [broker_order_id] = the_world.placed(order)
        the_world.stub.exchange.fill(broker_order_id, order.quantity)
        await ticker.say(ORDER, ORDER, ORDER)
        await the_world.becomes(order, OrderStatus.FILLED)
        assert len(the_world.events(order, FillReported)) == 1
        office.desks[account_id].stop()
        async with asyncio.timeout(5):
            await ticker.sockets[0].wait_closed()
    assert TOKEN not in capsys.readouterr().out


def test_only_kite_itself_is_listened_to_unless_another_address_is_given() -> None:
    settings = TradingSettings(vault_secret=SecretStr(SECRET))
    assert settings.updates_url == KITE_UPDATES
    assert settings.model_copy(update={"zerodha_url": "http://127.0.0.1:9"}).updates_url == ""
    assert settings.model_copy(update={"zerodha_updates_url": "ws://other"}).updates_url == "ws://other"
