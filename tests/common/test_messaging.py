"""The runtime on real Kafka and PostgreSQL: exactly-once in effect, through crashes, zombies and poison."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaProducer

from libs.common import ids, parts
from libs.common.messaging import inbox, parked
from libs.common.messaging.envelope import Record, record
from libs.common.messaging.errors import Fenced, MessagingUnavailable
from libs.common.messaging.inbox import Move
from libs.common.messaging.outbox import keep
from libs.common.messaging.work import Work
from libs.common.runtime import LAST_LOOK_SECONDS, SEND_SECONDS
from libs.common.service import Delivery
from libs.common.testing import NOON
from libs.common.testing.delivery import envelope_of
from libs.common.writes import Writes
from tests.common.ledger import BalanceChanged, DepositRequested, Ledger, NoteRequested, new_ledger, publish


def deposit_of(account_id: str, amount: int) -> DepositRequested:
    return DepositRequested(account_id=account_id, amount=amount)


@pytest.fixture
async def ledger() -> AsyncIterator[Ledger]:
    async with new_ledger() as made:
        yield made


async def test_each_request_is_booked_once_and_its_event_published(ledger: Ledger) -> None:
    async with ledger.running():
        sent = await ledger.request(*(deposit_of("a", n) for n in (1, 2, 3)), deposit_of("b", 10))
        await ledger.eventually({"a": 6, "b": 10})
        said = await ledger.said(4)
    assert [e.balance for _, e in said if e.account_id == "a"] == [1, 3, 6]
    assert {envelope.correlation_id for envelope, _ in said} == {envelope.id for envelope in sent}


async def test_the_same_message_id_twice_is_one_message(ledger: Ledger) -> None:
    twice = ids.new_id()
    async with ledger.running():
        await ledger.request(deposit_of("a", 5), message_id=twice)
        await ledger.request(deposit_of("a", 5), message_id=twice)
        await ledger.request(deposit_of("a", 1))
        await ledger.eventually({"a": 6})


async def test_foreign_types_are_passed_over_without_decoding(ledger: Ledger) -> None:
    async with ledger.running():
        await ledger.request(NoteRequested(account_id="a"), deposit_of("a", 5), NoteRequested(account_id="a"))
        await ledger.eventually({"a": 5})


async def test_a_restart_resumes_where_postgresql_says_not_where_kafka_does(ledger: Ledger) -> None:
    async with ledger.running():
        await ledger.request(deposit_of("a", 5))
        await ledger.eventually({"a": 5})
    await ledger.request(deposit_of("a", 7))
    async with ledger.running():
        await ledger.eventually({"a": 12})


async def test_two_instances_share_the_accounts_and_one_takes_over_from_the_other(ledger: Ledger) -> None:
    accounts = [f"account-{n}" for n in range(20)]
    async with ledger.running("0"):
        async with ledger.running("1"):
            await ledger.request(*(deposit_of(a, 1) for a in accounts))
            await ledger.eventually(dict.fromkeys(accounts, 1))
        await ledger.request(*(deposit_of(a, 1) for a in accounts))
        await ledger.eventually(dict.fromkeys(accounts, 2), seconds=40)


async def test_a_zombie_that_lost_its_partition_is_fenced(ledger: Ledger) -> None:
    connection = await ledger.connect()
    partition = (ledger.requests.name, 0)
    await connection.execute("INSERT INTO message_offsets VALUES ($1, $2, 0, 1)", *partition)
    await inbox.enter(connection, 1, [Move(partition, 0, 10)], [], NOON)
    with pytest.raises(Fenced):
        await inbox.enter(connection, 1, [Move(partition, 0, 5)], [], NOON)
    await connection.close()


async def test_who_lost_the_lease_is_fenced_even_before_the_successor_moves_an_offset(ledger: Ledger) -> None:
    connection = await ledger.connect()
    partition = (ledger.requests.name, 0)
    await connection.execute("INSERT INTO message_offsets VALUES ($1, $2, 0, 2)", *partition)
    with pytest.raises(Fenced):
        await inbox.enter(connection, 1, [Move(partition, 0, 5)], [], NOON)
    await connection.close()


async def test_openalgo_1404_who_is_stuck_is_not_ready_until_he_goes_on(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A strategy was shown as running long after it had ceased to. Our process lives, answers, and handles nothing."""
    monkeypatch.setattr(parts, "STUCK_SECONDS", 0.5)
    async with ledger.running() as runtime:
        await ledger.request(deposit_of("a", 1))
        await ledger.eventually({"a": 1})
        assert runtime.ready["consumer"]
        runtime.memory.pause.clear()
        await ledger.request(deposit_of("a", 2))
        await asyncio.sleep(3)
        seen = runtime.ready["consumer"]  # though it looks at its leases every second
        runtime.memory.pause.set()
        await ledger.eventually({"a": 3})
        async with asyncio.timeout(10):
            while not runtime.ready["consumer"]:
                await asyncio.sleep(0.02)
    assert not seen, "it was shown as ready while it stood"


async def test_a_crash_between_commit_and_publish_loses_no_event(ledger: Ledger) -> None:
    """The state and its event are committed, the process dies before Kafka hears of it."""
    async with ledger.running() as runtime:
        connection = await ledger.connect()
        message = deposit_of("a", 5)
        delivery = Delivery(message, envelope_of(message))
        async with connection.transaction():
            work = Work(ledger.service, runtime.memory, connection, NOON)
            await work.handle([delivery])
            await work.keep(424_242)
        await connection.close()
        said = await ledger.said(1)
        assert said[0][1] == BalanceChanged(account_id="a", balance=5, amount=5)
        async with asyncio.timeout(10):
            while await runtime.pool.fetchval("SELECT count(*) FROM message_outbox"):
                await asyncio.sleep(0.05)


async def test_rows_of_a_living_process_are_not_adopted(ledger: Ledger) -> None:
    async with ledger.running("0") as one, ledger.running("1") as other:
        assert one.outbox.owner != other.outbox.owner
        row = Record(ledger.events.name, envelope_of(deposit_of("a", 1), now=one.clock.now()), b"{}")
        await keep_committed(ledger, one.outbox.owner, row)
        await other.outbox.adopt()
        assert await other.pool.fetchval("SELECT owner FROM message_outbox") == one.outbox.owner


async def keep_committed(ledger: Ledger, owner: int, row: Record) -> None:
    connection = await ledger.connect()
    async with connection.transaction():
        await keep(Writes(connection), owner, [row])
    await connection.close()


async def test_a_database_that_takes_no_writes_for_a_while_parks_nobody(ledger: Ledger) -> None:
    """As one does that became a standby, or whose disk is full: it is not the message that is wrong."""
    async with ledger.running() as runtime:
        await ledger.request(deposit_of("a", 1))
        await ledger.eventually({"a": 1})
        await takes_writes(ledger, "off")
        await ledger.request(deposit_of("a", 5))
        await asyncio.sleep(1)
        await takes_writes(ledger, "on")
        await ledger.eventually({"a": 6})
        assert await runtime.pool.fetchval("SELECT count(*) FROM message_parked") == 0


async def takes_writes(ledger: Ledger, whether: str) -> None:
    connection = await ledger.connect()
    await connection.execute("SET default_transaction_read_only = off")
    is_read_only = "off" if whether == "on" else "on"
    await connection.execute(f"ALTER DATABASE {ledger.name} SET default_transaction_read_only = {is_read_only}")
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()",
        ledger.name,
    )
    await connection.close()


async def test_a_message_that_makes_its_handler_raise_parks_its_key_alone(ledger: Ledger) -> None:
    async with ledger.running() as runtime:
        await ledger.request(deposit_of("a", 1), deposit_of("a", 13), deposit_of("a", 2), deposit_of("b", 7))
        await ledger.eventually({"a": 1, "b": 7})
        rows = await parked_rows(ledger, 2)
        assert [row.key for row in rows] == ["a", "a"]
        assert "thirteen is unlucky" in rows[0].reason
        assert rows[1].reason == parked.BEHIND
        runtime.memory.broken.clear()
        await retry(ledger, "a")
        await ledger.eventually({"a": 16, "b": 7})
        said = await ledger.said(4)
        assert [e.balance for _, e in said if e.account_id == "a"] == [1, 14, 16]


async def test_a_discarded_message_lets_those_behind_it_go_on_in_order(ledger: Ledger) -> None:
    async with ledger.running():
        await ledger.request(*(deposit_of("a", amount) for amount in (13, 2, 3)))
        await parked_rows(ledger, 3)
        connection = await ledger.connect()
        assert await parked.discard_first(connection, "a") == 2
        await connection.close()
        await ledger.eventually({"a": 5})
        await parked_rows(ledger, 0)


async def test_a_retry_that_fails_again_stays_parked_in_order(ledger: Ledger) -> None:
    async with ledger.running():
        await ledger.request(deposit_of("a", 13), deposit_of("a", 2))
        await parked_rows(ledger, 2)
        await retry(ledger, "a")
        await asyncio.sleep(1.5)
        rows = await parked_rows(ledger, 2)
        assert not any(row.retry_requested for row in rows)
        assert await ledger.balances() == {}


async def test_what_comes_while_its_key_is_being_retried_is_retried_with_it(ledger: Ledger) -> None:
    """The key of a busy account would never be free again: something always comes between the command and the end."""
    async with ledger.running():
        await ledger.request(deposit_of("a", 13), deposit_of("a", 2))
        await parked_rows(ledger, 2)
    connection = await ledger.connect()
    await parked.discard_first(connection, "a")
    wish = deposit_of("a", 3)
    kept = record(ledger.requests, wish, ledger._envelope(wish, None))
    late = parked.Arrival(kept.topic, 0, 1_000_000, "a", kept.envelope.type, kept.headers(), kept.value)
    await parked.park(connection, [(late, parked.BEHIND)], kept.envelope.time)
    await connection.close()
    async with ledger.running():
        await ledger.eventually({"a": 5})
        await parked_rows(ledger, 0)


async def test_parked_keys_still_wait_after_a_restart(ledger: Ledger) -> None:
    async with ledger.running():
        await ledger.request(deposit_of("a", 13))
        await parked_rows(ledger, 1)
    async with ledger.running():
        await ledger.request(deposit_of("a", 2), deposit_of("b", 2))
        await ledger.eventually({"b": 2})
        await parked_rows(ledger, 2)


@pytest.mark.parametrize("value", [b"not json", b'{"account_id": "a"}', b""])
async def test_a_message_that_cannot_be_decoded_parks_its_key(ledger: Ledger, value: bytes) -> None:
    async with ledger.running():
        envelope = ledger._envelope(deposit_of("a", 1), None)
        await publish([Record(ledger.requests.name, envelope, value)])
        await ledger.request(deposit_of("b", 7))
        await ledger.eventually({"b": 7})
        assert [row.key for row in await parked_rows(ledger, 1)] == ["a"]


@pytest.mark.parametrize("headers", [[], [("ce_type", None)]], ids=["none", "one without a value"])
async def test_a_record_without_our_headers_is_parked_not_lost(
    ledger: Ledger, headers: list[tuple[str, bytes | None]]
) -> None:
    async with ledger.running():
        envelope = ledger._envelope(deposit_of("a", 1), None)
        await publish([Record(ledger.requests.name, envelope, b"{}")], raw_headers=headers)
        rows = await parked_rows(ledger, 1)
        assert "no ce_type" in rows[0].reason


async def test_a_message_that_kafka_cannot_keep_is_refused_within_two_seconds(ledger: Ledger) -> None:
    async with ledger.running() as runtime:
        await runtime.producer.stop()
        with pytest.raises(MessagingUnavailable):
            await runtime.send(BalanceChanged(account_id="a", balance=1, amount=1))


class Swallower:
    """A producer that Kafka confirms nothing to of the first message that is sent, or only `after` so many seconds."""

    def __init__(self, producer: AIOKafkaProducer, after: float | None = None) -> None:
        self.producer = producer
        self.swallowed = False
        self._after = after

    async def send(self, *message: Any, **more: Any) -> "asyncio.Future[None]":
        if self.swallowed:
            return cast("asyncio.Future[None]", await self.producer.send(*message, **more))
        self.swallowed = True
        loop = asyncio.get_running_loop()
        began, confirmed = loop.time(), loop.create_future()
        if self._after is not None:
            await self.producer.send_and_wait(*message, **more)
            loop.call_at(began + self._after, confirmed.set_result, None)
        return confirmed

    async def stop(self) -> None:
        await self.producer.stop()


async def test_what_a_slow_kafka_did_not_confirm_in_time_counts_as_taken_and_is_sent_until_it_is(
    ledger: Ledger,
) -> None:
    """It may have it, so nobody may be told otherwise."""
    async with ledger.running() as runtime:
        runtime.producer = Swallower(runtime.producer)
        waiting = asyncio.create_task(runtime.send(BalanceChanged(account_id="a", balance=1, amount=1)))
        await asyncio.sleep(0.2)
        await runtime.send(BalanceChanged(account_id="b", balance=2, amount=2))
        envelope = await waiting
        said = await ledger.said(2)
        assert {e.account_id for _, e in said} == {"a", "b"}
        assert envelope.id in {known.id for known, _ in said}


async def test_what_kafka_confirms_in_the_moment_of_giving_up_was_taken(ledger: Ledger) -> None:
    """Seen on a starved machine: 503 "nothing was taken" 1.87 s after an order that had been accepted by then."""
    async with ledger.running() as runtime:
        runtime.producer = Swallower(runtime.producer, SEND_SECONDS + LAST_LOOK_SECONDS / 2)
        await runtime.send(BalanceChanged(account_id="a", balance=1, amount=1))
        assert len(await ledger.said(1)) == 1
        assert await runtime.pool.fetchval("SELECT count(*) FROM message_outbox") == 0


class Deaf:
    """A producer that keeps everything to itself, as while Kafka is away, until `hear` hands it on."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self.producer = producer
        self.waiting: list[tuple[asyncio.Future[None], tuple[Any, ...], dict[str, Any]]] = []

    async def send(self, *message: Any, **more: Any) -> "asyncio.Future[None]":
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append((confirmed, message, more))
        return confirmed

    async def hear(self) -> None:
        for confirmed, message, more in self.waiting:
            await self.producer.send_and_wait(*message, **more)
            confirmed.set_result(None)

    async def stop(self) -> None:
        await self.producer.stop()


async def test_while_kafka_is_away_hardly_anything_waits_for_it_and_once_it_is_back_all_is_sent(ledger: Ledger) -> None:
    """Seen when Kafka had been killed: two seconds of orders that had expired went before the first that had not."""

    def change(account_id: str) -> BalanceChanged:
        return BalanceChanged(account_id=account_id, balance=1, amount=1)

    async with ledger.running() as runtime:
        there = runtime.producer
        runtime.producer = away = Deaf(there)
        with pytest.raises(MessagingUnavailable):
            await runtime.send(change("first"))
        many = [asyncio.create_task(runtime.send(change(f"a{n}"))) for n in range(20)]
        refused, looking = await asyncio.wait(many, timeout=SEND_SECONDS / 2)
        assert len(looking) == 1
        assert {type(task.exception()) for task in refused} == {MessagingUnavailable}
        await away.hear()
        runtime.producer = there
        await asyncio.gather(*looking, *(runtime.send(change(f"b{n}")) for n in range(5)))
        assert len(await ledger.said(7)) == 7


async def parked_rows(ledger: Ledger, count: int) -> list[parked.Parked]:
    connection = await ledger.connect()
    try:
        async with asyncio.timeout(15):
            while len(rows := await parked.listed(connection)) != count:
                await asyncio.sleep(0.05)
        return rows
    finally:
        await connection.close()


async def retry(ledger: Ledger, key: str) -> None:
    connection = await ledger.connect()
    await parked.request_retry(connection, key)
    await connection.close()


async def test_patient_messages_wait_for_company_and_go_before_the_urgent_one(ledger: Ledger) -> None:
    """Bookkeeping shares the next urgent message's transaction, in the order in which it came."""
    ledger.be_patient(30.0)
    async with ledger.running() as runtime:
        await ledger.request(deposit_of("a", 1), deposit_of("a", 2))
        await asyncio.sleep(1)
        assert await ledger.balances() == {}
        await ledger.request(NoteRequested(account_id="a"))
        await ledger.eventually({"a": 3})
        assert await runtime.pool.fetchval("SELECT count(DISTINCT xmin::text) FROM message_inbox") == 1


async def test_patience_ends(ledger: Ledger) -> None:
    ledger.be_patient(0.5)
    async with ledger.running():
        await ledger.request(deposit_of("a", 1))
        await ledger.eventually({"a": 1}, seconds=5)
