"""Events leave through here: kept with the state that they tell of, published in order, then forgotten."""

import asyncio
import contextlib
from asyncio import Future
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import asyncpg
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, OutOfOrderSequenceNumber

from libs.common.clock import Clock
from libs.common.contracts.base import Envelope
from libs.common.database import FAILURES, Connection
from libs.common.messaging.envelope import Record
from libs.common.messaging.errors import Refused
from libs.common.messaging.leases import CUT_OFF, OWNER_LOCK
from libs.common.telemetry import OUTBOX_AGE, log

_FORGET_SECONDS = 0.25
_RELAY_SECONDS = 1.0
_RELAY_ROWS = 500
_CLOSE_SECONDS = 3.0
_FORGOTTEN_SECONDS = 15.0
"""Longer than Kafka may take to answer. A row of ours that is older was committed without our hearing of it."""
_TURN_SECONDS = 0.5
_ANSWER_SECONDS = 1.0
"""How long a commit's words wait for the answer to an earlier one that said something of the same key."""

_LEFT = """
    SELECT owner, oldest, EXISTS (
        SELECT 1 FROM pg_locks l
        WHERE l.locktype = 'advisory' AND l.classid = $1::bigint::oid AND l.objid = kept.owner::oid AND l.granted
    ) OR EXISTS (
        SELECT 1 FROM message_members m WHERE m.owner = kept.owner AND m.instance <> $2
    ) AS lives
    FROM (SELECT owner, min(said_at) AS oldest FROM message_outbox GROUP BY owner) AS kept
"""
"""A member lives until `leases` says otherwise, though a database that has just come back knows nobody's lock. What it
had said would come again from us, harmless for who keeps an inbox; but a copy that is late comes after what it said of
the key next, and is the newest for who reads a stream, and for a compacted topic. Our own predecessor is gone, or we
would not run.
"""


@contextlib.asynccontextmanager
async def _heir_of(owner: int, connection: Connection) -> AsyncIterator[bool]:
    """Whether this session holds the lock of a process that is gone until the end; somebody else may.

    In no transaction: PostgreSQL ends those that wait for Kafka, and what they had sent would be sent once more.
    """
    try:
        is_heir = await connection.fetchval("SELECT pg_try_advisory_lock($1, $2)", OWNER_LOCK, owner)
        yield bool(is_heir)
        if is_heir:
            await connection.execute("SELECT pg_advisory_unlock($1, $2)", OWNER_LOCK, owner)
    except BaseException:
        connection.terminate()  # and the lock is free, should we have it
        raise


@dataclass(eq=False)
class Commit:
    """A transaction that says something, from before its commit until what it says was handed to Kafka."""

    first: int = 0
    """The lowest of its sequence numbers, once `says` knows them."""
    keys: frozenset[str] = frozenset()
    is_over: asyncio.Event = field(default_factory=asyncio.Event)

    def says(self, seqs: Sequence[int], records: Sequence[Record]) -> Sequence[int]:
        if seqs:
            self.first, self.keys = seqs[0], frozenset(record.envelope.key for record in records)
        return seqs


@dataclass(frozen=True, slots=True)
class _Sent:
    rows: int
    refusal: BaseException | None
    """Of the first that Kafka did not take."""


def _refusal(row: asyncpg.Record, answer: BaseException) -> BaseException:
    if not isinstance(answer, KafkaError) or isinstance(answer, OutOfOrderSequenceNumber):
        return answer
    return Refused(f"{row['type']} {row['message_id']} of {row['key']}, for {row['topic']}: {answer!r}")


class Outbox:
    """Publishes what was committed, in that order; after a failure it reads the table until all is out.

    What a process that died left behind is published too, before anything newer of ours.
    """

    def __init__(
        self,
        service: str,
        instance: str,
        owner: int,
        producer: AIOKafkaProducer,
        pool: asyncpg.Pool,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        clock: Clock,
    ) -> None:
        self.owner = owner
        self._source = f"/services/{service}"
        self._instance = instance
        self._producer = producer
        self._pool = pool
        self._connect = connect
        self._clock = clock
        self._order = asyncio.Lock()
        self._relaying = False
        self._has_more = False
        """Something was put into our table since the relay looked last, or may have been."""
        self._commits: set[Commit] = set()
        self._sent: list[int] = []
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._alive: asyncpg.Connection | None = None
        self._claiming = asyncio.Lock()

    async def open(self) -> None:
        await self.session()
        await self.adopt()

    async def close(self) -> None:
        """Wait a little for what is under way and forget what was confirmed; our successor finds the rest in our table.

        The producer itself would ask a Kafka that is away for ever.
        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), _CLOSE_SECONDS)
        try:
            await self._forget()
            if self._alive:
                await self._alive.close(timeout=_CLOSE_SECONDS)
        except FAILURES as error:
            log.warning("outbox_not_tidied", error=repr(error))

    @contextlib.contextmanager
    def committing(self) -> Iterator[Commit]:
        """Around a transaction and the publishing of what it says: however they end, what was committed goes out, and
        before what is said of its keys by a later transaction, which can be through first when an answer is late.
        """
        commit = Commit()
        self._commits.add(commit)
        try:
            yield commit
        except BaseException:
            if commit.first:
                self.relay_soon()
            raise
        finally:
            self._commits.discard(commit)
            commit.is_over.set()

    async def publish(self, seqs: Sequence[int], records: Sequence[Record]) -> None:
        """Hand committed records to Kafka. Never fails: what cannot be sent now, or soon, stays for the relay."""
        if not records:
            return
        await self._let_pass(seqs[0], records)
        if not await self._comes_to_turn():
            self.relay_soon()
            return
        try:
            await self._hand_over(seqs, records)
        finally:
            self._order.release()

    async def _comes_to_turn(self) -> bool:
        """Holding `_order` then. While Kafka is away whoever sends what the dead had said holds it until the end."""
        if self._relaying:
            return False
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await self._order.acquire()
        except TimeoutError:
            return False
        if self._relaying:
            self._order.release()
            return False
        return True

    async def _hand_over(self, seqs: Sequence[int], records: Sequence[Record]) -> None:
        for seq, record in zip(seqs, records, strict=True):
            try:
                confirmation = await self._send(record)
            except KafkaError as error:
                self._stumble(error)
                return
            except asyncio.CancelledError as error:
                self._stumble(error)
                raise
            self._in_flight += 1
            self._idle.clear()
            confirmation.add_done_callback(partial(self._settle, seq))

    async def _let_pass(self, first: int, records: Sequence[Record]) -> None:
        """Whose commit came before and is not answered yet; who is not by then was committed, and is in the table."""
        before = [each for each in self._commits if 0 < each.first < first]
        if not before:
            return
        keys = {record.envelope.key for record in records}
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                for each in before:
                    if each.keys & keys:
                        await each.is_over.wait()
        except TimeoutError:
            self.relay_soon()

    async def run(self) -> None:
        """Forget what was confirmed; relay what was not; adopt what the dead left behind. Raises what only another
        producer can mend, that of the next process.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tell_age(), name="outbox age")
            await self._send_on()

    async def _tell_age(self) -> None:
        """Beside all that waits for Kafka."""
        while True:
            with contextlib.suppress(*FAILURES):
                oldest = await self._pool.fetchval("SELECT min(said_at) FROM message_outbox", timeout=5)
                OUTBOX_AGE.set((self._clock.now() - oldest).total_seconds() if oldest else 0)
            await asyncio.sleep(_RELAY_SECONDS)

    async def _send_on(self) -> None:
        next_relay = 0.0
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_FORGET_SECONDS)
            try:
                await self._forget()
                if self._relaying or loop.time() >= next_relay:
                    next_relay = loop.time() + _RELAY_SECONDS
                    await self.session()
                    await self.adopt()
                    await self._relay()
            except OutOfOrderSequenceNumber:
                raise  # Kafka has lost, or never took, something of ours: it refuses all that this producer sends there
            except (*FAILURES, KafkaError, Refused) as error:
                log.warning("outbox_relay_waits", error=repr(error))

    async def adopt(self) -> None:
        """Publish what processes left behind that are gone."""
        rows = await self._pool.fetch(_LEFT, OWNER_LOCK, self._instance, timeout=5)
        ages = {row["owner"]: (self._clock.now() - row["oldest"]).total_seconds() for row in rows}
        if ages.get(self.owner, 0) > _FORGOTTEN_SECONDS:
            self.relay_soon()
        for row in rows:
            if row["owner"] != self.owner and not row["lives"]:
                await self.settle(row["owner"])

    async def settle(self, owner: int) -> bool:
        """Publish the rows of a process that is gone; True when none is left, False while somebody holds its lock."""
        async with (
            self._order,
            self._pool.acquire(timeout=5) as connection,
            _heir_of(owner, connection) as is_heir,
        ):
            if not is_heir:
                return not await connection.fetchval("SELECT 1 FROM message_outbox WHERE owner = $1", owner)
            sent = await self._relay_rows(connection, owner)
            while sent.rows and not sent.refusal:
                log.info("outbox_adopted", rows=sent.rows)
                sent = await self._relay_rows(connection, owner)
        if sent.refusal:
            raise sent.refusal
        return True

    async def drained(self, seconds: float) -> bool:
        """True once Kafka has confirmed all that was handed to it; False when it did not in time."""
        try:
            async with asyncio.timeout(seconds):
                while self._in_flight or self._relaying or any(each.first for each in self._commits):  # noqa: ASYNC110 - nobody tells when the relay is through
                    await asyncio.sleep(0.02)
        except TimeoutError:
            return False
        return True

    def waits(self) -> bool:
        """Whether Kafka has yet to confirm something, ours or what the dead had said."""
        return bool(self._in_flight or self._relaying or self._order.locked())

    async def session(self) -> asyncpg.Connection:
        """The connection that holds our lock, which tells the others that we live."""
        async with self._claiming:
            if self._alive is None or self._alive.is_closed():
                alive = await self._connect()
                try:
                    await alive.execute("SELECT pg_advisory_lock($1, $2)", OWNER_LOCK, self.owner)
                except BaseException as error:
                    alive.terminate()
                    if isinstance(error, TimeoutError):
                        await self._end_lost_session()
                    raise
                self._alive = alive
            return self._alive

    async def _end_lost_session(self) -> None:
        """Ours, that PostgreSQL knows nothing of the loss of: it would hold our lock for hours."""
        await self._pool.execute(CUT_OFF, OWNER_LOCK, self.owner, timeout=5)

    async def _send(self, record: Record) -> "Future[Any]":
        confirmation: Future[Any] = await self._producer.send(
            record.topic, record.value, key=record.key, headers=record.headers()
        )
        return confirmation

    def _settle(self, seq: int, done: "Future[Any]") -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._idle.set()
        error = None if done.cancelled() else done.exception()
        if done.cancelled() or error:
            self._stumble(error)
        else:
            self._sent.append(seq)

    def relay_soon(self) -> None:
        """Rows of ours may wait unpublished: somebody put them there, or a commit that nobody answered."""
        self._relaying = self._has_more = True

    def _stumble(self, error: BaseException | None) -> None:
        if not self._relaying:
            log.warning("outbox_publish_failed", error=repr(error))
        self._relaying = True

    async def _forget(self) -> None:
        sent, self._sent = self._sent, []
        if not sent:
            return
        try:
            await self._pool.execute("DELETE FROM message_outbox WHERE seq = ANY($1::bigint[])", sent, timeout=5)
        except BaseException:
            self._sent = sent + self._sent
            raise

    async def _relay(self) -> None:
        """Send our rows from the table, oldest first, until none is left; then publish directly again."""
        if not self._relaying:
            return
        await self._idle.wait()
        await self._forget()
        async with self._order:
            self._has_more = True
            while self._has_more:
                self._has_more = False
                while (sent := await self._relay_rows(self._pool, self.owner)).rows:
                    if sent.refusal:
                        raise sent.refusal
            self._relaying = False

    async def _relay_rows(self, database: "asyncpg.Pool | Connection", owner: int) -> _Sent:
        """Send the oldest rows of an owner up to one that is refused, and forget those that Kafka has."""
        rows = await database.fetch(
            "SELECT * FROM message_outbox WHERE owner = $1 ORDER BY seq LIMIT $2", owner, _RELAY_ROWS
        )
        answers = list(zip(rows, await self._answers(rows), strict=False))
        kept = [row["seq"] for row, answer in answers if answer is None]
        await database.execute("DELETE FROM message_outbox WHERE seq = ANY($1::bigint[])", kept)
        refusals = (_refusal(row, answer) for row, answer in answers if answer is not None)
        return _Sent(len(rows), next(refusals, None))

    async def _answers(self, rows: Sequence[asyncpg.Record]) -> list[BaseException | None]:
        """Kafka's, row by row, up to one that cannot be sent; None where it has it."""
        confirmations: list[Future[Any]] = []
        unsent: list[BaseException] = []
        try:
            for row in rows:
                confirmations.append(await self._send(self._read(row)))
        except KafkaError as error:
            unsent = [error]
        answers = [*await asyncio.gather(*confirmations, return_exceptions=True), *unsent]
        return [answer if isinstance(answer, BaseException) else None for answer in answers]

    def _read(self, row: asyncpg.Record) -> Record:
        envelope = Envelope(
            id=row["message_id"],
            type=row["type"],
            source=self._source,
            time=row["said_at"],
            key=row["key"],
            correlation_id=row["correlation_id"],
            user_id=row["user_id"],
            traceparent=row["traceparent"],
        )
        return Record(row["topic"], envelope, row["value"])
