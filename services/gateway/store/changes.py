"""What a batch changed, numbered per user and channel: the feed of WebSocket clients and of those who wait."""

from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from libs.common.contracts.base import Message
from services.gateway.store.rows import Row
from services.gateway.store.statement import Statement


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

    def count(self, statement: Statement) -> None:
        """Advance the counters of everyone concerned; until they are known a row's `seq` is its distance from the end.

        Their rows, locked in order of the user, make a user's changes follow one another on all instances.
        """
        counts: dict[UUID, dict[Channel, int]] = {}
        for push in reversed(self.pushes):
            channels = counts.setdefault(push.user_id, dict.fromkeys(CHANNELS, 0))
            push.row["seq"] = channels[push.channel]
            channels[push.channel] += 1
        users = sorted(counts)
        statement.add("counters", _COUNT, [users, *([counts[user][each] for user in users] for each in CHANNELS)])

    def number(self, counters: list[Row]) -> None:
        """Give every change its number."""
        newest = {row["user_id"]: row for row in counters}
        for push in self.pushes:
            push.seq = push.row["seq"] = newest[push.user_id][push.channel] - push.row["seq"]
