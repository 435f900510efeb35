"""Messages enter through here: the fence and the inbox, in one statement of the batch's transaction."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from libs.common.contracts.base import Message
from libs.common.database import Connection
from libs.common.messaging.errors import Fenced
from libs.common.reads import Row
from libs.common.service import Store

Partition = tuple[str, int]

KEPT = timedelta(days=7)
"""How long ids are known: longer than any copy of a message comes after it."""

_MOVED_AND_FRESH = """
    moved AS (
        UPDATE message_offsets AS o SET next_offset = n.next
        FROM unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[]) AS n (topic, partition, previous, next)
        WHERE o.topic = n.topic AND o.partition = n.partition AND o.next_offset = n.previous AND o.owner = $7
        RETURNING 1
    ), fresh AS (
        INSERT INTO message_inbox (message_id, received_at)
        SELECT id, $6 FROM unnest($5::uuid[]) AS id
        ON CONFLICT DO NOTHING
        RETURNING message_id
    )
"""
_ENTERED = "SELECT (SELECT count(*) FROM moved), (SELECT array_agg(message_id) FROM fresh)"

FORGET_AT_ONCE = 20_000
_FORGET = """
    WITH gone AS (
        DELETE FROM message_inbox WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM message_inbox
            WHERE received_at < least($1, (SELECT min(parked_at) FROM message_parked) - $2::interval) LIMIT $3))
        RETURNING 1
    )
    SELECT count(*) FROM gone
"""


@dataclass(frozen=True, slots=True)
class Move:
    """A partition's offset, from what we know is stored to what comes next."""

    partition: Partition
    previous: int
    next: int


async def enter(
    store: Store, messages: Sequence[Message], owner: int, moves: Collection[Move], ids: Collection[UUID], now: datetime
) -> set[UUID]:
    """Move the offsets by compare-and-swap and remember the ids; the ids that were not known before.

    What the store asks on entering, of these messages, is asked in the same round trip.
    Raises Fenced when the partition was leased to another instance, which may have moved the offset since we read it.
    """
    ordered = sorted(moves, key=lambda move: move.partition)
    entered: list[Row] = []
    store.reads.write(
        _MOVED_AND_FRESH,
        [m.partition[0] for m in ordered],
        [m.partition[1] for m in ordered],
        [m.previous for m in ordered],
        [m.next for m in ordered],
        list(ids),
        now,
        owner,
    )
    store.reads.add(_ENTERED, entered.extend)
    store.ask_on_entering(messages)
    await store.reads.send()
    [(moved, fresh)] = entered
    if moved != len(ordered):
        raise Fenced(f"{len(ordered) - moved} of {len(ordered)} partitions have moved on without us")
    return set(fresh or ())


async def stored_offsets(connection: Connection, owner: int, numbers: Collection[int]) -> dict[Partition, int]:
    """Where to resume the partitions of these numbers, as far as the owner holds them."""
    rows = await connection.fetch(
        "SELECT topic, partition, next_offset FROM message_offsets WHERE owner = $1 AND partition = ANY($2::int[])",
        owner,
        list(numbers),
    )
    return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}


async def forget_before(connection: Connection, horizon: datetime) -> None:
    """Drop inbox rows older than any redelivery can be, some at a time: a day's are more than one statement may take.

    A copy that was parked waits for as long as a person takes: what may be the message itself is known until then.
    """
    while await connection.fetchval(_FORGET, horizon, KEPT, FORGET_AT_ONCE) == FORGET_AT_ONCE:
        pass
