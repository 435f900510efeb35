"""The WebSocket: authenticate, subscribe, and be told of every change with its number, and of prices as they move.

docs/decisions/0012-stream.md says why it does not go through ASGI.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Collection
from uuid import UUID

import orjson

from libs.common.database import FAILURES
from libs.common.problems import Problem
from libs.common.telemetry import log
from libs.common.websocket import Open, WebSocket
from services.gateway.api.edge import Edge, GatewayRuntime, Router, edge_in
from services.gateway.api.subscriptions import Wish, fault_of, subscribe, unsubscribe
from services.gateway.domain.roles import Identity
from services.gateway.memory.client import Client
from services.gateway.store import people

PATH = "/api/v2/stream"
AUTHENTICATE_S = 10.0
RECHECK_S = 5.0
MOST_WISHES = 32
MOST_CHARACTERS = 65_536
"""Of the wishes of one client that wait. One at least waits, however long it is."""
UNAUTHENTICATED = 4401
MALFORMED = 4400
TOO_MANY = 4429


router = Router()


@router.get("/stream", include_in_schema=False)
async def asked_without_upgrade() -> None:
    """A WebSocket never comes here: what does was not asked for as one."""
    detail = "this is a WebSocket: connect with ws:// (or wss://) as docs/api.md says"
    raise Problem(426, "upgrade_required", detail, headers={"Upgrade": "websocket"})


class Closing(Exception):
    """End the connection with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def sockets(runtime: GatewayRuntime) -> Open:
    """Who holds the conversations of this process. The routes are made before it, and with them the edge."""

    def begin(socket: WebSocket, path: str) -> Conversation | None:
        return Conversation(socket, edge_in(runtime)) if path == PATH else None

    return begin


class Conversation:
    """One client's. Its wishes are granted one after the other; between them nothing runs for it."""

    __slots__ = ("_client", "_edge", "_room", "_socket", "_task", "_timer", "_wishes")

    def __init__(self, socket: WebSocket, edge: Edge) -> None:
        self._socket = socket
        self._edge = edge
        self._client: Client | None = None
        self._wishes: deque[str] | None = None
        self._task: asyncio.Task[None] | None = None
        self._room: asyncio.Event | None = None
        """For what is answered, while the client takes nothing."""
        late = Closing(UNAUTHENTICATED, f"authenticate within {AUTHENTICATE_S:g} s")
        self._timer: asyncio.TimerHandle | None = asyncio.get_running_loop().call_later(
            AUTHENTICATE_S, self._close, late
        )

    def heard(self, text: str) -> None:
        if self._wishes is None:
            self._wishes = deque()
        self._wishes.append(text)
        if self._task is None:
            self._task = asyncio.create_task(self._grant(), name="stream:wish")
            self._edge.memory.conversing.add(self._task)
            self._task.add_done_callback(self._edge.memory.conversing.discard)
        if self._client is None or self._is_much(self._wishes):  # of a stranger nothing more is kept meanwhile
            self._socket.listen(False)

    @staticmethod
    def _is_much(wishes: Collection[str]) -> bool:
        return len(wishes) >= MOST_WISHES or sum(map(len, wishes)) >= MOST_CHARACTERS

    def writable(self) -> None:
        if self._room is not None:
            self._room.set()
        if self._client is not None:
            self._edge.memory.hub.wake(self._client)

    def ended(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        if self._client is not None:
            self._edge.memory.hub.leave(self._client)
            self._client = None

    async def _grant(self) -> None:
        try:
            while self._wishes:
                await self._answer(_read(self._wishes.popleft()))
                await self._until_taken()
        except Closing as closing:
            self._close(closing)
        except RecursionError:  # orjson reads a little deeper than Python writes
            self._close(Closing(MALFORMED, "a frame is nested too deeply"))
        except FAILURES as error:
            log.warning("stream_failed", error=repr(error))
            self._close(Closing(1011, "this is a fault of ours; reconnect with since"))
        finally:
            self._task = self._wishes = None
            self._socket.listen(True)

    def _close(self, closing: Closing) -> None:
        if self._client is not None:
            self._edge.memory.hub.leave(self._client)
            self._client = None
        self._wishes = None
        self._socket.close(closing.code, closing.reason)

    async def _until_taken(self) -> None:
        """The answers to what is asked by who does not read would all wait here, and be worked out while nobody else
        has a turn.
        """
        await asyncio.sleep(0)  # in which the hub writes
        while self._socket.paused_at is not None:
            self._room = asyncio.Event()
            await self._room.wait()
        self._room = None

    async def _answer(self, wish: Wish) -> None:
        client = self._client
        if client is None:
            await self._authenticate(wish)
            return
        match wish.get("action"):
            case "ping":
                client.say({"type": "pong", "at": self._edge.runtime.clock.now()})
            case "subscribe" | "unsubscribe" if (fault := fault_of(wish)) is not None:
                client.say({"type": "error", "error": fault})
            case "subscribe":
                await subscribe(self._edge, client, wish)
            case "unsubscribe":
                unsubscribe(self._edge, client, wish)
            case "authenticate":
                await self._authenticate_again(client, wish)
            case unknown:
                client.say({"type": "error", "error": f"unknown action {unknown!r}"})
        self._edge.memory.hub.wake(client)

    async def _authenticate(self, wish: Wish) -> None:
        if wish.get("action") != "authenticate":
            raise Closing(UNAUTHENTICATED, "authenticate first")
        identity = await _identify(self._edge, wish)
        hub, most = self._edge.memory.hub, self._edge.settings.stream_connections
        if hub.connections(identity.user_id) >= most:
            raise Closing(TOO_MANY, f"no more than {most} connections of one user")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._client = client = hub.join(identity, self._socket)
        client.say({"type": "authenticated", "user_id": identity.user_id, "role": identity.role})
        hub.wake(client)

    async def _authenticate_again(self, client: Client, wish: Wish) -> None:
        again = await _identify(self._edge, wish)
        if again.user_id != client.user_id:
            raise Closing(UNAUTHENTICATED, "open a new connection for another user")
        client.identity = again
        client.say({"type": "authenticated", "user_id": again.user_id, "role": again.role})


async def recheck(runtime: GatewayRuntime) -> None:
    """A stream outlives its access token, but not its session or key: look every RECHECK_S. Nor does who sends requests
    outlive his session, or his role, whatever Redis remembers.
    """
    while True:
        await asyncio.sleep(RECHECK_S)
        try:
            await recheck_once(edge_in(runtime))
        except FAILURES as error:
            log.warning("stream_recheck_failed", error=repr(error))


async def recheck_once(edge: Edge) -> None:
    """The database is asked, for all of them at once: what Redis remembers of a session may have ended already."""
    clients: dict[UUID, list[Client]] = defaultdict(list)
    for client in edge.memory.hub.clients():
        clients[UUID(client.identity.credential)].append(client)
    sessions = edge.sessions()
    if not clients and not sessions:
        return
    asked = list(clients.keys() | sessions.keys())
    living = await people.living(edge.runtime.pool, asked, edge.runtime.clock.now())
    if changed := [session_id for session_id, role in sessions.items() if living.get(session_id) is not role]:
        await edge.forget_sessions(changed)
    for credential in clients.keys() - living.keys():
        for client in clients[credential]:
            client.outlet.close(UNAUTHENTICATED, "your session or key has ended")


async def _identify(edge: Edge, wish: Wish) -> Identity:
    token, api_key = wish.get("token"), wish.get("api_key")
    try:
        return await edge.identify(
            token=token if isinstance(token, str) else None, api_key=api_key if isinstance(api_key, str) else None
        )
    except Problem as problem:
        raise Closing(UNAUTHENTICATED, problem.detail) from problem


def _read(text: str) -> Wish:
    try:
        wish = orjson.loads(text)
    except ValueError as error:
        raise Closing(MALFORMED, "a frame that is not JSON") from error
    if not isinstance(wish, dict):
        raise Closing(MALFORMED, "a frame is a JSON object")
    return wish
