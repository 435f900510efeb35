"""One moment of all services and of the log: nothing in Kafka that follows from what PostgreSQL's copy does not know.

For some tens of milliseconds nobody may move an offset or an outbox row. What is committed by then is in the snapshot;
what is not yet published of it is in the snapshot's outboxes: the copies continue each other like a paused system.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import asyncpg

from libs.common.clock import stopwatch
from libs.common.messaging.inbox import Partition
from libs.common.messaging.log import KafkaLog
from libs.common.schemas import SERVICES

LOCK_WAIT = "2s"
ATTEMPTS = 10
PAUSE_S = 2.0
"""How long everybody may have to wait for Kafka to say where it ends."""
STOPPED = "5s"
"""After that PostgreSQL itself lets them go on: we may have been stopped in the midst of it."""


@dataclass(frozen=True)
class Cut:
    """`snapshot` is good for pg_dump while the context lasts; `paused` is how long the order path stood still."""

    snapshot: str
    ends: dict[Partition, int]
    paused: float


@contextlib.asynccontextmanager
async def cut(url: str, log: KafkaLog) -> AsyncIterator[Cut]:
    viewer = await asyncpg.connect(url, timeout=10)
    gate = await asyncpg.connect(url, timeout=10)
    try:
        await viewer.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        began = await _stop(gate)
        snapshot = await viewer.fetchval("SELECT pg_export_snapshot()")
        await _mark(log)
        await gate.execute("COMMIT")
        yield Cut(snapshot, dict(log.ends), stopwatch() - began)
    finally:
        await gate.close()
        await viewer.close()


async def _mark(log: KafkaLog) -> None:
    try:
        async with asyncio.timeout(PAUSE_S):
            await log.mark()
    except TimeoutError as error:
        raise TimeoutError(f"Kafka did not say within {PAUSE_S:g} s where it ends, and everybody waited") from error


async def _stop(gate: asyncpg.Connection) -> float:
    """Offsets before outboxes, as every batch takes them: it either ends first or has not begun. When it began."""
    for attempt in range(ATTEMPTS):
        began = stopwatch()
        await gate.execute("BEGIN")
        await gate.execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'")
        await gate.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{STOPPED}'")
        try:
            for table in _tables(await _present(gate)):
                await gate.execute(f"LOCK TABLE {table} IN SHARE MODE")
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            await gate.execute("ROLLBACK")
            await asyncio.sleep(0.2 * (attempt + 1))
        else:
            return began
    raise TimeoutError(f"the services gave no moment of rest in {ATTEMPTS} attempts of {LOCK_WAIT}")


async def _present(gate: asyncpg.Connection) -> list[str]:
    rows = await gate.fetch("SELECT schemaname FROM pg_tables WHERE tablename = 'message_outbox' ORDER BY 1")
    return [row[0] for row in rows if row[0] in SERVICES]


def _tables(services: Sequence[str]) -> list[str]:
    return [f'"{service}".{table}' for table in ("message_offsets", "message_outbox") for service in services]
