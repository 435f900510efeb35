"""HTTP connections whose requests arrive whole within a time, or end: half a request holds nothing for long.

uvicorn bounds how long an answered connection idles, and nothing before: a client that sends half a request and stops,
or connects and says nothing, would keep its connection, its buffer and its task for ever.
"""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from libs.common.problems import PROBLEM_JSON, Problem

_LOOK_SECONDS = 0.5
_TURNS = 4
"""Turns of the loop in which a connection that was just accepted is read for the first time, if anything came."""


_CONNECTION = "connection"


def allow(scope: MutableMapping[str, Any], seconds: float) -> None:
    """The request of this scope may take so long from now to arrive whole: a file that its sender may send."""
    if (connection := scope.get(_CONNECTION)) is not None:
        connection.allow(seconds)


class Unfinished:
    """The connections of a listener that owe it (the rest of) a request, the longest waiting first."""

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._since: dict[Connection, float] = {}
        self._allowed: dict[Connection, tuple[float, float]] = {}
        """Until when, and how long that is, for those who were told that they may take longer."""
        self._choosing = False

    def __len__(self) -> int:
        return len(self._since) + len(self._allowed)

    def begin(self, connection: "Connection", now: float) -> None:
        """From now on it owes a request. One too many, and the one that waits longest goes: an honest one is quick.

        Only what has come by then is read first: after a moment in which we stood still hundreds are accepted at once,
        and what the honest among them sent is here already.
        """
        self._since.setdefault(connection, now)
        if len(self._since) > self._most and not self._choosing:
            self._choosing = True
            self._choose(_TURNS)

    def _choose(self, turns: int) -> None:
        if turns and len(self._since) > self._most:
            asyncio.get_running_loop().call_soon(self._choose, turns - 1)
            return
        self._choosing = False
        while len(self._since) > self._most:
            self._cut(next(iter(self._since)))

    def allow(self, connection: "Connection", now: float, seconds: float) -> None:
        if self._since.pop(connection, None) is not None:
            self._allowed[connection] = now + seconds, seconds

    def end(self, connection: "Connection") -> None:
        self._since.pop(connection, None)
        self._allowed.pop(connection, None)

    async def watch(self) -> None:
        """End what is late, for as long as the listener lives."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(_LOOK_SECONDS, self._seconds / 2))
            late = loop.time() - self._seconds
            while self._since and (first := next(iter(self._since.items())))[1] <= late:
                self._cut(first[0])
            for connection, (until, seconds) in list(self._allowed.items()):
                if until <= loop.time():
                    self.end(connection)
                    connection.give_up(seconds)

    def _cut(self, connection: "Connection") -> None:
        self.end(connection)
        connection.give_up(self._seconds)


class Connection(HttpToolsProtocol):
    """Made by uvicorn for each connection; the keyword arguments are uvicorn's."""

    def __init__(self, unfinished: Unfinished, **given: Any) -> None:
        super().__init__(**given)
        self._unfinished = unfinished
        self._in_request = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]  # asyncio's word for it is the wider one
        self._unfinished.begin(self, self.loop.time())

    def connection_lost(self, exc: Exception | None) -> None:
        self._unfinished.end(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._may_begin():
            self._unfinished.begin(self, self.loop.time())
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[_CONNECTION] = self  # type: ignore[typeddict-unknown-key]  # for allow()
        self._in_request = True
        if self._may_begin():
            self._unfinished.begin(self, self.loop.time())

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_request = False
        self._unfinished.end(self)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_request:  # the next one was begun meanwhile
            self._unfinished.begin(self, self.loop.time())

    def allow(self, seconds: float) -> None:
        self._unfinished.allow(self, self.loop.time(), seconds)

    def handle_websocket_upgrade(self) -> None:
        self._unfinished.end(self)
        super().handle_websocket_upgrade()

    def give_up(self, seconds: float) -> None:
        """Answer 408 to what was begun and not answered, and close; who waits for the body hears that the client is
        gone. Who said nothing hears nothing: a proxy may have opened the connection for later.
        """
        if self.transport.is_closing():
            self.transport.abort()
            return
        is_unanswered = self.cycle is None or self.cycle.response_complete or not self.cycle.response_started
        if self._in_request and is_unanswered:
            detail = f"the request did not arrive whole within {seconds:g} s; send it again on a new connection"
            body = orjson.dumps(Problem(408, "request_timeout", detail).body())
            head = f"HTTP/1.1 408 Request Timeout\r\ncontent-type: {PROBLEM_JSON}\r\ncontent-length: {len(body)}\r\n"
            self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()

    def _may_begin(self) -> bool:
        """While a request is answered what follows it waits for us, and not we for its sender."""
        return self.cycle is None or self.cycle.response_complete
