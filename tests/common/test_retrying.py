"""Who parks, who asks for a retry and who retries meet in the same moment: a key's messages stay whole and in order."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import pytest

from libs.common import ids
from libs.common.messaging import inbox, parked
from libs.common.messaging.__main__ import main
from libs.common.messaging.handling import Handling
from libs.common.messaging.leases import OWNER_LOCK
from libs.common.runtime import Runtime
from tests.common.ledger import Ledger, LedgerMemory, LedgerStore, deposit_of
from tests.common.test_parking import discard, parked_rows, retry

LedgerRuntime = Runtime[LedgerStore, LedgerMemory]


@pytest.mark.parametrize("when", ["before it is kept", "after it is kept, before the commit"])
@pytest.mark.parametrize(("command", "balance"), [("retry", 15), ("discard", 2)])
async def test_what_is_parked_while_its_key_becomes_free_is_handled_behind_it(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, command: str, balance: int, when: str
) -> None:
    """It was to wait behind a message that does not wait any more, and nobody would have asked for it."""
    async with ledger.running() as runtime:
        await ledger.request(deposit_of("a", 13))
        await parked_rows(ledger, 1)
        runtime.memory.broken.clear()
        keep, commands = parked.park, [retry if command == "retry" else discard]

        async def park(*arguments: Any) -> None:
            if when.startswith("before"):
                await commands.pop()(ledger, "a")
            await keep(*arguments)
            if commands:
                await commands.pop()(ledger, "a")

        monkeypatch.setattr(parked, "park", park)
        await ledger.request(deposit_of("a", 2))
        await ledger.eventually({"a": balance})
        monkeypatch.setattr(parked, "park", keep)
        await parked_rows(ledger, 0)
        await ledger.request(deposit_of("a", 1))
        await ledger.eventually({"a": balance + 1})
        assert [event.amount for _, event in await ledger.said(3 if balance == 15 else 2)][-2:] == [2, 1]


async def test_who_does_not_read_a_key_leaves_its_parked_messages_to_who_does(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says of them is on its way while the other, who sees the key free, says what came later."""
    async with two_instances(ledger) as (reads, other):
        publish, retry_parked = other.outbox.publish, Handling.retry_parked
        is_asked, was_tried, was_looked, later_is_said = (asyncio.Event() for _ in range(4))

        async def hesitate(seqs: Sequence[int], records: Sequence[Any]) -> None:
            if records:
                was_tried.set()
                await later_is_said.wait()
            await publish(seqs, records)

        async def the_other_first(handling: Handling) -> None:
            turn = was_tried if handling._runtime is reads else is_asked
            if turn.is_set():
                await retry_parked(handling)
                (was_looked if turn is was_tried else was_tried).set()

        monkeypatch.setattr(other.outbox, "publish", hesitate)
        monkeypatch.setattr(Handling, "retry_parked", the_other_first)
        await retry(ledger, "a")
        is_asked.set()
        async with asyncio.timeout(15):
            await was_looked.wait()
        await ledger.request(deposit_of("a", 2))
        await ledger.said(1)
        await ledger.eventually({"a": 15})
        later_is_said.set()
        assert [event.balance for _, event in await ledger.said(2)] == [13, 15]


async def test_a_retry_under_a_lost_lease_changes_nothing_and_is_left_to_the_successor(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, is_lost = parked.begin_retry, asyncio.Event()
    async with ledger.running() as runtime, contextlib.AsyncExitStack() as stack:
        await ledger.request(deposit_of("a", 13))
        await parked_rows(ledger, 1)
        runtime.memory.broken.clear()

        async def lose_the_lease(*arguments: Any) -> parked.Parked | None:
            found = await begin(*arguments)
            if found and not is_lost.is_set():
                await stack.enter_async_context(somebody_else_has_all(ledger))
                is_lost.set()
            return found

        monkeypatch.setattr(parked, "begin_retry", lose_the_lease)
        await retry(ledger, "a")
        async with asyncio.timeout(15):
            await is_lost.wait()
        await until_left(ledger)
        assert await ledger.balances() == {}
        await stack.aclose()
        await ledger.eventually({"a": 13})


async def test_a_retry_that_was_held_up_when_its_instance_was_stopped_goes_on_at_the_next(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> bool:
        raise TimeoutError("PostgreSQL does not answer")

    with monkeypatch.context() as patched:
        async with ledger.running():
            await ledger.request(deposit_of("a", 13))
            await parked_rows(ledger, 1)
            patched.setattr(parked, "remove", away)
            await retry(ledger, "a")
            async with asyncio.timeout(15):
                while not (await parked_rows(ledger, 1))[0].retry_begun:
                    await asyncio.sleep(0.05)
    async with ledger.running("1") as successor:
        successor.memory.broken.clear()
        await ledger.eventually({"a": 13})


async def test_what_a_retry_said_whose_commit_was_not_answered_goes_out_before_what_is_said_next(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit was still on its way when the outbox was looked through for it."""
    retried, attempts = Handling._retry, 0

    async def answer_late(handling: Handling, *arguments: Any) -> Any:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise TimeoutError("PostgreSQL does not answer")
        if attempts == 2:
            async with asyncio.timeout(15):
                while handling._runtime.outbox.waits():
                    await asyncio.sleep(0.05)
            await retried(handling, *arguments)
        return await retried(handling, *arguments)

    async with ledger.running() as runtime:
        await ledger.request(deposit_of("a", 13), deposit_of("a", 2))
        await parked_rows(ledger, 2)
        runtime.memory.broken.clear()
        monkeypatch.setattr(Handling, "_retry", answer_late)
        await retry(ledger, "a")
        assert [event.balance for _, event in await ledger.said(2, 30)] == [13, 15]


async def test_others_go_on_while_a_long_row_of_one_key_is_retried(ledger: Ledger) -> None:
    """Each of the row has a transaction of its own: behind fifteen hundred of one account all others waited 23 s."""
    async with ledger.running() as runtime:
        await ledger.request(deposit_of("a", 13))
        await parked_rows(ledger, 1)
        await ledger.request(*(deposit_of("a", 1) for _ in range(300)))
        await parked_rows(ledger, 301)
        runtime.memory.broken.clear()
        runtime.memory.pause.clear()
        await retry(ledger, "a")
        async with asyncio.timeout(15):
            while not (await parked_rows(ledger, 301))[0].retry_begun:
                await asyncio.sleep(0.05)
        await ledger.request(deposit_of("b", 7))
        runtime.memory.pause.set()
        said = await ledger.said(302, 60)
        assert [event.balance for _, event in said if event.account_id == "a"] == list(range(13, 314))
        handled_at = {event.account_id: envelope.time for envelope, event in said}
        assert handled_at["b"] < handled_at["a"], "the last of the row was handled first"


async def test_the_copy_of_a_message_that_waits_for_longer_than_ids_are_kept_is_not_handled(ledger: Ledger) -> None:
    """An outbox may send a message twice; its second copy was parked, as its key waited by then."""
    twice = ids.new_id()
    async with ledger.running() as runtime:
        await ledger.request(deposit_of("a", 5), message_id=twice)
        await ledger.eventually({"a": 5})
        await ledger.request(deposit_of("a", 13))
        await ledger.request(deposit_of("a", 5), message_id=twice)
        await parked_rows(ledger, 2)
        connection = await ledger.connect()
        await inbox.forget_before(connection, runtime.clock.now() + timedelta(days=30))
        await connection.close()
        runtime.memory.broken.clear()
        await retry(ledger, "a")
        await parked_rows(ledger, 0)
        assert await ledger.balances() == {"a": 18}


async def test_who_discards_what_a_retry_has_in_hand_hears_that_it_was_handled(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ledger.running() as runtime:
        await ledger.request(deposit_of("a", 13))
        await parked_rows(ledger, 1)
        runtime.memory.broken.clear()
        runtime.memory.pause.clear()
        await retry(ledger, "a")
        connection = await ledger.connect()
        async with asyncio.timeout(15):
            while not (await parked_rows(ledger, 1))[0].retry_begun:
                await asyncio.sleep(0.05)
            told = asyncio.create_task(told_by_discard(ledger, monkeypatch, "a"))
            while not await connection.fetchval(
                "SELECT true FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = $1", ledger.name
            ):
                await asyncio.sleep(0.05)
        await connection.close()
        runtime.memory.pause.set()
        assert "DepositRequested of a" in await told
        assert "a retry has handled it meanwhile" in await told
        assert await ledger.balances() == {"a": 13}


async def test_what_is_discarded_between_its_retry_s_beginning_and_its_turn_is_not_handled(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command had said that it is given up."""
    begin = parked.begin_retry

    async def discarded_then(*arguments: Any) -> parked.Parked | None:
        found = await begin(*arguments)
        if found and not found.given_up:
            await discard(ledger, "a")
        return found

    async with ledger.running() as runtime:
        await ledger.request(deposit_of("a", 13))
        await parked_rows(ledger, 1)
        runtime.memory.broken.clear()
        monkeypatch.setattr(parked, "begin_retry", discarded_then)
        await retry(ledger, "a")
        await parked_rows(ledger, 0)
        assert await ledger.balances() == {}


async def test_who_discards_after_a_retry_was_through_gives_up_nothing_that_waited_behind(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was what came next that was lost: it had not even been tried."""
    async with ledger.running():
        await ledger.request(deposit_of("a", 13), deposit_of("a", 2))
        await parked_rows(ledger, 2)
    connection = await ledger.connect()
    assert await parked.remove(connection, (await parked.listed(connection))[0].seq)
    await connection.close()
    assert "has not failed" in await told_by_discard(ledger, monkeypatch, "a")
    async with ledger.running():
        await ledger.eventually({"a": 2})
        await parked_rows(ledger, 0)
    assert await told_by_discard(ledger, monkeypatch, "a") == "discarded nothing: nothing of a is parked"


async def told_by_discard(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, key: str) -> str:
    """Why the command discarded nothing."""
    monkeypatch.setenv(f"{ledger.name.upper()}_DATABASE_URL", ledger.url)
    monkeypatch.setenv(f"{ledger.name.upper()}_PORT", "0")
    with pytest.raises(SystemExit) as ended:
        await asyncio.to_thread(main, ["parked", "discard", ledger.name, key])
    return str(ended.value)


async def until_left(ledger: Ledger) -> None:
    """Its retry is asked for, and nobody has begun it."""
    async with asyncio.timeout(15):
        while (row := (await parked_rows(ledger, 1))[0]).retry_begun or not row.retry_requested:
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def somebody_else_has_all(ledger: Ledger) -> AsyncIterator[None]:
    """Another member lives, and holds every partition."""
    connection, owner = await ledger.connect(), 7
    await connection.execute("SELECT pg_advisory_lock($1, $2)", OWNER_LOCK, owner)
    await connection.execute("INSERT INTO message_members VALUES ($1, 'somebody else', 1)", owner)
    await connection.execute("UPDATE message_offsets SET owner = $1", owner)

    async def beat() -> None:
        while True:
            await asyncio.sleep(0.5)
            await connection.execute("UPDATE message_members SET beats = beats + 1 WHERE owner = $1", owner)

    beating = asyncio.create_task(beat())
    yield
    beating.cancel()
    await asyncio.wait([beating])
    await connection.execute("DELETE FROM message_members WHERE owner = $1", owner)
    await connection.close()


@contextlib.asynccontextmanager
async def two_instances(ledger: Ledger) -> AsyncIterator[tuple[LedgerRuntime, LedgerRuntime]]:
    """Who reads key "a", of which a message is parked that can be handled now, and who does not; both know of it."""
    async with contextlib.AsyncExitStack() as stack, ledger.running("0") as one:
        connection = await ledger.connect()
        stack.push_async_callback(connection.close)
        await ledger.request(deposit_of("a", 13))
        (row,) = await parked_rows(ledger, 1)
        async with ledger.running("1") as other:
            async with asyncio.timeout(15):
                while await connection.fetchval("SELECT count(DISTINCT owner) FROM message_offsets") != 2:
                    await asyncio.sleep(0.05)
            one.memory.broken.clear()
            other.memory.broken.clear()
            owner = await connection.fetchval(
                "SELECT owner FROM message_offsets WHERE topic = $1 AND partition = $2", row.topic, row.partition
            )
            yield (one, other) if one.outbox.owner == owner else (other, one)
