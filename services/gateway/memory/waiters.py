"""Requests whose clients wait for the event that ends them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from libs.common.contracts.base import Message
from services.gateway.domain.answers import is_decided
from services.gateway.store.changes import Changes
from services.gateway.store.rows import Row


class Waiters:
    """Placed orders wait by order id for their row to be decided, other requests by their id for one of some events.

    Of requests that repeat each other (one Idempotency-Key, one id) the newest waits here; the others look for
    themselves when their time is over.
    """

    def __init__(self) -> None:
        self._orders: dict[UUID, asyncio.Future[Row]] = {}
        self._requests: dict[UUID, tuple[asyncio.Future[Message], tuple[type[Message], ...]]] = {}
        self._nudges: dict[UUID, asyncio.Event] = {}

    @contextmanager
    def for_order(self, order_id: UUID) -> "Iterator[asyncio.Future[Row]]":
        future: asyncio.Future[Row] = asyncio.get_running_loop().create_future()
        self._orders[order_id] = future
        try:
            yield future
        finally:
            if self._orders.get(order_id) is future:
                del self._orders[order_id]

    @contextmanager
    def for_event(self, request_id: UUID, *ends: type[Message]) -> "Iterator[asyncio.Future[Message]]":
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        waits = self._requests[request_id] = (future, ends)
        try:
            yield future
        finally:
            if self._requests.get(request_id) is waits:
                del self._requests[request_id]

    @contextmanager
    def nudges(self, request_id: UUID) -> Iterator[asyncio.Event]:
        """An event that is set when another instance has projected something of this request."""
        event = self._nudges[request_id] = asyncio.Event()
        try:
            yield event
        finally:
            if self._nudges.get(request_id) is event:
                del self._nudges[request_id]

    def resolve(self, changes: Changes) -> None:
        """Answer those whose events this process has projected."""
        if self._orders:
            for order_id, row in changes.orders.items():
                future = self._orders.get(order_id)
                if future is not None and not future.done() and is_decided(row["status"]):
                    future.set_result(row)
        for request_id, message in changes.outcomes.items():
            found = self._requests.get(request_id)
            if found and not found[0].done() and isinstance(message, found[1]):
                found[0].set_result(message)

    def nudge(self, request_ids: list[UUID]) -> None:
        for request_id in request_ids:
            event = self._nudges.get(request_id)
            if event is not None:
                event.set()
