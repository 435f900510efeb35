"""What passes by itself, and waiting for it."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import asyncpg
from aiokafka.errors import KafkaError, OutOfOrderSequenceNumber
from confluent_kafka import KafkaException

from libs.common.messaging.entry import Refused
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
    asyncpg.InvalidCachedStatementError,  # a migration changed what it reads: it is prepared anew the next time
)
"""Failures that pass: the batch is tried again, nothing is skipped, nothing is parked."""
_REFUSALS = (
    asyncpg.InvalidAuthorizationSpecificationError,  # a wrong password is one
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    ValueError,  # an address that cannot be read
    Refused,
)
"""What comes until a person has done something: about an address, a password, a schema that was not migrated."""
_AGAIN_S = 0.3


class NotThere(Exception):
    """What was waited for in vain: by the name of each server, what it last answered."""

    def __init__(self, faults: Mapping[str, BaseException]) -> None:
        super().__init__("; ".join(f"{what}: {error!r}" for what, error in faults.items()))
        self.faults = dict(faults)

    def remedy(self, service: str) -> str:
        return "; ".join(_remedy(what, error, service) for what, error in self.faults.items())


def _remedy(what: str, error: BaseException, service: str) -> str:
    if isinstance(error, Refused):
        return error.remedy
    if what == "kafka":
        return "start Kafka, or correct KAFKA_BOOTSTRAP or KAFKA_SECURITY_PROTOCOL"
    url, commands = f"{service.upper()}_DATABASE_URL", "python -m libs.common.schemas provision, then migrate"
    return f"start PostgreSQL, or correct {url}, or set it up ({commands})"


async def until_there(what: str, connect: Callable[[], Awaitable[T]], stopping: asyncio.Event) -> T:
    """Connect, again and again while `what` is away: who would rather die is started anew, with ever longer pauses.

    Raises NotThere once the process shall stop, and when it is there and will not have us.
    """
    while True:
        try:
            return await connect()
        except _REFUSALS as error:
            raise NotThere({what: error}) from error
        except OutOfOrderSequenceNumber as error:  # after a refusal: Kafka takes no more of our producer there
            raise NotThere({"kafka": error}) from error
        except PASSING as error:
            if not stopping.is_set():
                log.warning("waits_for", what=what, error=repr(error))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), _AGAIN_S)
            if stopping.is_set():
                raise NotThere({what: error}) from error
