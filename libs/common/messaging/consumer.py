"""The transactional consumer: reads the partitions that are leased to it, in micro-batches, as `handling` has them."""

import asyncio
import contextlib
import heapq
import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka import Message as Received

from libs.common.clock import stopwatch
from libs.common.messaging.errors import Fenced
from libs.common.messaging.handling import Handling
from libs.common.messaging.inbound import Consumed, Inbound
from libs.common.messaging.inbox import Partition
from libs.common.messaging.leadership import LEAD, Leadership
from libs.common.messaging.leases import Leases, Share
from libs.common.messaging.pace import Pace
from libs.common.messaging.reader import PARTITIONS_EVERY_S, Reader
from libs.common.messaging.waiting import PASSING, until_there
from libs.common.parts import Part
from libs.common.runtime import Runtime
from libs.common.telemetry import CONSUMER_LAG, log

MAX_BATCH = 500
POLL_S = 0.2
DRAIN_S = 5.0
"""How long we wait for Kafka to confirm what we said before a partition is handed over."""
SETTLE_S = 3.0
"""How long what the dead had said may take to go out before we look again: we would be taken for dead ourselves, while
Kafka is away.
"""
RETRY_EVERY_S = 1.0
"""How often we look whether the retry of a parked message was asked for."""
FORGET_EVERY_S = 3600.0


class Consumer:
    """Reads what the service consumes: the partitions that are leased to it, from the offsets that PostgreSQL holds."""

    def __init__(self, runtime: Runtime[Any, Any]) -> None:
        self._runtime, self._service = runtime, runtime.service
        settings, outbox = runtime.settings, runtime.outbox
        self._consumed = Consumed(runtime.service)
        self._part = Part(runtime, "consumer", asked_for=bool(self._service.consumes))
        self._handling = Handling(runtime, self._consumed, self._part)
        self._reader = Reader(settings, f"{self._service.name}-{settings.instance_id}")
        self._leases = Leases(self._service.name, settings.instance_id, outbox.owner, outbox.session)
        self._leadership = Leadership(runtime)
        self._pace = Pace()
        self._held: list[Inbound] = []
        """What has come and waits for company, until `_held_until`."""
        self._held_until = 0.0
        self._retries = False
        """More parked messages are to be retried than there was time for: what has come is handled, and they go on."""
        self._seen: dict[Partition, int] = {}
        """What comes next of each partition that we read: an earlier record was fetched before it was begun anew."""
        self._ends: dict[Partition, int] = {}
        """Where those ended when we began; kept until all of them were handled."""
        self._has_share = False
        self._numbers: set[int] = set()
        """The partitions that we read, of every topic; leased to us, and begun."""
        self._has_begun = asyncio.Event()
        """More of them, since the topics were looked at last."""
        self._known: set[Partition] = set()
        self._busy = asyncio.Lock()

    async def run(self) -> None:
        await until_there("kafka", self._learn_partitions, self._runtime.stopping)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._leadership.run(), name="lead")
                group.create_task(self._follow_topics(), name="topics")
                group.create_task(self._keep_leases(), name="leases")
                group.create_task(self._forget_old_ids(), name="inbox")
                await self._consume()
        finally:
            await self._handling.end()

    async def stop(self) -> None:
        """Finish the batch in hand, publish what it said, and leave our partitions to the others: unless its commit may
        come after that. They take us for dead then, and wait for what it said.
        """
        self._handling.stopping = True
        await self._leadership.resign()
        async with self._busy:
            numbers = set(self._numbers)
            self._forget(numbers)
        await self._reader.close()
        try:
            await self._handling.leave_retry()
            if await self._runtime.outbox.drained(DRAIN_S) and not self._handling.is_in_doubt:
                await self._leases.leave(numbers)
        except PASSING as error:
            log.warning("leases_not_given_back", error=repr(error))

    async def _consume(self) -> None:
        next_retry = 0.0
        time = asyncio.get_running_loop().time
        while not self._handling.stopping:
            await asyncio.sleep(self._pace.rest(time()))
            await self._gather()
            async with self._busy:
                due = time() >= self._held_until or len(self._held) >= MAX_BATCH
                try:
                    if self._held and due and not self._handling.stopping:
                        await self._handle_held()
                    else:
                        await self._handling.rest()
                    self._look_for_the_end()
                    if time() >= next_retry:
                        self._retries = await self._handling.retry_parked()
                        next_retry = 0.0 if self._retries else time() + RETRY_EVERY_S
                except Fenced as error:
                    log.warning("fenced", reason=str(error))
                    self._forget(self._numbers)
                    self._leases.look_soon()
        await asyncio.Event().wait()

    async def _gather(self) -> None:
        """Add what has come to what waits for company, and know until when that may wait."""
        time = asyncio.get_running_loop().time
        wait = min(POLL_S, max(0.0, self._held_until - time())) if self._held else POLL_S
        wait = 0.0 if self._retries else wait
        came = self._read(await self._reader.read(MAX_BATCH, wait))
        if came:
            patience = self._consumed.patience(came)
            if not patience:
                self._reader.hurry()
            until = time() + patience
            self._held_until = min(self._held_until, until) if self._held else until
            self._held += came

    def _read(self, received: Sequence[Received]) -> list[Inbound]:
        """What is ours of it, in the order of the records' times (each partition's own order holds)."""
        polled: dict[Partition, list[Received]] = defaultdict(list)
        for each in received:
            partition, offset = (each.topic() or "", each.partition() or 0), each.offset() or 0
            if partition in self._handling.offsets and offset >= self._seen[partition]:
                self._seen[partition] = offset + 1
                polled[partition].append(each)
        read = map(self._consumed.read, heapq.merge(*polled.values(), key=lambda each: each.timestamp()[1]))
        return [inbound for inbound in read if inbound]

    async def _handle_held(self) -> None:
        time = asyncio.get_running_loop().time
        batch, self._held = self._held, []
        began = time()
        for each in self._handling.apart(batch):
            await self._handling.until_done(each)
        self._pace.after(began, time())

    def _look_for_the_end(self) -> None:
        """Tell once all is handled that was there when we began."""
        caught_up = self._runtime.caught_up
        if caught_up.is_set() or not self._has_share:
            return
        for partition in self._seen.keys() - self._ends.keys():
            lag = self._reader.lag(partition, self._seen[partition])
            if lag is not None:
                self._ends[partition] = self._seen[partition] + lag
        read = all(position >= self._ends.get(partition, math.inf) for partition, position in self._seen.items())
        if read and not self._held:
            caught_up.set()
            self._ends.clear()

    async def _keep_leases(self) -> None:
        """Look, hand over what is too much, take what is free; again every second, and whenever there is news."""
        while not self._handling.stopping:
            try:
                asked_at = stopwatch()
                now = await self._leases.look()
                if taken := self._numbers - now.mine:
                    log.warning("partitions_lost", numbers=sorted(taken))
                    await self._lose(taken)
                await self._begin(now.mine - now.give - self._numbers)
                await self._leadership.settle(now, LEAD in self._numbers, asked_at)
                if now.give:
                    await self._hand_over(now.give)
                elif now.take:
                    await self._take(now.take)
                self._report(now)
            except PASSING as error:
                log.warning("leases_wait", error=repr(error))
                await asyncio.sleep(0.3)
            await self._leases.news()
        await asyncio.Event().wait()

    async def _forget_old_ids(self) -> None:
        """Beside the messages, which do not wait for it: after days there are millions."""
        while True:
            await self._handling.forget_old_ids()
            await asyncio.sleep(FORGET_EVERY_S)

    async def _follow_topics(self) -> None:
        """Beside the leases: our heartbeat does not wait for a Kafka that is away. At once when partitions were begun:
        who was started anew since Kafka lost something begins beyond the end.
        """
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PARTITIONS_EVERY_S):
                    await self._has_begun.wait()
            self._has_begun.clear()
            try:
                await self._learn_partitions()
            except PASSING as error:
                log.warning("partitions_not_asked", error=repr(error))

    async def _learn_partitions(self) -> None:
        """Make sure that every partition can be leased; those of a topic that Kafka does not have yet, as declared."""
        topics = self._consumed.topics
        there = await self._reader.partitions([topic.name for topic in topics])
        found = {(t.name, number) for t in topics for number in there.get(t.name) or range(t.partitions)}
        if not found <= self._known:
            await self._leases.know(found)
            self._known = found
        seen = {place: at for place, at in self._seen.items() if place[1] in there.get(place[0], ())}
        await self._look_for_losses(seen)

    async def _look_for_losses(self, seen: Mapping[Partition, int]) -> None:
        """A log that ends before what we have seen of it has lost some of that: what comes next stands where we were
        already, and is passed over.
        """
        ends = await self._reader.look_for_ends(seen)
        lost = [place for place, at in seen.items() if ends[place] < at]
        for place in lost:
            topic, partition = place
            log.critical("log_lost", topic=topic, partition=partition, read=seen[place], end=ends[place])
        (self._runtime.held_up.add if lost else self._runtime.held_up.discard)("log")

    async def _take(self, numbers: Collection[int]) -> None:
        await self._leases.take(numbers)
        await self._lose(self._numbers & set(numbers))  # they lacked a topic, and are begun anew with it
        self._leases.look_soon()

    async def _begin(self, numbers: Collection[int]) -> None:
        """Read these partitions, which are leased to us, from where PostgreSQL says.

        What the dead who held them have said goes out before we say anything newer: the last of them, and whoever died
        before him and was not settled by him.
        """
        if not numbers:
            return
        async with asyncio.timeout(SETTLE_S):
            await self._runtime.outbox.adopt()
            while unsettled := self._leases.unsettled:
                owner = min(unsettled)
                if not await self._runtime.outbox.settle(owner):
                    self._leases.look_soon()
                    return
                unsettled.discard(owner)
        async with self._busy, self._runtime.pool.acquire(timeout=5) as connection:
            if self._handling.stopping:
                return
            stored = await self._handling.begin(connection, self._leases.owner, numbers)
            self._seen |= stored
            self._reader.begin(stored)
            self._numbers |= set(numbers)
            self._has_begun.set()
        log.info("partitions_begun", numbers=sorted(numbers))

    async def _hand_over(self, numbers: Collection[int]) -> None:
        """Give back what is too much once all that we said of it is out, so that our successor's words come later."""
        if LEAD in numbers:
            await self._leadership.resign()
        await self._lose(numbers)
        if await self._runtime.outbox.drained(DRAIN_S):
            await self._leases.give_back(numbers)
            log.info("partitions_handed_over", numbers=sorted(numbers))

    async def _lose(self, numbers: Collection[int]) -> None:
        if numbers:
            async with self._busy:
                self._forget(numbers)

    def _forget(self, numbers: Collection[int]) -> None:
        gone = set(numbers)
        self._held = [inbound for inbound in self._held if inbound.arrival.partition not in gone]
        lost = self._handling.forget(gone)
        for partition in lost:
            del self._seen[partition]
            self._ends.pop(partition, None)
            CONSUMER_LAG.remove(*partition)  # it is told by who reads it now
        try:
            self._reader.end(lost)
        except KafkaException as error:
            log.warning("partitions_not_ended", error=str(error))
        self._numbers -= gone

    def _report(self, now: Share) -> None:
        """Ready once it reads its share; the shares of later come and go without a word."""
        self._has_share = len(self._numbers) >= now.fair
        if self._has_share:
            self._part.works()
        for partition, position in self._seen.items():
            lag = self._reader.lag(partition, position)
            if lag is not None:
                CONSUMER_LAG.labels(*partition).set(lag)
