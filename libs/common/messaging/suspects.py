"""Messages that were in hand when their process hung and had to end itself: one of them may be what hung it.

Whoever reads them next, be it another instance, handles them one at a time. So a second hang has one message alone in
hand, and that one is parked; what hung by chance is handled and forgotten.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from libs.common import database
from libs.common.database import Connection
from libs.common.messaging.inbound import Inbound, Place
from libs.common.telemetry import log

HUNG = "hung its handler twice, and its process had to end: part_overdue or loop_stands_still in the log says where"
_TWICE = 2
"""Once may be chance."""

_NOTE = """
    INSERT INTO message_suspects (topic, partition, message_offset, ends)
    SELECT n.topic, n.partition, n.message_offset, 1
    FROM unnest($1::text[], $2::int[], $3::bigint[]) AS n (topic, partition, message_offset)
    JOIN message_offsets o USING (topic, partition) WHERE n.message_offset >= o.next_offset
    ON CONFLICT (topic, partition, message_offset) DO UPDATE SET ends = message_suspects.ends + 1 WHERE $4
"""
"""The first end makes a suspect, and every further one counts only against who was alone in hand ($4): while one hung
with its loop another may have taken its partitions, and hung in the same message with another batch around it.
"""
_FORGET_HANDLED = """
    DELETE FROM message_suspects s USING message_offsets o
    WHERE o.topic = s.topic AND o.partition = s.partition AND s.message_offset < o.next_offset
"""


class InHand:
    """What the consumer has in hand, to be noted by whoever ends the process."""

    def __init__(self, url: str, schema: str) -> None:
        self._url = url
        self._schema = schema
        self._batch: Sequence[Inbound] = ()
        self._task: asyncio.Task[Any] | None = None

    @contextlib.contextmanager
    def holding(self, batch: Sequence[Inbound]) -> Iterator[None]:
        self._batch, self._task = batch, asyncio.current_task()
        try:
            yield
        finally:
            self._task = None

    def note(self, hangs: "asyncio.Task[Any] | None") -> None:
        """Suspect what is in hand, if the task that hangs is the one that has it; never raises.

        On a thread without a loop: the process's own may stand still, and its connections with it.
        """
        if hangs is None or hangs is not self._task:
            return
        try:
            asyncio.run(self._note(self._batch))
        except Exception as error:  # noqa: BLE001 - whatever it is, the process ends
            log.warning("suspects_not_noted", error=repr(error))

    async def _note(self, batch: Sequence[Inbound]) -> None:
        connection = await database.connect(self._url, self._schema)
        try:
            topics, partitions, offsets = zip(*(inbound.place for inbound in batch), strict=True)
            await connection.execute(_NOTE, topics, partitions, offsets, len(batch) == 1)
        finally:
            connection.terminate()
        log.warning("suspects_noted", messages=len(batch))


class Suspects:
    """What was noted of messages that have not been handled yet, as of when partitions were begun last."""

    def __init__(self) -> None:
        self._ends: dict[Place, int] = {}

    async def look(self, connection: Connection) -> None:
        await connection.execute(_FORGET_HANDLED)  # of who noted it when another had its partitions
        rows = await connection.fetch("SELECT topic, partition, message_offset, ends FROM message_suspects")
        self._ends = {(row["topic"], row["partition"], row["message_offset"]): row["ends"] for row in rows}

    def apart(self, batch: list[Inbound]) -> list[list[Inbound]]:
        """The batch as it is, or each message by itself if one is a suspect; who hung twice with its reason to wait."""
        if not self._are_among(batch):
            return [batch]
        log.warning("suspects_in_hand", messages=len(batch))
        return [[self._judged(inbound)] for inbound in batch]

    async def forget(self, batch: Sequence[Inbound], connection: Connection) -> None:
        """They are handled, or parked, if this transaction commits. If not, they are still tried one at a time."""
        if self._are_among(batch):
            await connection.execute(_FORGET_HANDLED)
            for inbound in batch:
                self._ends.pop(inbound.place, None)

    def _are_among(self, batch: Sequence[Inbound]) -> bool:
        return bool(self._ends) and any(inbound.place in self._ends for inbound in batch)

    def _judged(self, inbound: Inbound) -> Inbound:
        if self._ends.get(inbound.place, 0) < _TWICE:
            return inbound
        return replace(inbound, delivery=None, fault=HUNG)
