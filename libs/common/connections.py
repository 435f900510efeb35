"""HTTP connections whose requests arrive whole within a time, or end: half a request holds nothing for long.
Nor does an answer that nobody takes.

uvicorn bounds how long an answered connection idles, and nothing before: a client that sends half a request and stops,
or connects and says nothing, would keep its connection, its buffer and its task for ever. Whoever sends a whole request
promptly is never closed for it, however many do: he is answered, be it with a refusal.
"""

import asyncio
from collections.abc import MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from libs.common.problems import PROBLEM_JSON, Problem

_LOOK_SECONDS = 0.5
_TURNS = 4
"""Turns of the loop in which a connection that was just accepted is read for the first time, if anything came."""


def allow(scope: MutableMapping[str, Any], seconds: float) -> None:
    """The request of this scope may take so long from now to arrive whole: a file that its sender may send."""
    if (connection := scope.get("connection")) is not None:
        connection.allow(seconds)


@dataclass(frozen=True)
class Bounds:
    """What requests that have not arrived whole may hold of a listener, all together."""

    seconds: float
    """How long one may take, from its first byte or from connecting."""
    most: int
    """Connections that may owe a request for longer than the grace."""
    most_at_once: int
    """Connections that may owe one, however young they are: this and the bytes bound the memory."""
    most_bytes: int
    """What all of them have sent so far."""
    grace: float
    """Nobody is closed for the number of the others before this. Whoever sends at once owes nothing by then, however
    many connect with him: thousands of honest clients are refused with an answer, and not hung up on.
    """
    untaken: float
    """How long a client may take nothing of an answer that waits for him."""
    most_untaken: int
    """Bytes of answers that wait for all of them together."""


class Unfinished:
    """The connections of a listener that owe it (the rest of) a request, the longest waiting first."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._since: dict[Connection, float] = {}
        self._allowed: dict[Connection, tuple[float, float]] = {}
        """Until when, and how long that is, for those who were told that they may take longer."""
        self._untaken: dict[Connection, tuple[int, float]] = {}
        """What waits for those who do not take it as fast as it is written, and since when it is so much."""
        self._unsent = 0
        """All of that, as it was when it was last looked at."""
        self._bytes = 0
        self._choosing = False

    def __len__(self) -> int:
        return len(self._since) + len(self._allowed)

    def begin(self, connection: "Connection", now: float) -> None:
        """From now on it owes a request. One too many at once, and the one that waits longest goes.

        Only what has come by then is read first: after a moment in which we stood still hundreds are accepted at once,
        and what the honest among them sent is here already.
        """
        self._since.setdefault(connection, now)
        if len(self._since) > self._bounds.most_at_once and not self._choosing:
            self._choosing = True
            self._choose(_TURNS)

    def _choose(self, turns: int) -> None:
        if turns and len(self._since) > self._bounds.most_at_once:
            asyncio.get_running_loop().call_soon(self._choose, turns - 1)
            return
        self._choosing = False
        while len(self._since) > self._bounds.most_at_once:
            self._cut(next(iter(self._since)), self._too_many())

    def took(self, connection: "Connection", size: int) -> None:
        """So much more of its request is here. Too much of all together, and whoever holds most of it goes."""
        if connection not in self._since:
            return
        connection.held += size
        self._bytes += size
        while self._bytes > self._bounds.most_bytes:
            self._cut(max(self._since, key=lambda each: each.held), self._too_many())

    def allow(self, connection: "Connection", now: float, seconds: float) -> None:
        """Its route answers for what it holds from now on: a file waits on disk."""
        if self._since.pop(connection, None) is not None:
            self._forget(connection)
            self._allowed[connection] = now + seconds, seconds

    def end(self, connection: "Connection") -> None:
        self._allowed.pop(connection, None)
        if self._since.pop(connection, None) is not None:
            self._forget(connection)

    def wait(self, connection: "Connection", now: float) -> None:
        """Its client has to take some of its answer first. Too much of all together, and the longest goes."""
        self.taken(connection)
        unsent = connection.unsent
        self._untaken[connection] = unsent, now
        self._unsent += unsent
        if self._unsent > self._bounds.most_untaken:
            self._relieve()

    def _relieve(self) -> None:
        unsent = {each: each.unsent for each in self._untaken}
        total = sum(unsent.values())
        while total > self._bounds.most_untaken:
            longest = max(unsent, key=unsent.__getitem__)
            total -= unsent.pop(longest)
            self.taken(longest)
            longest.transport.abort()

    def taken(self, connection: "Connection") -> None:
        """Nothing of it is left here, or nobody asks any more."""
        unsent, _ = self._untaken.pop(connection, (0, 0.0))
        self._unsent -= unsent

    def _forget(self, connection: "Connection") -> None:
        self._bytes -= connection.held
        connection.held = 0

    async def watch(self) -> None:
        """End what is late, and of too many those that had their grace, for as long as the listener lives.

        What came while we stood still has been read by then: the loop reads before it looks at its timers.
        """
        loop, bounds = asyncio.get_running_loop(), self._bounds
        while True:
            await asyncio.sleep(min(_LOOK_SECONDS, bounds.seconds / 2, bounds.untaken / 2))
            now = loop.time()
            self._cut_since(now - bounds.seconds, 0, self._too_late(bounds.seconds))
            self._cut_since(now - bounds.grace, bounds.most, self._too_many())
            for connection, (until, seconds) in list(self._allowed.items()):
                if until <= now:
                    self._cut(connection, self._too_late(seconds))
            for connection, (unsent, since) in list(self._untaken.items()):
                if not connection.unsent:
                    self.taken(connection)
                elif connection.unsent < unsent:
                    self.wait(connection, now)
                elif since <= now - bounds.untaken:
                    self.taken(connection)
                    connection.transport.abort()

    def _cut_since(self, late: float, most: int, problem: Problem) -> None:
        while len(self._since) > most and (first := next(iter(self._since.items())))[1] <= late:
            self._cut(first[0], problem)

    def _cut(self, connection: "Connection", problem: Problem) -> None:
        self.end(connection)
        connection.give_up(problem)

    def _too_late(self, seconds: float) -> Problem:
        detail = f"the request did not arrive whole within {seconds:g} s; send it again on a new connection"
        return Problem(408, "request_timeout", detail)

    def _too_many(self) -> Problem:
        detail = "too many requests have not arrived whole; nothing was taken, send this one again, whole"
        return Problem(503, "too_many_unfinished", detail, headers={"Retry-After": "1"})


class Connection(HttpToolsProtocol):
    """Made by uvicorn for each connection; the keyword arguments are uvicorn's."""

    def __init__(self, unfinished: Unfinished, **given: Any) -> None:
        super().__init__(**given)
        self.held = 0
        """Bytes of a request that has not arrived whole."""
        self._unfinished = unfinished
        self._in_request = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]  # asyncio's word for it is the wider one
        self._unfinished.begin(self, self.loop.time())

    @property
    def unsent(self) -> int:
        """Bytes of answers that wait for the client."""
        return self.transport.get_write_buffer_size()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unfinished.wait(self, self.loop.time())

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unfinished.wait(self, self.loop.time())

    def connection_lost(self, exc: Exception | None) -> None:
        self._unfinished.end(self)
        self._unfinished.taken(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._may_begin():
            self._unfinished.begin(self, self.loop.time())
        self._unfinished.took(self, len(data))
        if not self.transport.is_closing():
            super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["connection"] = self  # type: ignore[typeddict-unknown-key]  # for allow()
        self._in_request = True
        if self._may_begin():
            self._unfinished.begin(self, self.loop.time())

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_request = False
        self._unfinished.end(self)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.unsent:  # too little for the server to wait, but its client has to take that, too
            self._unfinished.wait(self, self.loop.time())
        if self._in_request:  # the next one was begun meanwhile
            self._unfinished.begin(self, self.loop.time())

    def allow(self, seconds: float) -> None:
        self._unfinished.allow(self, self.loop.time(), seconds)

    def handle_websocket_upgrade(self) -> None:
        """Not amid an answer: who writes that would never hear that its client is gone."""
        if not self._may_begin():
            self.transport.close()
            return
        self._unfinished.end(self)
        self._unfinished.taken(self)
        super().handle_websocket_upgrade()

    def give_up(self, problem: Problem) -> None:
        """Answer so what was begun and not answered, and close; who waits for the body hears that the client is gone.
        Who said nothing hears nothing: a proxy may have opened the connection for later.
        """
        if self.transport.is_closing():
            self.transport.abort()
            return
        is_unanswered = self.cycle is None or self.cycle.response_complete or not self.cycle.response_started
        if self._in_request and is_unanswered:
            self.transport.write(_last_answer(problem))
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """uvicorn's parser could not read it; what follows on the connection cannot be told from it."""
        detail = "this is no HTTP/1.1 request, or its method, address or length is none that is taken"
        self.transport.write(_last_answer(Problem(400, "malformed", detail)))
        self.transport.close()

    def _may_begin(self) -> bool:
        """While a request is answered what follows it waits for us, and not we for its sender."""
        return self.cycle is None or self.cycle.response_complete


def _last_answer(problem: Problem) -> bytes:
    """Of a connection that is closed after it."""
    body = orjson.dumps(problem.body())
    more = {"content-type": PROBLEM_JSON, "content-length": len(body), "connection": "close", **problem.headers}
    lines = [f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in more.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
