"""What a batch changed, numbered per user and channel: the feed of WebSocket clients and of those who wait."""

from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from libs.common.contracts.base import Message
from libs.common.service import Connection
from services.gateway.store.rows import Row


class Channel(StrEnum):
    ORDERS = "orders"
    FILLS = "fills"
    POSITIONS = "positions"
    FUNDS = "funds"
    SIGNALS = "signals"
    RISK = "risk"


CHANNELS = tuple(Channel)
CHANNEL_NAMES = frozenset(channel.value for channel in Channel)
_NAMES = ", ".join(CHANNELS)
_COUNT = f"""
    INSERT INTO channel_counters AS c (user_id, {_NAMES})
    SELECT * FROM unnest($1::uuid[], {", ".join(f"${n}::bigint[]" for n in range(2, 2 + len(CHANNELS)))})
    ON CONFLICT (user_id) DO UPDATE SET {", ".join(f"{name} = c.{name} + excluded.{name}" for name in CHANNELS)}
    RETURNING user_id, {_NAMES}
"""  # noqa: S608 - names of our own enum


@dataclass(slots=True)
class Push:
    """One change that a client may see; its row is complete once the batch is written."""

    user_id: UUID
    channel: Channel
    event: str
    row: Row
    seq: int = 0


@dataclass
class Changes:
    """`pushes` in the order of their numbers; `orders` by id; `outcomes` by the id of the request that they end."""

    pushes: list[Push] = field(default_factory=list)
    orders: dict[UUID, Row] = field(default_factory=dict)
    outcomes: dict[UUID, Message] = field(default_factory=dict)

    def add(self, user_id: UUID, channel: Channel, event: str, row: Row) -> Push:
        push = Push(user_id, channel, event, row)
        self.pushes.append(push)
        return push

    async def number(self, connection: Connection) -> None:
        """Advance the counters of everyone concerned and number the changes, each row with its own `seq`."""
        if not self.pushes:
            return
        counts: dict[UUID, dict[Channel, int]] = defaultdict(lambda: dict.fromkeys(CHANNELS, 0))
        for push in self.pushes:
            counts[push.user_id][push.channel] += 1
        users = sorted(counts)
        arrays = [[counts[user][channel] for user in users] for channel in CHANNELS]
        rows = await connection.fetch(_COUNT, users, *arrays)
        following = {
            row["user_id"]: {channel: row[channel] - counts[row["user_id"]][channel] for channel in CHANNELS}
            for row in rows
        }
        for push in self.pushes:
            seqs = following[push.user_id]
            seqs[push.channel] += 1
            push.seq = push.row["seq"] = seqs[push.channel]
