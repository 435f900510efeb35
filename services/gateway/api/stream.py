"""The WebSocket: authenticate, subscribe, and be told of every change with its number."""

import asyncio
import contextlib
from typing import Any
from uuid import UUID

import orjson
from fastapi import WebSocket, WebSocketDisconnect

from libs.common.problems import Problem
from libs.common.telemetry import log
from services.gateway.api.edge import Edge, Router, edge_of
from services.gateway.domain.roles import Identity
from services.gateway.domain.symbols import instrument_of
from services.gateway.memory.client import TOO_SLOW, Client, TooSlow
from services.gateway.store import instruments, people
from services.gateway.store.changes import CHANNEL_NAMES, Channel

router = Router()
AUTHENTICATE_S = 10.0
RECHECK_S = 30.0
UNAUTHENTICATED = 4401
MALFORMED = 4400


class Closing(Exception):
    """End the connection with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@router.websocket("/stream")
async def stream(socket: WebSocket) -> None:
    edge = edge_of(socket)
    await socket.accept()
    try:
        identity = await _authenticate(socket, edge)
        await _converse(socket, edge, identity)
    except Closing as closing:
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await socket.close(closing.code, closing.reason)
    except WebSocketDisconnect:
        return


async def _authenticate(socket: WebSocket, edge: Edge) -> Identity:
    try:
        async with asyncio.timeout(AUTHENTICATE_S):
            wish = _read(await socket.receive_text())
    except TimeoutError as error:
        raise Closing(UNAUTHENTICATED, f"authenticate within {AUTHENTICATE_S:g} s") from error
    if wish.get("action") != "authenticate":
        raise Closing(UNAUTHENTICATED, "authenticate first")
    return await _identify(edge, wish)


async def _identify(edge: Edge, wish: dict[str, Any]) -> Identity:
    token, api_key = wish.get("token"), wish.get("api_key")
    try:
        return await edge.identify(
            token=token if isinstance(token, str) else None, api_key=api_key if isinstance(api_key, str) else None
        )
    except Problem as problem:
        raise Closing(UNAUTHENTICATED, problem.detail) from problem


async def _converse(socket: WebSocket, edge: Edge, identity: Identity) -> None:
    """Read, write and check the credential at once; the first to end ends all."""
    client = edge.memory.hub.join(identity.user_id, socket.send_text)
    client.say({"type": "authenticated", "user_id": identity.user_id, "role": identity.role})
    tasks = [
        asyncio.create_task(client.write(), name="stream:write"),
        asyncio.create_task(_listen(socket, edge, client, identity), name="stream:read"),
        asyncio.create_task(_recheck(edge, identity), name="stream:recheck"),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            _explain(task)
    finally:
        edge.memory.hub.leave(client)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _explain(task: "asyncio.Task[None]") -> None:
    error = task.exception()
    if isinstance(error, TooSlow):
        raise Closing(TOO_SLOW, "you do not read as fast as you are sent to; reconnect with since") from error
    if error is None or isinstance(error, (WebSocketDisconnect, RuntimeError)):
        raise WebSocketDisconnect(1006)
    if isinstance(error, Closing):
        raise error
    log.warning("stream_failed", error=repr(error))
    raise Closing(1011, "this is a fault of ours; reconnect with since") from error


async def _recheck(edge: Edge, identity: Identity) -> None:
    """A stream outlives its access token, but not its session or key."""
    while True:
        await asyncio.sleep(RECHECK_S)
        credential = UUID(identity.credential)
        if identity.by_key:
            lives = await people.key_lives(edge.runtime.pool, credential)
        else:
            lives = await edge.session_role(credential) is not None
        if not lives:
            raise Closing(UNAUTHENTICATED, "your session or key has ended")


async def _listen(socket: WebSocket, edge: Edge, client: Client, identity: Identity) -> None:
    while True:
        wish = _read(await socket.receive_text())
        match wish.get("action"):
            case "ping":
                client.say({"type": "pong", "at": edge.runtime.clock.now()})
            case "subscribe":
                await _subscribe(edge, client, wish)
            case "unsubscribe":
                _unsubscribe(edge, client, wish)
            case "authenticate":
                again = await _identify(edge, wish)
                if again.user_id != identity.user_id:
                    raise Closing(UNAUTHENTICATED, "open a new connection for another user")
                client.say({"type": "authenticated", "user_id": again.user_id, "role": again.role})
            case unknown:
                client.say({"type": "error", "error": f"unknown action {unknown!r}"})


async def _subscribe(edge: Edge, client: Client, wish: dict[str, Any]) -> None:
    """Acknowledge item by item, then send what the channels hold, or what was missed `since` a number."""
    channels = {name: "ok" if name in CHANNEL_NAMES else "unknown channel" for name in _names(wish, "channels")}
    quotes = await _check_quotes(edge, client, _names(wish, "quotes"))
    client.say({"type": "ack", "action": "subscribe", "channels": channels, "quotes": quotes})
    since = wish.get("since")
    for name, fate in channels.items():
        if fate == "ok":
            number = since.get(name) if isinstance(since, dict) else None
            client.watch(Channel(name), number if isinstance(number, int) else None)
    wanted = [instrument_of(name) for name, fate in quotes.items() if fate == "ok"]
    edge.memory.hub.watch_quotes(client, [instrument for instrument in wanted if instrument])


async def _check_quotes(edge: Edge, client: Client, names: list[str]) -> dict[str, str]:
    read = {name: instrument_of(name) for name in names}
    known = await instruments.known(edge.runtime.pool, [each for each in read.values() if each]) if read else set()
    room = edge.settings.stream_quotes - len(client.instruments)
    fates: dict[str, str] = {}
    for name, instrument in read.items():
        heard = instrument is not None and edge.memory.quotes.ltp(instrument) is not None
        if instrument is None or not (heard or instrument in known):
            fates[name] = "unknown instrument"
        elif instrument not in client.instruments and room <= 0:
            fates[name] = f"no more than {edge.settings.stream_quotes} quotes"
        else:
            fates[name] = "ok"
            room -= instrument not in client.instruments
    return fates


def _unsubscribe(edge: Edge, client: Client, wish: dict[str, Any]) -> None:
    channels = _names(wish, "channels")
    for name in channels:
        if name in CHANNEL_NAMES:
            client.watches.pop(Channel(name), None)
    quotes = _names(wish, "quotes")
    edge.memory.hub.unwatch_quotes(client, [found for name in quotes if (found := instrument_of(name))])
    said = {"channels": dict.fromkeys(channels, "ok"), "quotes": dict.fromkeys(quotes, "ok")}
    client.say({"type": "ack", "action": "unsubscribe", **said})


def _read(text: str) -> dict[str, Any]:
    try:
        wish = orjson.loads(text)
    except ValueError as error:
        raise Closing(MALFORMED, "a frame that is not JSON") from error
    if not isinstance(wish, dict):
        raise Closing(MALFORMED, "a frame is a JSON object")
    return wish


def _names(wish: dict[str, Any], field: str) -> list[str]:
    found = wish.get(field)
    return [name for name in found if isinstance(name, str)][:1000] if isinstance(found, list) else []
