"""What passes by itself, and waiting for it."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg
from aiokafka.errors import KafkaError
from confluent_kafka import KafkaException

from libs.common.messaging.errors import MessagingUnavailable
from libs.common.telemetry import log

T = TypeVar("T")

PASSING = (
    OSError,
    TimeoutError,
    KafkaError,
    KafkaException,
    MessagingUnavailable,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what a roll-back raises on a connection that broke in the middle of a statement
    asyncpg.PostgresConnectionError,
    asyncpg.PostgresSystemError,
    asyncpg.InvalidTransactionStateError,  # it takes no writes (a standby, a full disk), or ended what stood still
    asyncpg.TransactionRollbackError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.LockNotAvailableError,
    asyncpg.ObjectInUseError,
)
"""Failures that pass: the batch is tried again, nothing is skipped, nothing is parked."""
_AGAIN_S = 0.3


async def until_there(what: str, connect: Callable[[], Awaitable[T]], stopping: asyncio.Event) -> T:
    """Connect, again and again while `what` is away: who would rather die is started anew, with ever longer pauses.

    Raises the failure once the process shall stop.
    """
    while True:
        try:
            return await connect()
        except PASSING as error:
            if stopping.is_set():
                raise
            log.warning("waits_for", what=what, error=repr(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), _AGAIN_S)
