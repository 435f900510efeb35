"""The HTTP side, written on bare connections, since a framework would not let it break them.

Beside Kite's routes it has `GET /stub/placed` (orders by tag), `PUT /stub/faults` (rates, seed, script),
`POST /stub/fill` (order_id, quantity, price) and `POST /stub/elsewhere` (account, exchange, symbol, product, quantity),
for whoever runs it in another process.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

import orjson

from libs.common.clock import Clock, SystemClock
from tools.stub_broker.exchange import Exchange, Refusal, Resting
from tools.stub_broker.faults import Fault, Plan

LONGEST_S = 600.0
NETWORK = {"status": "error", "error_type": "NetworkException", "message": "the OMS does not answer", "data": None}
GENERAL = {"status": "error", "error_type": "GeneralException", "message": "something is broken", "data": None}
BUSY = {"status": "error", "error_type": "NetworkException", "message": "too many requests", "data": None}
NO_MONEY = {"status": "error", "error_type": "MarginException", "message": "insufficient funds", "data": None}


class Cut(Exception):
    """End the connection without a word."""


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode()))

    def account(self, expired: Collection[str]) -> str:
        """Who calls, by the API key."""
        scheme, _, secret = self.headers.get("authorization", "").partition(" ")
        key, _, token = secret.partition(":")
        if scheme != "token" or not key or not token or token in expired:
            raise Refusal("TokenException", "Incorrect `api_key` or `access_token`.", 403)
        return key


@dataclass
class Reply:
    status: int
    content: object
    times: int = 1


@dataclass
class Stub:
    """`late_s`: how long LATE takes; `forget_reads`: for how many readings FORGET hides an order."""

    clock: Clock = field(default_factory=SystemClock)
    plan: Plan = field(default_factory=Plan)
    late_s: float = 0.1
    take_late_s: float = 1.0
    forget_reads: int = 3
    shuffles: bool = False
    repeats_trades: bool = False
    book_faults: list[Fault] = field(default_factory=list)
    position_faults: list[Fault] = field(default_factory=list)
    first_number: int = 1
    expired: set[str] = field(default_factory=set)
    """Access tokens whose day is over."""
    calls: list[tuple[str, str]] = field(default_factory=list)
    received: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.exchange = Exchange(self.clock, first_number=self.first_number)
        self._later: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def listening(self, port: int = 0) -> AsyncIterator[str]:
        """Its base URL."""
        connections: set[asyncio.Task[None]] = set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            connections.add(task)
            task.add_done_callback(connections.discard)
            await self._serve(reader, writer)

        server = await asyncio.start_server(accept, "127.0.0.1", port)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for task in [*connections, *self._later]:
                task.cancel()
            await asyncio.gather(*connections, *self._later, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (call := await _read(reader)) is not None:
                self.calls.append((call.method, call.path))
                reply = await self._answer(call)
                for _ in range(reply.times):
                    writer.write(_encode(reply))
                await writer.drain()
        except (Cut, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, call: Call) -> Reply:
        try:
            if call.path.startswith("/stub/"):
                return self._steer(call)
            return await self._trade(call)
        except Refusal as no:
            content = {"status": "error", "error_type": no.error_type, "message": no.message, "data": None}
            return Reply(no.status, content)

    async def _trade(self, call: Call) -> Reply:
        account = call.account(self.expired)
        match call.method, call.path.strip("/").split("/"):
            case "GET", ["orders"]:
                return await self._book(self.exchange.book(account))
            case "GET", ["trades"]:
                found = self.exchange.trades_of(account)
                return await self._book([*found, *found] if self.repeats_trades else found)
            case "GET", ["portfolio", "positions"]:
                found = self.exchange.positions_of(account)
                return await self._book({"net": found, "day": found}, self.position_faults)
            case "POST", ["orders", "regular"]:
                self.exchange.arrived[call.form.get("tag", "")] += 1
                self.received.set()
                return await self._place(call.form, account, self.plan.next())
            case "PUT", ["orders", "regular", order_id]:
                self.received.set()
                return await self._touch(order_id, lambda: self.exchange.change(order_id, call.form))
            case "DELETE", ["orders", "regular", order_id]:
                self.received.set()
                return await self._touch(order_id, lambda: self.exchange.cancel(order_id))
            case _:
                raise Refusal("GeneralException", f"no route {call.path}", 404)

    async def _book(
        self, rows: list[dict[str, object]] | dict[str, object], faults: list[Fault] | None = None
    ) -> Reply:
        planned = self.book_faults if faults is None else faults
        fault = planned.pop(0) if planned else Fault.NONE
        if fault is Fault.DROP_BEFORE:
            raise Cut
        if fault is not Fault.NONE:
            return Reply(503, NETWORK)
        if self.shuffles and isinstance(rows, list):
            self.plan.dice.shuffle(rows)
        return Reply(200, {"status": "success", "data": rows})

    async def _place(self, form: Mapping[str, str], account: str, fault: Fault) -> Reply:
        if (reply := await self._before(fault)) is not None:
            return reply
        if fault is Fault.TAKE_LATE:
            self._later.add(asyncio.create_task(self._take_late(form, account)))
            await self._keep_silent()
        order = self.exchange.place(form, account)
        if fault is Fault.FILL_FIRST and not order.is_over:
            self.exchange.fill(order.order_id, order.number("quantity"))
        if fault is Fault.FORGET:
            order.hidden_reads = self.forget_reads
        return await self._after(fault, order)

    async def _take_late(self, form: Mapping[str, str], account: str) -> None:
        await asyncio.sleep(self.take_late_s)
        self.exchange.place(form, account)

    async def _touch(self, order_id: str, act: Callable[[], Resting]) -> Reply:
        fault = self.plan.next()
        if fault is Fault.NOT_DONE:
            return Reply(200, {"status": "success", "data": {"order_id": order_id}})
        if (reply := await self._before(fault)) is not None:
            return reply
        return await self._after(fault, act())

    async def _before(self, fault: Fault) -> Reply | None:
        match fault:
            case Fault.TOO_MANY:
                return Reply(429, BUSY)
            case Fault.REFUSED:
                return Reply(400, NO_MONEY)
            case Fault.ERROR_BEFORE:
                return Reply(500, GENERAL)
            case Fault.NAMELESS:
                return Reply(200, {"status": "success", "data": {"order_id": None}})
            case Fault.DROP_BEFORE:
                raise Cut
            case Fault.SILENT_BEFORE:
                await self._keep_silent()
            case _:
                pass
        return None

    async def _after(self, fault: Fault, order: Resting) -> Reply:
        match fault:
            case Fault.DROP_AFTER:
                raise Cut
            case Fault.SILENT_AFTER | Fault.FORGET:
                await self._keep_silent()
            case Fault.ERROR_AFTER:
                return Reply(503, NETWORK)
            case Fault.PAGE_AFTER:
                return Reply(200, "<html>maintenance</html>")
            case Fault.LATE | Fault.FILL_FIRST:
                await asyncio.sleep(self.late_s)
            case _:
                pass
        answer = {"status": "success", "data": {"order_id": order.order_id}}
        return Reply(200, answer, times=2 if fault is Fault.TWICE else 1)

    async def _keep_silent(self) -> None:
        await asyncio.sleep(LONGEST_S)
        raise Cut

    def _steer(self, call: Call) -> Reply:
        match call.method, call.path:
            case "GET", "/stub/placed":
                return Reply(200, {"placed": dict(self.exchange.placed), "arrived": dict(self.exchange.arrived)})
            case "PUT", "/stub/faults":
                wanted = orjson.loads(call.body)
                rates = {Fault(name): float(rate) for name, rate in wanted.get("rates", {}).items()}
                self.plan = Plan(int(wanted.get("seed", 0)), rates)
                self.plan.script.extend(Fault(name) for name in wanted.get("script", []))
                return Reply(200, {})
            case "POST", "/stub/fill":
                wanted = orjson.loads(call.body)
                trade_id = self.exchange.fill(wanted["order_id"], int(wanted["quantity"]), wanted.get("price"))
                return Reply(200, {"trade_id": trade_id})
            case "POST", "/stub/elsewhere":
                wanted = orjson.loads(call.body)
                names = (str(wanted[name]) for name in ("account", "exchange", "symbol", "product"))
                account, exchange, symbol, product = names
                self.exchange.elsewhere.append((account, exchange, symbol, product, int(wanted["quantity"])))
                return Reply(200, {})
            case _:
                raise Refusal("GeneralException", f"no route {call.path}", 404)


async def _read(reader: asyncio.StreamReader) -> Call | None:
    """One request; None when the caller has hung up."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.split("\r\n")
    method, target, _ = first.split(" ")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Call(method, target.partition("?")[0], headers, body)


def _encode(reply: Reply) -> bytes:
    content = reply.content.encode() if isinstance(reply.content, str) else orjson.dumps(reply.content)
    kind = "text/html" if isinstance(reply.content, str) else "application/json"
    head = f"HTTP/1.1 {reply.status} -\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content
