"""How a connection begins, how it ends, and what a client that does not read costs the others."""

import asyncio
import contextlib

import asyncpg
import httpx
import jwt
import orjson
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from libs.common.problems import PROBLEM_JSON
from libs.common.testing.apps import served
from libs.common.testing.caches import patient_redis
from libs.common.websocket import WRITE_BUFFER, WebSocket
from services.gateway import streams
from services.gateway.api.edge import edge_in
from services.gateway.api.stream import recheck_once
from services.gateway.app import app
from services.gateway.memory.prices import Mode
from tests.services.gateway.streaming import NIFTY_CHAIN, Live, Reader, option_chain, quotes, watcher
from tests.services.gateway.test_turns import slow_reads, until_waiting


async def test_a_stream_begins_with_a_credential(live: Live) -> None:
    asha = await live.person("asha")
    for frame in ({"action": "subscribe", "channels": ["orders"]}, {"action": "authenticate", "token": "x"}):
        async with live.reader() as reader:
            await reader.say(**frame)
            assert await reader.ended() == 4401
    key = (await asha.client.post("/api/v2/auth/api-keys", json={"name": "bot"})).json()["api_key"]
    async with live.reader() as reader:
        await reader.say(action="authenticate", api_key=key)
        assert (await reader.hear())["user_id"] == str(asha.user_id)


async def test_openalgo_1376_each_item_is_acknowledged_and_unknown_ones_are_named(live: Live) -> None:
    """openalgo#1376: a subscription was acknowledged without a result per symbol."""
    asha = await live.person("asha")
    await streams.quotes([quotes(live, 812.5, "NSE:SBIN")], live.runtime.memory)
    async with live.reader(asha) as reader:
        await reader.say(action="subscribe", channels=["orders", "gossip"], quotes=["NSE:SBIN", "NSE:NOPE", "bad"])
        ack = await reader.hear("ack")
        assert ack["channels"] == {"orders": "ok", "gossip": "unknown channel"}
        assert ack["quotes"] == {"NSE:SBIN": "ok", "NSE:NOPE": "unknown instrument", "bad": "unknown instrument"}
        await reader.say(action="subscribe", channels=[7], quotes=[None], chains=["NIFTY"])
        ack = await reader.hear("ack")
        assert (ack["channels"], ack["quotes"]) == ({"7": "unknown channel"}, {"None": "unknown instrument"})
        assert "exchange" in ack["chains"]["NIFTY"]
        for field in ("channels", "quotes", "chains"):
            for action in ("subscribe", "unsubscribe"):
                await reader.say(action=action, **{field: "orders"})
                assert (await reader.hear("error"))["error"] == f"{field} is a list"
        await reader.say(action="subscribe", quotes=["NSE:NOPE"] * 3_001)
        assert "at most 3000" in (await reader.hear("error"))["error"]
        await reader.say(action="ping")
        assert (await reader.hear("pong"))["at"]
        await reader.say(action="dance")
        assert "dance" in (await reader.hear("error"))["error"]


async def test_a_client_that_does_not_read_is_dropped_and_told_why(live: Live) -> None:
    hub = live.runtime.memory.hub
    client, outlet = watcher(live, await live.person("asha"))
    outlet.paused_at = outlet.heard_at = 1000.0
    hub.sweep(1009.0)
    assert outlet.closed is None
    hub.sweep(1011.0)
    assert outlet.closed is not None
    assert outlet.closed[0] == 4408
    assert "read" in outlet.closed[1]
    hub.leave(client)
    assert len(hub) == 0


async def test_openalgo_1739_of_what_a_slow_client_did_not_read_only_the_newest_waits(live: Live) -> None:
    """Conflation: a thousand updates of two instruments are two frames when the client reads again."""
    hub = live.runtime.memory.hub
    client, outlet = watcher(live, await live.person("asha"))
    hub.watch_topics(client, [hub.prices.topic(Mode.QUOTE, name) for name in ("NSE:SBIN", "NSE:INFY")])
    outlet.paused_at = 1.0
    for n in range(500):
        await streams.quotes([quotes(live, 800 + n, "NSE:SBIN", "NSE:INFY")], live.runtime.memory)
    hub._write()
    assert outlet.written == []
    assert len(client.fresh) == 2
    outlet.paused_at = None
    hub.wake(client)
    await asyncio.sleep(0.02)
    assert b"".join(outlet.written).count(b'"ltp":1299') == 2
    hub.leave(client)
    assert hub.prices.topics == {}


async def test_who_asks_and_does_not_read_is_answered_when_he_reads(live: Live) -> None:
    """Whatever had come was answered at once: what had not gone out waited here, a whole chain for each ask."""
    asha, hub = await live.person("asha"), live.runtime.memory.hub
    strikes = [float(strike) for strike in range(10_000, 15_000)]
    async with live.reader(asha, chains=[NIFTY_CHAIN]) as reader:
        hub.chained([option_chain(live, strikes, atm=12_000, full=True)])
        size = len(orjson.dumps(await reader.hear("snapshot")))
        for _ in range(80):
            await reader.say(action="subscribe", chains=[NIFTY_CHAIN])
        await asyncio.sleep(2)
        [client] = hub.clients()
        assert isinstance(client.outlet, WebSocket)
        held = sum(map(len, client._queue or ())) + client.outlet._transport.get_write_buffer_size()
        assert held < WRITE_BUFFER + 3 * size, f"{held} bytes wait for who does not read, in frames of {size}"
        for _ in range(80):
            assert (await reader.hear("ack"))["chains"] == {"NFO:NIFTY:2026-11-24": "ok"}
            assert len((await reader.hear("snapshot"))["data"]["rows"]) == len(strikes)
        await reader.say(action="ping")
        assert (await reader.hear("pong"))["at"]


async def test_a_stream_ends_with_its_session(live: Live) -> None:
    asha = await live.person("asha")
    async with live.reader(asha) as reader:
        await recheck_once(edge_in(live.runtime))
        await reader.silence()
        await asha.client.post("/api/v2/auth/logout", json={"refresh_token": asha.tokens["refresh_token"]})
        await recheck_once(edge_in(live.runtime))
        assert await reader.ended() == 4401


async def test_a_stream_ends_with_its_key_and_with_its_user_whatever_redis_remembers(live: Live) -> None:
    asha, ravi, vani = [await live.person(name) for name in ("asha", "ravi", "vani")]
    made = (await asha.client.post("/api/v2/auth/api-keys", json={"name": "bot"})).json()
    async with live.reader() as bot, live.reader(ravi) as shut_out, live.reader(vani) as stays:
        await bot.say(action="authenticate", api_key=made["api_key"])
        assert (await bot.hear())["type"] == "authenticated"
        session = jwt.decode(ravi.tokens["access_token"], options={"verify_signature": False})["sid"]
        assert (await asha.client.delete(f"/api/v2/auth/api-keys/{made['key_id']}")).status_code == 204
        url = f"/api/v2/admin/users/{ravi.user_id}"
        assert (await asha.client.put(url, json={"active": False})).status_code == 200
        async with patient_redis() as redis:
            await redis.set(live.runtime.memory.cache.name(f"session:{session}"), "trader", ex=60)
        await recheck_once(edge_in(live.runtime))
        assert (await bot.ended(), await shut_out.ended()) == (4401, 4401)
        await stays.silence()


async def test_while_it_is_looked_up_who_somebody_is_nothing_more_of_him_is_kept(
    live: Live, pool: asyncpg.Pool
) -> None:
    """Whoever sent a made up key could leave eight megabytes here, on each of thousands of connections."""
    async with slow_reads(pool, "api_keys"), connect(live.url.replace("http", "ws") + "/api/v2/stream") as socket:
        await socket.send(orjson.dumps({"action": "authenticate", "api_key": "made up"}).decode())
        await until_waiting(pool, 1)

        async def flood() -> None:
            for _ in range(40):
                await socket.send("x" * 250_000)

        flooding = asyncio.create_task(flood())
        done, _ = await asyncio.wait({flooding}, timeout=3)
        assert not done, "ten megabytes were taken from a stranger"
        flooding.cancel()
        await asyncio.wait({flooding})


async def test_what_a_client_asks_meanwhile_waits_at_its_sender_and_not_here(live: Live, pool: asyncpg.Pool) -> None:
    """One user could leave eight megabytes on each of his hundred connections, while his first wishes were granted."""
    asha = await live.person("asha")
    async with live.reader(asha) as reader, slow_reads(pool, "instruments"):
        await reader.say(action="subscribe", quotes=["NSE:SBIN"])
        await until_waiting(pool, 1)

        async def flood() -> None:
            for _ in range(24):
                await reader.say(action="ping", said="x" * 250_000)

        flooding = asyncio.create_task(flood())
        done, _ = await asyncio.wait({flooding}, timeout=3)
        assert not done, "six megabytes were taken"
        flooding.cancel()
        await asyncio.wait({flooding})


async def test_where_no_stream_is_no_connection_is_made(live: Live) -> None:
    with pytest.raises(InvalidStatus, match="404") as refused:
        await connect(live.url.replace("http", "ws") + "/api/v2/elsewhere")
    response = refused.value.response
    assert response.headers["content-type"] == PROBLEM_JSON
    assert (orjson.loads(response.body)["status"], orjson.loads(response.body)["code"]) == (404, "not_found")
    async with httpx.AsyncClient(base_url=live.url) as client:
        answer = await client.get("/api/v2/stream", headers={"Connection": "Upgrade", "Upgrade": "websocket"})
    assert (answer.status_code, answer.headers["content-type"]) == (400, PROBLEM_JSON)
    assert "Sec-WebSocket-Key" in answer.json()["detail"]
    answer = await (await live.client()).get("/api/v2/stream")
    assert (answer.status_code, answer.headers["content-type"]) == (426, PROBLEM_JSON)
    assert (answer.headers["Upgrade"], answer.json()["code"]) == ("websocket", "upgrade_required")


async def test_a_stopping_gateway_says_goodbye(pool: asyncpg.Pool) -> None:
    async with served(app) as (url, _):
        socket = await connect(url.replace("http", "ws") + "/api/v2/stream")
    with contextlib.suppress(ConnectionClosed):
        await socket.recv()
    assert socket.close_code == 1012


async def test_a_frame_that_is_no_wish_ends_the_stream(live: Live) -> None:
    for wrong, code in (("{", 4400), ("[1]", 4400), (b"\x00", 1003)):
        async with connect(live.url.replace("http", "ws") + "/api/v2/stream") as socket:
            await socket.send(wrong)
            assert await Reader(socket).ended() == code


@pytest.mark.parametrize("wish", ['{"action": %s}', '{"action": "subscribe", "channels": [%s]}'])
async def test_a_wish_that_is_nested_too_deeply_to_be_told_ends_the_stream(live: Live, wish: str) -> None:
    """Seen: it was never answered, nor was what its client had asked for right after it."""
    asha = await live.person("asha")
    async with connect(live.url.replace("http", "ws") + "/api/v2/stream") as socket:
        await socket.send(orjson.dumps({"action": "authenticate", "token": asha.tokens["access_token"]}).decode())
        await socket.send(wish % ("[" * 1_000 + "]" * 1_000))
        assert await Reader(socket).ended() == 4400
