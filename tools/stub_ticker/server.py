"""The server: it says what it is told to, answers for quotes, keeps what clients said, and misbehaves on demand."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

import orjson
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

HEARTBEAT = b"\x00"
HEARTBEAT_SECONDS = 0.2


@dataclass
class StubTicker:
    """`tokens` of each standing connection are what it subscribed to; `login` is the one that is good today."""

    login: str = "today"
    mute: bool = False
    """Heartbeats only, whatever happens to the market."""
    heartbeats: bool = True
    most: int | None = None
    """How many connections may stand at once, if not any number."""
    logins: list[str] = field(default_factory=list)
    tokens: dict[ServerConnection, set[int]] = field(default_factory=dict)
    quotes: dict[str, dict[str, object]] = field(default_factory=dict)
    """What `/quote` answers, by the token that it is asked for."""
    quotes_status: HTTPStatus = HTTPStatus.OK
    asked: list[list[str]] = field(default_factory=list)
    """The tokens of each question for quotes."""
    subscriptions: int = 0
    """How many words of subscription came, those of lost connections included."""
    _server: Server | None = None

    @property
    def address(self) -> str:
        assert self._server is not None, "not running"
        host, port = next(iter(self._server.sockets)).getsockname()[:2]
        return f"ws://{host}:{port}"

    @property
    def quotes_address(self) -> str:
        return self.address.replace("ws", "http", 1)

    @property
    def subscribed(self) -> set[int]:
        return set().union(*self.tokens.values())

    @contextlib.asynccontextmanager
    async def running(self) -> "AsyncIterator[StubTicker]":
        async with serve(self._serve, "127.0.0.1", 0, process_request=self._admit) as self._server:
            yield self

    async def say(self, frame: bytes, token: int | None = None) -> None:
        """To every connection that subscribed to `token`, or to all."""
        if self.mute:
            return
        for connection, tokens in list(self.tokens.items()):
            if token is None or token in tokens:
                await connection.send(frame)

    async def drop_all(self) -> None:
        """As a broker's server does at three in the morning."""
        for connection in list(self.tokens):
            connection.transport.abort()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        address = urlsplit(request.path)
        if address.path == "/quote":
            return self._quotes(parse_qs(address.query).get("i", []), request.headers.get("Authorization", ""))
        said = parse_qs(address.query).get("access_token", [""])[0]
        self.logins.append(said)
        return None if said == self.login else connection.respond(HTTPStatus.FORBIDDEN, "token expired\n")

    def _quotes(self, tokens: list[str], authorization: str) -> Response:
        self.asked.append(tokens)
        status = self.quotes_status if authorization.endswith(f":{self.login}") else HTTPStatus.FORBIDDEN
        found = {token: self.quotes[token] for token in tokens if token in self.quotes}
        body = orjson.dumps({"status": "success", "data": found} if status is HTTPStatus.OK else {"status": "error"})
        headers = Headers({"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"})
        return Response(status.value, status.phrase, headers, body)

    async def _serve(self, connection: ServerConnection) -> None:
        if self.most is not None and len(self.tokens) >= self.most:
            return
        tokens = self.tokens[connection] = set()
        beating = asyncio.create_task(self._beat(connection))
        try:
            async for said in connection:
                word = orjson.loads(said)
                match word["a"]:
                    case "subscribe":
                        self.subscriptions += 1
                        tokens.update(word["v"])
                    case "unsubscribe":
                        tokens.difference_update(word["v"])
                    case _:
                        pass
        finally:
            beating.cancel()
            del self.tokens[connection]

    async def _beat(self, connection: ServerConnection) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            if self.heartbeats:
                await connection.send(HEARTBEAT)
