"""A square-off as risk and the sweep play their part in it."""

from collections.abc import Sequence
from datetime import datetime

from libs.common.contracts.base import Message
from libs.common.contracts.enums import DenialRule
from libs.common.contracts.orders import OrderCleared, OrderDenied, OrderRequested
from libs.common.messaging.work import Work, origin
from services.trading.app import app
from services.trading.handlers.square_offs import sweep
from tests.services.trading.hearing import Trading


def exits(said: Sequence[Message]) -> list[OrderRequested]:
    return [message for message in said if isinstance(message, OrderRequested)]


def clear(request: OrderRequested) -> OrderCleared:
    return OrderCleared(**{**vars(request), "margin": 0})


def deny(request: OrderRequested, rule: DenialRule, limit: str | None = None) -> OrderDenied:
    return OrderDenied(**vars(request), rule=rule, reason="no", limit=limit)


async def tick(trading: Trading, now: datetime) -> Sequence[Message]:
    """What the sweep says at this moment."""
    work = Work(app, trading.memory, trading.connection, now)
    said = await sweep(work.context(origin(app, now)))
    await work.store.write()
    return said
