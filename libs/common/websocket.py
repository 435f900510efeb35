"""One WebSocket connection on the service's listener, without ASGI: frames are bytes that many clients may share.

An idle one costs some 6 KB; a task and an application around each would cost five times that. What is read is checked
by the `websockets` library's protocol; what is written are whole frames, made once (`text_frame`). The conversation is
held by whoever `open`s it.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Protocol, cast

import orjson
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import SEND_EOF, State
from websockets.server import ServerProtocol

from libs.common.problems import PROBLEM_JSON, Problem

LARGEST_MESSAGE = 262_144
LARGEST_FIRST_MESSAGE = 8_192
"""Of a client whom nobody knows yet, and who has only to say who he is."""
WRITE_BUFFER = 262_144
"""Bytes that may wait in one connection before `writable` says no."""
CLOSING_SECONDS = 5.0
GOING_AWAY = 1012


class Conversation(Protocol):
    """Who listens to a connection. Nothing here may block; `heard` is called for one message after the other."""

    def heard(self, text: str) -> None: ...

    def writable(self) -> None:
        """What had to wait may be written again."""

    def ended(self) -> None:
        """The connection is gone."""


Open = Callable[["WebSocket", str], Conversation | None]
"""Begins a conversation on a path; None where there is nothing at that path."""


def text_frame(payload: bytes) -> bytes:
    """A whole text frame (RFC 6455, 5.2), unmasked as servers send them."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


class _Frames(ServerProtocol):
    """The longest message is another one once the first is here: what comes right behind it may be in the same read."""

    def recv_frame(self, frame: Frame) -> None:
        super().recv_frame(frame)
        if frame.fin and frame.opcode in (Opcode.TEXT, Opcode.CONT):
            self.max_message_size = LARGEST_MESSAGE


class WebSocket(asyncio.Protocol):
    """Made by uvicorn when a client asks to upgrade; its keyword arguments are uvicorn's."""

    __slots__ = (
        "_connections",
        "_conversation",
        "_ending",
        "_listening",
        "_open",
        "_parts",
        "_protocol",
        "_transport",
        "heard_at",
        "paused_at",
    )

    def __init__(self, open_conversation: Open, *, config: Any, server_state: Any, app_state: Any) -> None:
        self._open = open_conversation
        self._connections: set[object] = server_state.connections
        self._protocol = _Frames(max_size=LARGEST_FIRST_MESSAGE)
        self._transport: asyncio.Transport
        self._conversation: Conversation | None = None
        self._parts: list[bytes] = []
        self._listening = True
        self._ending: asyncio.TimerHandle | None = None
        self.heard_at = 0.0
        self.paused_at: float | None = None
        """Since when the client takes nothing more."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._upgrade(event)
            elif isinstance(event, Frame):
                self._take(event)
        self._flush()
        if self._protocol.close_expected():
            self._end_soon()
        if self._protocol.state is State.CLOSED or self._protocol.parser_exc is not None:
            self._part()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        if self._ending is not None:
            self._ending.cancel()
        conversation, self._conversation = self._conversation, None
        if conversation is not None:
            conversation.ended()

    def pause_writing(self) -> None:
        self.paused_at = asyncio.get_running_loop().time()
        self._read_or_not()

    def resume_writing(self) -> None:
        self.paused_at = None
        self._read_or_not()
        if self._conversation is not None:
            self._conversation.writable()

    def write(self, frames: bytes) -> None:
        """Whole frames, as `text_frame` makes them. Nothing is written once the connection is closing."""
        if self._protocol.state is State.OPEN and not self._transport.is_closing():
            self._transport.write(frames)

    def listen(self, on: bool) -> None:
        """Stop and go on reading: while one message is dealt with the next one waits at its sender."""
        self._listening = on
        self._read_or_not()

    def ping(self) -> None:
        if self._protocol.state is State.OPEN:
            self._protocol.send_ping(b"")
            self._flush()

    def close(self, code: int, reason: str) -> None:
        """Say why, and close when the client has answered, or after CLOSING_SECONDS without it."""
        if self._protocol.state is not State.OPEN:
            self._part()
            return
        self._protocol.send_close(code, reason.encode()[:120].decode(errors="ignore"))
        self._flush()
        self.listen(True)
        self._end_soon()

    def shutdown(self) -> None:
        """uvicorn drains."""
        self.close(GOING_AWAY, "restarting: reconnect with since")
        self._transport.close()

    def _read_or_not(self) -> None:
        """Who takes nothing is not heard either: the answers to what he asks, be it pings, would pile up here."""
        if self._transport.is_closing():
            return
        if self._listening and self.paused_at is None:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _part(self) -> None:
        """Close when what is written has gone out. Who does not take it must not hold the connection by that."""
        self._transport.close()
        self._end_soon()

    def _end_soon(self) -> None:
        if self._ending is None:
            self._ending = asyncio.get_running_loop().call_later(CLOSING_SECONDS, self._transport.abort)

    def _upgrade(self, request: Request) -> None:
        path = request.path.partition("?")[0]
        response = self._protocol.accept(request)
        if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            self._conversation = self._open(self, path)
            if self._conversation is None:
                response = self._protocol.reject(HTTPStatus.NOT_FOUND, "there is no stream at this path")
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            _become_problem(response)
        self._protocol.send_response(response)

    def _take(self, frame: Frame) -> None:
        if frame.opcode is Opcode.BINARY:
            self._protocol.fail(1003, "text frames only")
        elif frame.opcode in (Opcode.TEXT, Opcode.CONT):
            if frame.data:  # the length of a message is bounded, the number of its pieces is not
                self._parts.append(bytes(frame.data))
            if frame.fin:
                self._hear()

    def _hear(self) -> None:
        parts, self._parts = self._parts, []
        try:
            text = b"".join(parts).decode()
        except UnicodeDecodeError:
            self._protocol.fail(1007, "not UTF-8")
            return
        if self._conversation is not None:
            self._conversation.heard(text)

    def _flush(self) -> None:
        parts = self._protocol.data_to_send()
        if self._transport.is_closing():
            return
        if output := b"".join(parts):
            self._transport.write(output)
        if SEND_EOF in parts:
            self._part()


def _become_problem(refusal: Response) -> None:
    """What the library says to people, in the shape of every other error."""
    status = HTTPStatus(refusal.status_code)
    detail = " ".join((refusal.body or b"").decode().split())
    refusal.body = orjson.dumps(Problem(status, status.name.lower(), detail).body())
    for name, value in (("Content-Type", PROBLEM_JSON), ("Content-Length", str(len(refusal.body)))):
        del refusal.headers[name]
        refusal.headers[name] = value
