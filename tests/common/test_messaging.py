"""The runtime on real Kafka and PostgreSQL: exactly-once in effect, through crashes, zombies and restarts."""

import asyncio
import os
from collections.abc import Collection, Sequence
from dataclasses import replace

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from prometheus_client import REGISTRY

from libs.common import database, ids, parts
from libs.common.clock import SystemClock
from libs.common.contracts.base import Delivery, Message
from libs.common.database import FAILURES
from libs.common.messaging import consumer, inbox
from libs.common.messaging.envelope import Record, record
from libs.common.messaging.errors import Fenced
from libs.common.messaging.inbox import Move
from libs.common.messaging.leases import OWNER_LOCK, Leases
from libs.common.messaging.outbox import Outbox
from libs.common.messaging.work import Work
from libs.common.runtime import Runtime
from libs.common.service import Store
from libs.common.settings import CommonSettings, ServiceSettings
from libs.common.telemetry import CONSUMER_LAG
from libs.common.testing import NOON
from libs.common.testing.delivery import envelope_of
from tests.common.ledger import (
    BalanceChanged,
    Ledger,
    LedgerMemory,
    LedgerStore,
    NoteRequested,
    balance_of_a,
    deposit_of,
    keep_committed,
    publish,
)
from tests.common.test_sending import Deaf


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
    """What could not be decoded would keep its account waiting."""
    foreign = ledger._envelope(NoteRequested(account_id="a"), None)
    async with ledger.running():
        await publish([Record(ledger.requests.name, foreign, b"\xff is no JSON")])
        await ledger.request(deposit_of("a", 5), NoteRequested(account_id="a"), deposit_of("a", 2))
        await ledger.eventually({"a": 7})


async def test_a_backlog_is_handled_in_batches_of_some_hundreds(ledger: Ledger) -> None:
    """Neither one by one, nor all that there is in one transaction, which holds all of it in memory."""
    accounts = [f"account-{n}" for n in range(20)]
    await ledger.request(*(deposit_of(each, 1) for _ in range(60) for each in accounts))
    figures: list[tuple[str, dict[str, str]]] = [
        ("batch_messages_count", {}),
        ("batch_messages_sum", {}),
        ("batch_messages_bucket", {"le": "500.0"}),
    ]

    def told() -> list[float]:
        return [REGISTRY.get_sample_value(name, labels) or 0 for name, labels in figures]

    before = told()
    async with ledger.running():
        await ledger.eventually(dict.fromkeys(accounts, 60))
    batches, messages, within = (after - earlier for after, earlier in zip(told(), before, strict=True))
    assert messages == len(accounts) * 60
    assert batches == within
    assert batches < messages / 20


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
    await inbox.enter(Store(connection), [], 1, [Move(partition, 0, 10)], [], NOON)
    with pytest.raises(Fenced):
        await inbox.enter(Store(connection), [], 1, [Move(partition, 0, 5)], [], NOON)
    await connection.close()


async def test_who_lost_the_lease_is_fenced_even_before_the_successor_moves_an_offset(ledger: Ledger) -> None:
    connection = await ledger.connect()
    partition = (ledger.requests.name, 0)
    await connection.execute("INSERT INTO message_offsets VALUES ($1, $2, 0, 2)", *partition)
    with pytest.raises(Fenced):
        await inbox.enter(Store(connection), [], 1, [Move(partition, 0, 5)], [], NOON)
    await connection.close()


async def test_openalgo_1404_who_is_stuck_is_not_ready_until_he_goes_on(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A strategy was shown as running long after it had ceased to. Our process lives, answers, and handles nothing."""
    monkeypatch.setattr(parts, "STUCK_SECONDS", 0.5)
    async with ledger.running() as runtime:
        await ledger.request(deposit_of("a", 1))
        await ledger.eventually({"a": 1})
        await shown(runtime, True)
        runtime.memory.pause.clear()
        await ledger.request(deposit_of("a", 2))
        await shown(runtime, False)
        await asyncio.sleep(3)
        seen = runtime.ready["consumer"]  # though it looks at its leases every second
        runtime.memory.pause.set()
        await ledger.eventually({"a": 3})
        await shown(runtime, True)
    assert not seen, "it was shown as ready while it stood"


async def shown(runtime: Runtime[LedgerStore, LedgerMemory], ready: bool) -> None:
    async with asyncio.timeout(15):
        while runtime.ready["consumer"] is not ready:
            await asyncio.sleep(0.02)


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


async def test_rows_of_a_living_process_are_not_adopted_while_a_database_that_has_just_come_back_knows_no_lock(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were said again by who could be slow: after what the living one said of the same key next."""
    async with ledger.running("0") as one, ledger.running("1") as other:
        await is_member(ledger, one)
        row = Record(ledger.events.name, envelope_of(deposit_of("a", 1), now=one.clock.now()), b"{}")
        await keep_committed(ledger, one.outbox.owner, row)
        connect, may_come_back = one.outbox._connect, asyncio.Event()

        async def later() -> asyncpg.Connection:
            await may_come_back.wait()
            return await connect()

        monkeypatch.setattr(one.outbox, "_connect", later)
        await takes_writes(ledger, "on")
        connection = await ledger.connect()
        async with asyncio.timeout(10):
            while await connection.fetchval(
                "SELECT true FROM pg_locks WHERE locktype = 'advisory' AND objid = $1::bigint::oid", one.outbox.owner
            ):
                await asyncio.sleep(0.01)
        await adopt(other)
        left = await connection.fetchval("SELECT owner FROM message_outbox")
        may_come_back.set()
        await connection.close()
        assert left == one.outbox.owner


async def is_member(ledger: Ledger, runtime: Runtime[LedgerStore, LedgerMemory]) -> None:
    """It becomes one with its consumer's first look, which comes after its start."""
    connection = await ledger.connect()
    async with asyncio.timeout(10):
        while not await connection.fetchval("SELECT true FROM message_members WHERE owner = $1", runtime.outbox.owner):
            await asyncio.sleep(0.01)
    await connection.close()


async def adopt(runtime: Runtime[LedgerStore, LedgerMemory]) -> None:
    """On the first connection of its pool that is not broken."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await runtime.outbox.adopt()
            except FAILURES:
                await asyncio.sleep(0.01)


async def test_what_the_predecessor_said_goes_out_before_its_successor_has_begun(ledger: Ledger) -> None:
    """Though nobody has declared it dead yet: it would not have been started if that one lived."""
    connection = await ledger.connect()
    await connection.execute("INSERT INTO message_members VALUES (7, 'the same', 1), (8, 'another', 1)")
    for owner in (7, 8):
        row = Record(ledger.events.name, envelope_of(deposit_of("a", 1), now=NOON), b"{}")
        await keep_committed(ledger, owner, row)
    runtime = Runtime(
        ledger.service,
        CommonSettings(instance_id="the same"),
        ServiceSettings(database_url=ledger.url, port=0),
        SystemClock(),
    )
    await runtime.open()
    left = await connection.fetch("SELECT owner FROM message_outbox")
    await runtime.close()
    await connection.close()
    assert [row["owner"] for row in left] == [8]


async def test_who_never_heard_that_it_took_over_lets_the_dead_have_their_say_first(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection broke when the lease was taken and not yet answered; whom it was taken from was forgotten."""
    take, is_taken, dead = Leases.take, asyncio.Event(), 7

    async def unanswered(leases: Leases, numbers: Collection[int]) -> None:
        await take(leases, numbers)
        if not is_taken.is_set():
            is_taken.set()
            raise ConnectionResetError("no answer")

    monkeypatch.setattr(Leases, "take", unanswered)
    its_session, connection = await ledger.connect(), await ledger.connect()
    await its_session.execute("SELECT pg_advisory_lock($1, $2)", OWNER_LOCK, dead)
    for number in range(ledger.requests.partitions):
        await connection.execute(
            "INSERT INTO message_offsets VALUES ($1, $2, 0, $3)", ledger.requests.name, number, dead
        )
    await keep_committed(ledger, dead, balance_of_a(ledger, 1))
    await ledger.request(deposit_of("a", 5))
    async with ledger.running():
        await is_taken.wait()
        begun_at = await connection.fetchval("SELECT beats FROM message_members")
        async with asyncio.timeout(10):
            while await connection.fetchval("SELECT beats FROM message_members") < begun_at + 3:
                await asyncio.sleep(0.05)
        await its_session.close()
        assert [event.balance for _, event in await ledger.said(2)] == [1, 5]
    await connection.close()


async def test_who_takes_over_from_one_that_died_taking_over_lets_both_have_their_say_first(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = Leases.take

    async def after_two_have_died(leases: Leases, numbers: Collection[int]) -> None:
        await keep_committed(ledger, 7, balance_of_a(ledger, 1))
        await take(leases, numbers)

    async def too_late(_: Outbox) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Leases, "take", after_two_have_died)
    monkeypatch.setattr(Outbox, "run", too_late)
    await ledger.request(deposit_of("a", 5))
    async with ledger.running():
        assert [event.balance for _, event in await ledger.said(2)] == [1, 5]


async def test_who_takes_over_while_kafka_is_away_goes_on_giving_signs_of_life(ledger: Ledger) -> None:
    """It was taken for dead in its turn: its looks waited for Kafka to have what the dead had said."""
    async with ledger.running() as runtime:
        await ledger.request(deposit_of("a", 1))
        await ledger.eventually({"a": 1})
        there = runtime.outbox._producer
        runtime.outbox._producer = away = Deaf(there)
        connection = await ledger.connect()
        await keep_committed(ledger, 7, balance_of_a(ledger, 10))
        await connection.execute("UPDATE message_offsets SET owner = 7")
        try:
            async with asyncio.timeout(20):
                while await connection.fetchval("SELECT owner FROM message_offsets") == 7 or not away.waiting:
                    await asyncio.sleep(0.05)
                beats = await connection.fetchval("SELECT beats FROM message_members")
                while await connection.fetchval("SELECT beats FROM message_members") < beats + 3:
                    await asyncio.sleep(0.05)
        finally:
            runtime.outbox._producer = there
            await away.hear()
            await connection.close()
        await ledger.request(deposit_of("a", 5))
        await ledger.eventually({"a": 6})


async def test_who_has_to_say_what_the_dead_had_said_goes_on_with_its_own_work_while_kafka_is_away(
    ledger: Ledger,
) -> None:
    """Signals took no alert more until Kafka was back, once another instance of it had been restarted meanwhile."""
    async with ledger.running() as runtime:
        await ledger.request(deposit_of("a", 1))
        await ledger.said(1)
        there = runtime.outbox._producer
        runtime.outbox._producer = away = Deaf(there)
        await keep_committed(ledger, 7, balance_of_a(ledger, 10))
        try:
            async with asyncio.timeout(10):
                while not away.waiting:
                    await asyncio.sleep(0.05)
            async with asyncio.timeout(3):
                for balance in range(11, 21):
                    async with runtime.transaction() as unit:
                        unit.say(BalanceChanged(account_id="a", balance=balance, amount=1))
        finally:
            runtime.outbox._producer = there
            await away.hear()
        assert [event.balance for _, event in await ledger.said(12)] == [1, *range(10, 21)]


async def test_the_age_of_what_waits_for_kafka_grows_as_long_as_it_is_away(ledger: Ledger) -> None:
    """It stood still at fifteen seconds, however long the outage: no alarm that asks for more ever came."""
    async with ledger.running() as runtime:
        there = runtime.outbox._producer
        runtime.outbox._producer = away = Deaf(there)
        async with runtime.transaction() as unit:
            unit.say(BalanceChanged(account_id="a", balance=1, amount=1))
        runtime.outbox.relay_soon()
        await asyncio.sleep(2)
        before = REGISTRY.get_sample_value("outbox_oldest_seconds") or 0
        await asyncio.sleep(3)
        after = REGISTRY.get_sample_value("outbox_oldest_seconds") or 0
        runtime.outbox._producer = there
        await away.hear()
        assert after - before > 1.5


async def test_who_gave_a_partition_back_tells_no_lag_of_it_any_more(ledger: Ledger) -> None:
    """What it told last stood in its metrics for as long as it lived, beside what the new holder tells."""

    def told() -> set[str]:
        samples = [sample for metric in CONSUMER_LAG.collect() for sample in metric.samples]
        return {each.labels["partition"] for each in samples if each.labels["topic"] == ledger.requests.name}

    async with ledger.running():
        async with asyncio.timeout(15):
            while len(told()) < ledger.requests.partitions:
                await asyncio.sleep(0.05)
    assert told() == set()


async def test_who_stands_still_tells_how_much_comes_meanwhile(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """It told what it had heard with its last fetch, some thousands, however long it stood: no alarm for more came."""
    monkeypatch.setattr(consumer, "PARTITIONS_EVERY_S", 0.5)

    def told() -> float:
        samples = [sample for metric in CONSUMER_LAG.collect() for sample in metric.samples]
        return sum(each.value for each in samples if each.labels["topic"] == ledger.requests.name)

    async with ledger.running() as runtime:
        await ledger.request(deposit_of("a", 1))
        await ledger.eventually({"a": 1})
        runtime.memory.pause.clear()
        await flooded(ledger, 3_000)
        await asyncio.sleep(3)
        await flooded(ledger, 3_000)
        try:
            async with asyncio.timeout(10):
                while told() < 5_000:
                    await asyncio.sleep(0.1)
        finally:
            runtime.memory.pause.set()


async def flooded(ledger: Ledger, count: int) -> None:
    """Requests of one account, as fast as Kafka takes them."""
    producer = AIOKafkaProducer(bootstrap_servers=os.environ["KAFKA_BOOTSTRAP"])
    await producer.start()
    envelopes = (replace(envelope_of(deposit_of("a", 1)), key="a") for _ in range(count))
    for each in (record(ledger.requests, deposit_of("a", 1), envelope) for envelope in envelopes):
        await producer.send(each.topic, each.value, key=each.key, headers=each.headers())
    await producer.stop()


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


async def test_a_column_that_is_added_beside_a_running_service_parks_nobody(ledger: Ledger) -> None:
    """An upgrade without a pause migrates first: what read all columns failed once, and its account stood still."""

    class Whole(LedgerStore):
        async def deposit(self, account_id: str, amount: int) -> int:
            await super().deposit(account_id, amount)
            row = await self.connection.fetchrow("SELECT * FROM balances WHERE account_id = $1", account_id)
            return int(row["balance"]) if row else 0

    ledger.service = replace(ledger.service, store=Whole)
    async with ledger.running() as runtime:
        await ledger.request(deposit_of("a", 1))
        await ledger.eventually({"a": 1})
        connection = await ledger.connect()
        await connection.execute("ALTER TABLE balances ADD COLUMN remark text")
        await connection.close()
        await ledger.request(deposit_of("a", 5))
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


async def test_a_batch_that_takes_longer_than_a_statement_may_is_handled_in_parts(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was tried again, as large as it was, for ever: after an outage nothing of those partitions was handled."""
    monkeypatch.setattr(database, "STATEMENT_S", 1.0)

    class Laborious(LedgerStore):
        async def prefetch(self, messages: Sequence[Message]) -> None:
            await self.connection.execute("SELECT pg_sleep($1)", 0.05 * len(messages))

    ledger.service = replace(ledger.service, store=Laborious)
    await ledger.request(*(deposit_of("a", n) for n in range(100, 160)))
    async with ledger.running():
        await ledger.eventually({"a": sum(range(100, 160))})
        said = await ledger.said(60)
    assert [event.amount for _, event in said] == list(range(100, 160))


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
        await ledger.eventually({"a": 1})
