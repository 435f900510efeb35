"""How a batch is handled: one PostgreSQL transaction with its offsets, inbox and outbox; what cannot be is parked."""

import asyncio
import contextlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from libs.common.clock import stopwatch
from libs.common.contracts.base import Delivery
from libs.common.database import FAILURES, Connection
from libs.common.messaging import inbox, parked
from libs.common.messaging.envelope import Record
from libs.common.messaging.errors import Fenced
from libs.common.messaging.inbound import Consumed, Inbound
from libs.common.messaging.inbox import Move, Partition
from libs.common.messaging.outbox import Commit
from libs.common.messaging.parked import Arrival, Parked
from libs.common.messaging.suspects import Suspects
from libs.common.messaging.transactions import Transactions
from libs.common.messaging.waiting import PASSING
from libs.common.messaging.work import Work
from libs.common.parts import Part
from libs.common.runtime import Runtime
from libs.common.telemetry import BATCH_SECONDS, BATCH_SIZE, PARKED, log

RETRY_S = 0.1
"""How long parked messages are retried at a time: each has a transaction of its own, and other keys wait meanwhile."""


class Handling:
    """One batch at a time. `offsets` are those of our partitions, as PostgreSQL has them as far as we know."""

    def __init__(self, runtime: "Runtime[Any, Any]", consumed: Consumed, part: Part) -> None:
        self._runtime = runtime
        self._service = runtime.service
        self._consumed = consumed
        self._part = part
        self._parked_keys: set[str] = set()
        self._retrying: Parked | None = None
        """Its retry was begun by us, and what passes held it up."""
        self._suspects = Suspects()
        self._transactions = Transactions(runtime.pool)
        self._in_doubt: tuple[list[Move], list[Delivery]] | None = None
        """What was written last, until its commit is answered: where the connection broke it may have been made."""
        self._untold: list[Delivery] = []
        """What is committed, and the service has not heard of."""
        self.offsets: dict[Partition, int] = {}
        self.stopping = False

    @property
    def is_in_doubt(self) -> bool:
        """Whether what was written last may be committed yet, and nobody would hear of it any more."""
        return self._in_doubt is not None

    async def begin(self, connection: Connection, owner: int, numbers: Collection[int]) -> Mapping[Partition, int]:
        """Know where these partitions, which are leased to us, go on; which keys wait, and which messages hung."""
        stored = await inbox.stored_offsets(connection, owner, numbers)
        await self._look_for_parked(connection)
        await self._suspects.look(connection)
        self.offsets |= stored
        return stored

    def forget(self, numbers: Collection[int]) -> list[Partition]:
        """These partitions are not ours any more; which those were."""
        gone = [partition for partition in self.offsets if partition[1] in numbers]
        for partition in gone:
            del self.offsets[partition]
        return gone

    async def rest(self) -> None:
        """There is nothing to handle now."""
        await self._transactions.rest()

    async def end(self) -> None:
        """There will be nothing more to handle."""
        with contextlib.suppress(*FAILURES):
            await self._transactions.end()

    def apart(self, batch: list[Inbound]) -> list[list[Inbound]]:
        """The batches to make of it: one, unless a message in it may hang its handler."""
        return self._suspects.apart(batch)

    async def until_done(self, batch: list[Inbound]) -> None:
        """Handle the batch, whatever it takes: again after what passes, in halves after a time-out, one by one after a
        handler's bug.

        Fenced when the partitions are not ours any more.
        """
        with self._part.trying():
            await self._until_done(batch)

    async def _until_done(self, batch: list[Inbound]) -> None:
        pause = 0.05
        while not self.stopping:
            try:
                with self._part.busy(), self._runtime.in_hand.holding(batch):
                    await self._handle_once(batch)
                return
            except Fenced:
                raise
            except PASSING as error:
                log.warning("batch_waits", messages=len(batch), error=repr(error))
                may_be_too_much = isinstance(error, TimeoutError) and len(batch) > 1 and not self.is_in_doubt
            except Exception as error:  # noqa: BLE001 - a handler's bug
                await self._after_bug(batch, error)
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, 2.0)
            if may_be_too_much:
                half = len(batch) // 2
                await self._in_parts([batch[:half], batch[half:]])
                return

    async def _after_bug(self, batch: list[Inbound], error: Exception) -> None:
        if len(batch) > 1:
            log.error("batch_failed", messages=len(batch), exc_info=error)
            await self._in_parts([[inbound] for inbound in batch])
        elif batch[0].fault:
            raise error  # it cannot even be parked: the service cannot do its work
        else:
            await self._park_failed(batch[0], error)

    async def _in_parts(self, parts: Sequence[list[Inbound]]) -> None:
        for part in parts:
            await self.until_done(part)

    async def retry_parked(self) -> bool:
        """Handle, in order, the messages whose retry was asked for, a key's until one fails again; True when the time
        was up before all were through.

        Fenced when the partitions are not ours any more.
        """
        if not self._parked_keys and not self._untold:
            return False
        until = stopwatch() + RETRY_S
        try:
            if self._untold:
                await self._tell([])
            async with self._runtime.pool.acquire(timeout=5) as connection:
                tried = True
                while tried and stopwatch() < until:
                    with self._part.busy():
                        tried = await self._retry_next(connection)
                await self._look_for_parked(connection)
        except PASSING as error:
            log.warning("parked_retry_waits", error=repr(error))
            return False
        return tried

    async def leave_retry(self) -> None:
        """What we have begun and cannot end is for whoever reads its partition next."""
        if self._retrying:
            async with self._runtime.pool.acquire(timeout=5) as connection:
                await self._leave_retry(connection, self._retrying)
            self._runtime.outbox.relay_soon()  # it may have been committed all the same, and is by now

    async def forget_old_ids(self) -> None:
        horizon = self._runtime.clock.now() - inbox.KEPT
        try:
            async with self._runtime.pool.acquire(timeout=5) as connection:
                await inbox.forget_before(connection, horizon)
        except PASSING as error:
            log.warning("inbox_cleaning_waits", error=repr(error))

    async def _handle_once(self, batch: Sequence[Inbound]) -> None:
        try:
            await self._handle(batch)
        except Fenced:
            if not await self._was_committed():
                raise

    async def _handle(self, batch: Sequence[Inbound]) -> None:
        began = stopwatch()
        runtime = self._runtime
        now = runtime.clock.now()
        good, waiting = self._set_aside(batch)
        moves = self._moves(batch)
        with runtime.outbox.committing() as commit:
            async with self._transactions.next() as connection:
                came = [i.delivery for i in good if i.delivery]
                work = Work(self._service, runtime.memory, connection, now)
                deliveries = _once(came, await work.enter(runtime.outbox.owner, moves, came))
                await work.handle(deliveries)
                seqs = commit.says(await work.keep(runtime.outbox.owner), work.records)
                if waiting:
                    await parked.park(connection, waiting, now)
                await self._suspects.forget(batch, connection)
                self._in_doubt = moves, deliveries
            self._done(moves)
            if waiting:
                self._know_parked(waiting)
            await runtime.outbox.publish(seqs, work.records)
        BATCH_SIZE.observe(len(batch))
        BATCH_SECONDS.observe(stopwatch() - began)
        await self._tell(deliveries)

    async def _was_committed(self) -> bool:
        """Whether the batch in doubt is what fenced us: the offsets are ours, and where it moved them.

        It is finished then, but for its words, which the outbox finds in its table.
        """
        if self._in_doubt is None:
            return False
        moves, deliveries = self._in_doubt
        async with self._runtime.pool.acquire(timeout=5) as connection:
            numbers = {move.partition[1] for move in moves}
            stored = await inbox.stored_offsets(connection, self._runtime.outbox.owner, numbers)
            await self._look_for_parked(connection)
        self._runtime.outbox.relay_soon()
        if any(stored.get(move.partition) != move.next for move in moves):
            self._in_doubt = None
            return False
        log.warning("batch_was_committed", messages=len(deliveries))
        self._done(moves)
        await self._tell(deliveries)
        return True

    def _done(self, moves: Collection[Move]) -> None:
        """Their commit is answered, or known to be made."""
        self._in_doubt = None
        for move in moves:
            self.offsets[move.partition] = move.next

    async def _tell(self, deliveries: Sequence[Delivery]) -> None:
        """The service hears of them; again, if what passes kept it from it. Its bug parks nothing: all is handled."""
        if not self._service.committed:
            return
        self._untold += deliveries
        try:
            await self._service.committed(self._untold, self._runtime)
        except PASSING:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the batch is committed
            log.error("committed_not_taken_up", messages=len(self._untold), exc_info=error)
        self._untold = []

    def _set_aside(self, batch: Sequence[Inbound]) -> tuple[list[Inbound], list[tuple[Arrival, str]]]:
        """Part the batch: what cannot be decoded waits, and whatever follows of a key that waits.

        A key that we know to wait may be free by now: `parked` says why that does no harm.
        """
        if not self._parked_keys and not any(inbound.fault for inbound in batch):
            return list(batch), []
        good: list[Inbound] = []
        waiting: list[tuple[Arrival, str]] = []
        keys = set(self._parked_keys)
        for inbound in batch:
            if inbound.fault or inbound.arrival.key in keys:
                waiting.append((inbound.arrival, inbound.fault or parked.BEHIND))
                keys.add(inbound.arrival.key)
            else:
                good.append(inbound)
        return good, waiting

    def _moves(self, batch: Sequence[Inbound]) -> list[Move]:
        nexts: dict[Partition, int] = {}
        for inbound in batch:
            nexts[inbound.partition] = inbound.next_offset
        try:
            return [Move(partition, self.offsets[partition], offset) for partition, offset in nexts.items()]
        except KeyError as error:
            raise Fenced(f"{error} was revoked while its batch was in hand") from error

    async def _park_failed(self, inbound: Inbound, error: Exception) -> None:
        """The handler cannot handle this message: keep it, with the reason, and go on with other keys."""
        reason = f"{type(error).__name__}: {error}"
        log.error("message_parked", type=inbound.arrival.type, key=inbound.arrival.key, exc_info=error)
        await self.until_done([Inbound(inbound.arrival, None, reason)])

    def _know_parked(self, waiting: Sequence[tuple[Arrival, str]]) -> None:
        self._parked_keys.update(arrival.key for arrival, _ in waiting)
        PARKED.inc(len(waiting))
        log.error("parked", messages=len(waiting), reason=waiting[0][1])

    async def _look_for_parked(self, connection: Connection) -> None:
        waiting = await parked.counted(connection)
        self._parked_keys = set(waiting)
        PARKED.set(sum(waiting.values()))

    async def _retry_next(self, connection: Connection) -> bool:
        found = self._retrying = self._retrying or await parked.begin_retry(
            connection, self._parked_keys, self.offsets.keys()
        )
        if found is None:
            return False
        if found.place not in self.offsets:
            await self._leave_retry(connection, found)
            return True
        try:
            with self._runtime.outbox.committing() as commit:
                done = await self._retry(connection, found, commit)
                if done:
                    await self._runtime.outbox.publish(done[1], done[2])
        except PASSING:
            raise
        except Fenced:
            await self._leave_retry(connection, found)
            raise
        except Exception as error:  # noqa: BLE001 - a handler's bug keeps one key waiting
            await self._end_failed(connection, found, error)
            return True
        self._retrying = None
        if done and not found.given_up:
            await self._tell([done[0]])
        return True

    async def _end_failed(self, connection: Connection, found: Parked, error: Exception) -> None:
        """What was given up is gone all the same: a person has decided so."""
        if found.given_up:
            log.warning("discarded_without_a_word", message=str(found), error=f"{type(error).__name__}: {error}")
            await parked.remove_for_good(connection, found.seq)
        else:
            await parked.failed_again(connection, found.key, found.seq, f"{type(error).__name__}: {error}")
        self._retrying = None

    async def _retry(
        self, connection: Connection, found: Parked, commit: Commit
    ) -> tuple[Delivery, Sequence[int], Sequence[Record]] | None:
        """Handle it, or give it up; what is to be published then, or None when it is gone. Fenced if it is not ours."""
        runtime = self._runtime
        remove = parked.remove_for_good if found.given_up else parked.remove
        stays = Move(found.place, self.offsets[found.place], self.offsets[found.place])
        now = runtime.clock.now()
        async with connection.transaction():
            if not await remove(connection, found.seq):
                runtime.outbox.relay_soon()  # or we have handled it, in a commit that was not answered
                return None
            delivery = self._consumed.redeliver(found)
            work = Work(self._service, runtime.memory, connection, now)
            fresh = _once([delivery], await work.enter(runtime.outbox.owner, [stays], [delivery]))
            await (work.give_up if found.given_up else work.handle)(fresh)
            seqs = commit.says(await work.keep(runtime.outbox.owner), work.records)
        return delivery, seqs, work.records

    async def _leave_retry(self, connection: Connection, found: Parked) -> None:
        await parked.leave(connection, found.seq)
        self._retrying = None


def _once(deliveries: Sequence[Delivery], fresh: set[UUID]) -> list[Delivery]:
    """The deliveries whose ids are fresh, the first of each id."""
    kept = []
    for delivery in deliveries:
        if delivery.envelope.id in fresh:
            fresh.discard(delivery.envelope.id)
            kept.append(delivery)
    return kept
