import asyncio

import pytest
from websockets.asyncio.server import ServerConnection, serve

from tools.client import Away
from tools.stream import Stream


async def test_a_gateway_that_tells_nothing_is_away_and_nobody_goes_on_reading() -> None:
    async def mute(connection: ServerConnection) -> None:
        async for _ in connection:
            pass

    before = asyncio.all_tasks()
    async with serve(mute, "127.0.0.1", 0) as server:
        host, port = next(iter(server.sockets)).getsockname()[:2]
        with pytest.raises(Away, match="orders, fills"):
            async with Stream(f"ws://{host}:{port}", "key", ("orders", "fills"), patience=0.3):
                pass
    assert {task for task in asyncio.all_tasks() - before if "_read_for_ever" in repr(task)} == set()


async def test_why_a_gateway_hangs_up_is_told() -> None:
    async def refuse(connection: ServerConnection) -> None:
        await connection.close(4401, "no such key")

    async with serve(refuse, "127.0.0.1", 0) as server:
        host, port = next(iter(server.sockets)).getsockname()[:2]
        with pytest.raises(Away, match="it said: no such key"):
            async with Stream(f"ws://{host}:{port}", "key", ("orders",), patience=3.0):
                pass


async def test_it_goes_past_the_proxy_that_the_machine_has_for_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def tell(connection: ServerConnection) -> None:
        async for _ in connection:
            await connection.send('{"channel": "orders", "seq": 1, "data": []}')

    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with serve(tell, "127.0.0.1", 0) as server:
        host, port = next(iter(server.sockets)).getsockname()[:2]
        async with Stream(f"ws://{host}:{port}", "key", ("orders",), patience=3.0) as stream:
            assert stream.heard == []
