"""From a request to the event that ends it: publish, wait, answer; once per idempotency key."""

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

import orjson
from fastapi import Request, Response

from libs.common import ids
from libs.common.contracts import topics
from libs.common.contracts.base import Message, RequestRefused
from libs.common.contracts.enums import OrderStatus
from libs.common.contracts.orders import OrderRequested
from libs.common.messaging.errors import MessagingUnavailable, Unconfirmed
from libs.common.problems import UNAVAILABLE, Problem
from libs.common.runtime import Runtime
from libs.common.telemetry import log
from services.gateway.domain import answers
from services.gateway.domain.answers import is_decided
from services.gateway.domain.idempotency import MAX_KEY, Fate, fate, is_final
from services.gateway.domain.roles import Identity
from services.gateway.memory import GatewayMemory
from services.gateway.settings import GatewaySettings
from services.gateway.store import GatewayStore, books, idempotency, queries
from services.gateway.store.rows import Row

_LOOK_S = 0.2
_DYING_S = 0.1
"""The edge repeats a request the moment its instance dies; so long the database may take to notice."""
_REPLAYED = {"Idempotency-Replayed": "true"}
_REMEMBERED = 50_000
"""Keys: what a process takes in minutes, at its fastest."""
_EVENTS: dict[str, type[Message]] = {
    event.__name__: event
    for topic in (
        topics.TRADING_EVENTS,
        topics.ACCOUNTS,
        topics.PANICS,
        topics.TRADING_REFUSALS,
        topics.SIGNAL_GROUPS,
        topics.ALGOS,
        topics.RISK_LIMITS,
        topics.CUSTOM_SYMBOLS,
        topics.CORPORATE_ACTIONS,
    )
    for event in topic.carries
}

T = TypeVar("T")
Run = Callable[[UUID, bool], Awaitable[Response]]
"""Carries a command out under a request id; True when it may have been carried out before."""


class Commands:
    def __init__(self, runtime: Runtime[GatewayStore, GatewayMemory], settings: GatewaySettings) -> None:
        self._runtime = runtime
        self._settings = settings
        self._taken: dict[tuple[UUID, str | None], None] = {}
        """The newest keys of orders that were let in here, oldest first."""

    async def place(self, order: OrderRequested, *, again: bool) -> Row:
        """Send the order and wait until it is decided; past the deadline, the order as far as it is known.

        Once it is sent it may trade, so whatever fails then, the answer is never that nothing was taken.
        """
        order_id = order.order_id
        if again and (row := await self._decided(order_id)):
            return row
        with self._runtime.memory.waiters.for_order(order_id) as future:
            try:
                await self._send(order, order_id)
            except MessagingUnavailable:
                if not future.done():  # else Kafka has it, and only its confirmation is late
                    raise
            try:
                row = await self._wait(future, order_id, lambda: self._decided(order_id))
                return row or await self._open(order)
            except UNAVAILABLE as error:
                log.warning("outcome_not_seen", order_id=str(order_id), error=repr(error))
                return books.row_of_terms(order, OrderStatus.REQUESTED, 0, self._runtime.clock.now())

    async def _open(self, order: OrderRequested) -> Row:
        """The order as far as it is known; the book shows it as requested until its outcome comes."""
        row = books.row_of_terms(order, OrderStatus.REQUESTED, 0, self._runtime.clock.now())
        await books.await_answer(self._runtime.pool, row)
        return await queries.order(self._runtime.pool, order.order_id) or row

    async def ask(
        self, message: Message, request_id: UUID, *ends: type[Message], identity: Identity, again: bool = False
    ) -> Message | None:
        """Send a request and wait for one of the events that end it; None past the deadline.

        A refusal by the owner of the entity becomes a Problem.
        """

        async def look() -> Message | None:
            return await self._ended(request_id, ends)

        found = await look() if again else None
        if found is None:
            with self._runtime.memory.waiters.for_event(request_id, *ends, RequestRefused) as future:
                await self._send(message, request_id, identity)
                try:
                    found = await self._wait(future, request_id, look)
                except UNAVAILABLE as error:
                    log.warning("outcome_not_seen", request_id=str(request_id), error=repr(error))
        if isinstance(found, RequestRefused):
            raise Problem(answers.refusal_status(found.code), found.code, found.reason)
        return found

    async def once(self, request: Request, identity: Identity, run: Run, *, secret: bool = False) -> Response:
        """Carry a command out, only once for an Idempotency-Key.

        The answer to a `secret` command is not kept: asked again it is made anew from what was projected.
        """
        key = request.headers.get("idempotency-key")
        if key is None:
            return await run(ids.new_id(), False)
        if not 0 < len(key) <= MAX_KEY:
            raise Problem(400, "invalid_idempotency_key", f"an idempotency key has 1 to {MAX_KEY} characters")
        fingerprint = await _fingerprint(request)
        request_id = ids.new_id()
        pool, now = self._runtime.pool, self._runtime.clock.now()
        lease = now + timedelta(seconds=self._settings.command_life_s)
        user_id = identity.user_id
        owner = self._runtime.outbox.owner
        claim = await idempotency.claim(pool, user_id, key, fingerprint, request_id, now, lease, owner)
        if claim is None:
            return await self._carry_out(identity, key, request_id, run, again=False, secret=secret)
        found = fate(claim, fingerprint, now)
        if found is Fate.REPLAY:
            return _stored(claim.status or 200, claim.body or b"")
        if found is Fate.OTHER_BODY:
            raise Problem(422, "idempotency_key_reused", f"the idempotency key {key} was used for another request")
        taken = await idempotency.take_over(pool, user_id, key, now, lease, owner)
        if taken is None and claim.owner != owner:
            await asyncio.sleep(_DYING_S)
            taken = await idempotency.take_over(pool, user_id, key, now, lease, owner)
        if taken is None:
            raise _in_flight(key)
        answer = await self._carry_out(identity, key, taken, run, again=True, secret=secret)
        answer.headers.update(_REPLAYED)
        return answer

    def is_repeated(self, request: Request, identity: Identity) -> bool:
        """Whether this process let an order with this Idempotency-Key in: whatever became of it, `once` can tell.

        Of many who are refused the database cannot be asked for each: that would cost more than their orders.
        """
        return (identity.user_id, request.headers.get("idempotency-key")) in self._taken

    async def is_kept(self, request: Request, identity: Identity) -> bool:
        """Whether any process has let a request with this Idempotency-Key in."""
        key = request.headers.get("idempotency-key")
        return key is not None and await idempotency.is_claimed(self._runtime.pool, identity.user_id, key)

    def let_in(self, request: Request, identity: Identity) -> None:
        """From this moment on whoever sends its Idempotency-Key repeats it, though nothing is kept of it yet."""
        key = request.headers.get("idempotency-key")
        if key is None or len(key) > MAX_KEY:
            return
        self._taken[identity.user_id, key] = None
        if len(self._taken) > _REMEMBERED:
            del self._taken[next(iter(self._taken))]

    async def _carry_out(
        self, identity: Identity, key: str, request_id: UUID, run: Run, *, again: bool, secret: bool
    ) -> Response:
        pool = self._runtime.pool
        try:
            answer = await run(request_id, again)
        except Problem as problem:
            answer = problem.response()
        except Exception:  # whatever it was: nobody carries it out any more, and who asks again need not wait
            with contextlib.suppress(*UNAVAILABLE):
                await idempotency.release(pool, identity.user_id, key)
            raise
        try:
            if is_final(answer.status_code) and not secret:
                await idempotency.answer(pool, identity.user_id, key, answer.status_code, bytes(answer.body))
            else:
                await idempotency.release(pool, identity.user_id, key)
        except UNAVAILABLE as error:
            log.warning("answer_not_kept", key=key, error=repr(error))
        return answer

    async def _send(self, message: Message, message_id: UUID, identity: Identity | None = None) -> None:
        user_id = identity.user_id if identity else getattr(message, "user_id", None)
        try:
            await self._runtime.send(message, user_id=user_id, message_id=message_id)
        except Unconfirmed as error:  # it may be carried out: its outcome is waited for as any other's
            log.warning("request_not_confirmed", request_id=str(message_id), error=repr(error))

    async def _wait(
        self, future: "asyncio.Future[T]", request_id: UUID, look: Callable[[], Awaitable[T | None]]
    ) -> T | None:
        """The event as this process projects it; what other instances project is looked up when they say so, or
        five times a second while they cannot say it.
        """
        memory = self._runtime.memory
        try:
            async with asyncio.timeout(self._settings.answer_s):
                if memory.siblings.alone:
                    return await future
                with memory.waiters.nudges(request_id) as nudged:
                    return await _first(future, nudged, look)
        except TimeoutError:
            return await look()

    async def _decided(self, order_id: UUID) -> Row | None:
        row = await self._runtime.memory.orders.at(order_id)
        return row if row and is_decided(row["status"]) else None

    async def _ended(self, request_id: UUID, ends: tuple[type[Message], ...]) -> Message | None:
        found = await self._runtime.memory.endings.at(request_id)
        if found is None:
            return None
        message = _EVENTS[found[0]].model_validate_json(found[1])
        return message if isinstance(message, (*ends, RequestRefused)) else None


async def _first(future: "asyncio.Future[T]", nudged: asyncio.Event, look: Callable[[], Awaitable[T | None]]) -> T:
    while True:
        nudge = asyncio.ensure_future(nudged.wait())
        try:
            await asyncio.wait((future, nudge), timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            nudge.cancel()
        nudged.clear()
        if future.done():
            return future.result()
        found = await look()
        if found is not None:
            return found


async def _fingerprint(request: Request) -> bytes:
    digest = hashlib.sha256(f"{request.method} {request.url.path}\n".encode())
    digest.update(await request.body())
    return digest.digest()


def _in_flight(key: str) -> Problem:
    detail = f"the request with the idempotency key {key} is being carried out"
    return Problem(409, "idempotency_key_in_flight", detail, headers={"Retry-After": "1"})


def _stored(status: int, body: bytes) -> Response:
    media = "application/json" if status < 400 else "application/problem+json"
    return Response(body, status, headers=_REPLAYED, media_type=media)


def pending(request_id: UUID, status_url: str) -> Response:
    """202: it was taken, its outcome is not known yet."""
    content = {"id": str(request_id), "status": "PENDING", "status_url": status_url}
    headers = {"Location": status_url, "Retry-After": "1"}
    return Response(orjson.dumps(content), 202, headers=headers, media_type="application/json")


def pending_request(request_id: UUID) -> Response:
    return pending(request_id, f"/api/v2/system/requests/{request_id}")
