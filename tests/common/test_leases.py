"""Who reads which partition: fair shares, hand-overs while instances come, go, die and wake up again."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from hypothesis import given
from hypothesis import strategies as st

from libs.common.clock import stopwatch
from libs.common.contracts.base import Message, Topic
from libs.common.messaging.envelope import record
from libs.common.messaging.leases import share, share_of_whole
from libs.common.service import Context, on
from tests.common.hanging import POISONOUS
from tests.common.instance import Process
from tests.common.ledger import DepositRequested, Ledger, LedgerMemory, LedgerStore, NoteRequested, publish

ACCOUNTS = [f"account-{n}" for n in range(12)]
PAUSE_S = 2.0
TAKE_OVER_S = 12.0


@pytest.fixture
async def notes(ledger: Ledger) -> AsyncIterator[Topic]:
    """A topic that the ledger does not read."""
    topic = Topic(f"{ledger.name}.notes.v1", NoteRequested, key="account_id", partitions=6)
    kafka = AdminClient({"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP"]})
    made = kafka.create_topics([NewTopic(topic.name, num_partitions=topic.partitions)], operation_timeout=10)
    made[topic.name].result(10)
    yield topic
    kafka.delete_topics([topic.name])


holders = st.dictionaries(st.integers(0, 20), st.none() | st.integers(1, 6), min_size=1)
living = st.sets(st.integers(1, 5), min_size=1)


def settled(held: dict[int, int | None], members: set[int]) -> dict[int, int | None]:
    """What comes of it when every member looks in turn and does what it found, until nobody finds anything to do."""
    held = dict(held)
    for _ in range(50):
        before = dict(held)
        for me in sorted(members):
            now = share(held, members, me)
            held |= dict.fromkeys(now.give) if now.give else dict.fromkeys(now.take, me)
        if held == before:
            return held
    raise AssertionError(f"never settled: {held}")


@given(holders, living)
def test_every_partition_comes_to_somebody_who_lives_and_the_shares_are_even(
    held: dict[int, int | None], members: set[int]
) -> None:
    after = settled(held, members)
    assert set(after.values()) <= members
    counts = [list(after.values()).count(member) for member in members]
    assert max(counts) - min(counts) <= 1


@given(living, st.integers(1, 20))
def test_when_one_comes_only_what_it_gets_moves(members: set[int], partitions: int) -> None:
    before = settled(dict.fromkeys(range(partitions)), members)
    after = settled(before, members | {9})
    assert {after[n] for n in range(partitions) if after[n] != before[n]} <= {9}


@given(st.dictionaries(st.integers(0, 9), st.lists(st.none() | st.integers(1, 6), min_size=2, max_size=2)), living)
def test_a_number_of_which_topics_went_to_different_members_comes_to_one_whole(
    held: dict[int, list[int | None]], members: set[int]
) -> None:
    """Each list holds who has the number's row of one topic and of another."""
    for _ in range(100):
        before = {number: list(rows) for number, rows in held.items()}
        for me in sorted(members):
            now = share_of_whole({number: set(rows) for number, rows in held.items()}, members, me)
            for number, rows in held.items():
                others = {row for row in rows if row in members} - {me}
                if number in now.give:
                    rows[:] = [None if row == me else row for row in rows]
                elif number in now.take and not now.give and not others:
                    rows[:] = [row if row in members else me for row in rows]
        if held == before:
            break
    assert all(len(set(rows)) == 1 and rows[0] in members for rows in held.values())


@contextlib.asynccontextmanager
async def two_instances(ledger: Ledger) -> AsyncIterator[tuple[Process, Process]]:
    one, other = Process(ledger.name, ledger.url, 0), Process(ledger.name, ledger.url, 1)
    try:
        await one.start()
        await other.start()
        await booked(ledger, 1)
        yield one, other
    finally:
        one.end()
        other.end()


async def booked(ledger: Ledger, times: int, seconds: float = 20) -> float:
    """Everybody deposits once more; how long until the last of it was booked, all having deposited so many times."""
    began = stopwatch()
    await ledger.request(*(DepositRequested(account_id=account, amount=1) for account in ACCOUNTS))
    await ledger.eventually(dict.fromkeys(ACCOUNTS, times), seconds)
    return stopwatch() - began


async def test_one_that_leaves_hands_over_within_two_seconds(ledger: Ledger) -> None:
    async with two_instances(ledger) as (_, other):
        await other.signal(signal.SIGTERM)
        assert await booked(ledger, 2) < PAUSE_S
        assert await other.ended() == 0
        assert await booked(ledger, 3) < PAUSE_S


async def test_one_that_comes_takes_its_share_within_two_seconds(ledger: Ledger) -> None:
    async with two_instances(ledger):
        third = Process(ledger.name, ledger.url, 2)
        starting = asyncio.create_task(third.start())
        try:
            times = 1
            while not starting.done():
                times += 1
                assert await booked(ledger, times) < PAUSE_S
            await starting
            assert await booked(ledger, times + 1) < PAUSE_S
        finally:
            third.end()


async def test_a_new_version_that_reads_a_topic_more_shares_every_partition_of_it_with_the_one_before(
    ledger: Ledger, notes: Topic
) -> None:
    """Of one number each held another topic, and what the old one left was nobody's: its orders stood still."""
    async with contextlib.AsyncExitStack() as before:
        await before.enter_async_context(ledger.running("0"))
        await booked(ledger, 1)
        ledger.service = replace(ledger.service, consumes=[*ledger.service.consumes, on(notes, NoteRequested, pay_ten)])
        async with ledger.running("1"):
            await until_whole(ledger, members=2)
            await before.aclose()
            await until_whole(ledger, members=1)
            await booked(ledger, 2)
            wishes = [NoteRequested(account_id=account) for account in ACCOUNTS]
            await publish([record(notes, wish, ledger._envelope(wish, None)) for wish in wishes])
            await ledger.eventually(dict.fromkeys(ACCOUNTS, 12))


async def pay_ten(request: NoteRequested, ctx: Context[LedgerStore, LedgerMemory]) -> Sequence[Message]:
    await ctx.store.deposit(request.account_id, 10)
    return []


async def until_whole(ledger: Ledger, members: int) -> None:
    """All topics of every number are one member's."""
    connection = await ledger.connect()
    async with asyncio.timeout(TAKE_OVER_S):
        while True:
            rows = await connection.fetch("SELECT array_agg(DISTINCT owner) FROM message_offsets GROUP BY partition")
            if all(len(owners) == 1 for (owners,) in rows) and len({owners[0] for (owners,) in rows}) == members:
                break
            await asyncio.sleep(0.05)
    await connection.close()


async def test_who_is_killed_and_stays_dead_is_replaced_within_twelve_seconds(ledger: Ledger) -> None:
    async with two_instances(ledger) as (_, other):
        await other.signal(signal.SIGKILL)
        assert await booked(ledger, 2) < TAKE_OVER_S


async def test_one_that_sleeps_is_replaced_and_does_nothing_twice_when_it_wakes(ledger: Ledger) -> None:
    async with two_instances(ledger) as (_, other):
        await other.signal(signal.SIGSTOP)
        assert await booked(ledger, 2) < TAKE_OVER_S
        await other.signal(signal.SIGCONT)
        for times in range(3, 8):
            await booked(ledger, times)
        said = [envelope.id for envelope, _ in await ledger.said(7 * len(ACCOUNTS))]
        assert len(set(said)) == 7 * len(ACCOUNTS)
    assert await ledger.balances() == dict.fromkeys(ACCOUNTS, 7)


async def test_one_that_falls_asleep_between_two_statements_locks_nobody_out(ledger: Ledger) -> None:
    """Seen: a trading instance was stopped as it prepared a statement. Its transaction was not idle as PostgreSQL
    counts it, so nothing ended it, and a panic waited for its locks for as long as it slept.
    """
    one, other = Process(ledger.name, ledger.url, 0), Process(ledger.name, ledger.url, 1)
    try:
        await one.start()
        await other.start(POISON="stops amid statements")
        await booked(ledger, 1)
        await ledger.request(*(DepositRequested(account_id=account, amount=POISONOUS) for account in ACCOUNTS))
        await ledger.eventually(dict.fromkeys(ACCOUNTS, 1 + POISONOUS), TAKE_OVER_S)
        await other.signal(signal.SIGCONT)
        await ledger.request(*(DepositRequested(account_id=account, amount=1) for account in ACCOUNTS))
        await ledger.eventually(dict.fromkeys(ACCOUNTS, 2 + POISONOUS))
    finally:
        one.end()
        other.end()


async def test_one_that_sleeps_with_nothing_in_hand_says_what_it_lost_when_it_wakes(
    ledger: Ledger, capfd: pytest.CaptureFixture[str]
) -> None:
    async with two_instances(ledger) as (_, other):
        await other.signal(signal.SIGSTOP)
        connection, said = await ledger.connect(), ""
        async with asyncio.timeout(TAKE_OVER_S):
            while len(await connection.fetch("SELECT DISTINCT owner FROM message_offsets")) > 1:
                await asyncio.sleep(0.1)
        await connection.close()
        await other.signal(signal.SIGCONT)
        async with asyncio.timeout(TAKE_OVER_S):
            while "partitions_lost" not in said:
                await asyncio.sleep(0.1)
                said += "".join(capfd.readouterr())
