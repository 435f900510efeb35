"""Messages that could not be handled, and those waiting behind them: kept in order, per key, until a person decides.

Who parks a message knows that its key waits from a look of up to a second ago; by the time it is kept a retry or a
command may have freed the key. So nobody counts on being asked for: one that only waits BEHIND others goes on as soon
as it is its key's first. And no later one is handled before it: both belong to who reads their partition, who parks,
retries and handles one thing at a time, each under its lease.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

import asyncpg
import orjson

from libs.common.database import Connection
from libs.common.messaging.envelope import Headers
from libs.common.messaging.errors import NotDiscarded
from libs.common.messaging.inbox import Partition

BEHIND = "waits behind an earlier parked message of its key"
"""What is wrong with a message that has not been tried yet: nothing. It is handled once nothing is before it."""

LONGEST_KEY = 600
"""Bytes: PostgreSQL keeps no longer one in an index, and none of ours is nearly so long."""
_ZERO, _NOT_LATIN = "\0", "\u0100"
"""PostgreSQL keeps no zero byte in a text: a header's are kept as a letter that no byte stands for."""


def storable(text: str) -> str:
    """The text as PostgreSQL can keep it, whoever wrote it."""
    return text.replace(_ZERO, "\ufffd")


@dataclass(frozen=True, slots=True)
class Parked:
    """One message of the parked table. The first of its key is the one that failed, or is about to be handled."""

    seq: int
    topic: str
    partition: int
    offset: int
    key: str
    type: str
    headers: Headers
    value: bytes
    reason: str
    parked_at: datetime
    retry_requested: bool
    retry_begun: bool
    """And has not ended; it is not begun again until somebody asks, as it may have hung its process."""
    given_up: bool
    """A person discarded it: who reads its partition tells whom it concerns, and it is gone."""

    @property
    def place(self) -> Partition:
        return self.topic, self.partition

    def __str__(self) -> str:
        return f"{self.type} of {self.key} at {self.topic}/{self.partition}@{self.offset}"

    @classmethod
    def read(cls, row: asyncpg.Record) -> Self:
        headers = [(name, _bytes(value)) for name, value in orjson.loads(row["headers"])]
        return cls(
            row["seq"],
            row["topic"],
            row["partition"],
            row["message_offset"],
            row["key"],
            row["type"],
            headers,
            row["value"],
            row["reason"],
            row["parked_at"],
            row["retry_requested"],
            row["retry_begun"],
            row["given_up"],
        )


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is kept of a record from Kafka when it has to wait."""

    topic: str
    partition: int
    offset: int
    key: str
    type: str
    headers: Headers
    value: bytes


async def park(connection: Connection, arrivals: Sequence[tuple[Arrival, str]], now: datetime) -> None:
    """Keep these messages, each with its reason, behind what is parked of their keys already."""
    await connection.executemany(
        """
        INSERT INTO message_parked (topic, partition, message_offset, key, type, headers, value, reason, parked_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT DO NOTHING
        """,
        [
            (a.topic, a.partition, a.offset, a.key, a.type, _text(a.headers), a.value, storable(reason), now)
            for a, reason in arrivals
        ],
    )


async def counted(connection: Connection) -> dict[str, int]:
    """How many messages of each key wait."""
    rows = await connection.fetch("SELECT key, count(*) FROM message_parked GROUP BY key")
    return {key: count for key, count in rows}


async def listed(connection: Connection, key: str | None = None) -> list[Parked]:
    """All that is parked, or all of one key, oldest first."""
    rows = await connection.fetch(
        "SELECT * FROM message_parked WHERE $1::text IS NULL OR key = $1 ORDER BY key, seq", key
    )
    return [Parked.read(row) for row in rows]


async def request_retry(connection: Connection, key: str) -> int:
    """Ask the running service to handle the key's messages again, in order; how many wait."""
    rows = await connection.fetch(
        "UPDATE message_parked SET retry_requested = true, retry_begun = false WHERE key = $1 RETURNING seq", key
    )
    return len(rows)


async def discard_first(connection: Connection, key: str) -> tuple[Parked, int]:
    """Have the running service give up the message that failed, for good, and retry those behind it; which it was, as
    it was, and how many are behind. One that was to be given up already, and is still there, is gone without a word.

    Raises NotDiscarded, and changes nothing, when it is not there any more: a retry may be through before the command,
    and what is its key's first then has done nothing wrong.
    """
    first = next(iter(await listed(connection, key)), None)
    if first is None:
        raise NotDiscarded(f"nothing of {key} is parked")
    if first.reason == BEHIND and not first.retry_begun:
        raise NotDiscarded(f"{first} has not failed: it will be handled within seconds. What had was handled before")
    is_there = await (remove_for_good if first.given_up else _give_up)(connection, first.seq)
    if not is_there:
        raise NotDiscarded(
            f"{first} is not parked any more: a retry has handled it meanwhile, or somebody discarded it"
        )
    waiting = await request_retry(connection, key)
    return first, waiting if first.given_up else waiting - 1


async def _give_up(connection: Connection, seq: int) -> bool:
    return (
        await connection.fetchval("UPDATE message_parked SET given_up = true WHERE seq = $1 RETURNING true", seq)
        or False
    )


async def begin_retry(
    connection: Connection, keys: Collection[str], partitions: Collection[Partition]
) -> Parked | None:
    """The oldest message that is the first of its key, one of these, and whose turn it is; None when there is none.

    Of these partitions, which the caller reads, and now the caller's to handle: what is said of one key would else come
    from two processes, in any order.

    Outside of the transaction that handles it: while one instance hangs in it, its successor would begin it, too.
    """
    row = await connection.fetchrow(
        """
        UPDATE message_parked SET retry_begun = true
        WHERE seq = (
            SELECT p.seq FROM unnest($1::text[]) AS waiting (key)
            CROSS JOIN LATERAL (SELECT seq FROM message_parked WHERE key = waiting.key ORDER BY seq LIMIT 1) AS first
            JOIN message_parked p ON p.seq = first.seq
            WHERE (p.retry_requested OR p.given_up OR p.reason = $4) AND NOT p.retry_begun
              AND (p.topic, p.partition) IN (SELECT * FROM unnest($2::text[], $3::int[]))
            ORDER BY p.seq LIMIT 1 FOR UPDATE OF p SKIP LOCKED)
        RETURNING *
        """,
        list(keys),
        [topic for topic, _ in partitions],
        [number for _, number in partitions],
        BEHIND,
    )
    return Parked.read(row) if row else None


async def leave(connection: Connection, seq: int) -> None:
    """Its retry was begun and came to nothing: whoever reads its partition now begins it anew."""
    await connection.execute("UPDATE message_parked SET retry_begun = false WHERE seq = $1", seq)


async def remove(connection: Connection, seq: int) -> bool:
    """Whether it was there: nobody has discarded it meanwhile."""
    return (
        await connection.fetchval("DELETE FROM message_parked WHERE seq = $1 AND NOT given_up RETURNING true", seq)
        or False
    )


async def remove_for_good(connection: Connection, seq: int) -> bool:
    """The same of one that was given up: whoever builds state anew from the log leaves it out, too."""
    gone = await connection.fetchval(
        """
        WITH gone AS (DELETE FROM message_parked WHERE seq = $1 RETURNING topic, partition, message_offset),
             noted AS (INSERT INTO message_discarded (topic, partition, message_offset) SELECT * FROM gone
                       ON CONFLICT DO NOTHING)
        SELECT true FROM gone
        """,
        seq,
    )
    return gone or False


async def failed_again(connection: Connection, key: str, seq: int, reason: str) -> None:
    await connection.execute(
        """
        UPDATE message_parked
        SET retry_requested = false, retry_begun = false, reason = CASE seq WHEN $2 THEN $3 ELSE reason END
        WHERE key = $1
        """,
        key,
        seq,
        storable(reason),
    )


def _text(headers: Headers) -> str:
    kept = [[name, value.decode("latin-1").replace(_ZERO, _NOT_LATIN)] for name, value in headers]
    return orjson.dumps(kept).decode()


def _bytes(header: str) -> bytes:
    return header.replace(_NOT_LATIN, _ZERO).encode("latin-1")
