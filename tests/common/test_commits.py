"""A commit that was made and never answered: its events go out, and it is finished like any other."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from libs.common.contracts.base import Delivery, Message
from libs.common.messaging.envelope import record
from libs.common.messaging.errors import Unconfirmed
from libs.common.messaging.leases import Leases
from libs.common.messaging.outbox_table import keep
from libs.common.runtime import Runtime
from libs.common.testing.delivery import envelope_of
from libs.common.writes import Writes
from tests.common.ledger import BalanceChanged, DepositRequested, Ledger, LedgerMemory, LedgerStore
from tests.common.test_sending import Swallower
from tests.common.unheard import Road, road_to


@pytest.fixture
async def road(ledger: Ledger) -> AsyncIterator[Road]:
    """The ledger's instances reach their database by it."""
    async with road_to(ledger.url) as made:
        ledger.url = made.url
        yield made


async def test_the_events_of_a_batch_go_out(ledger: Ledger, road: Road) -> None:
    async with ledger.running():
        await ledger.request(DepositRequested(account_id="a", amount=1))
        await ledger.said(1)
        road.lose_next()
        await ledger.request(DepositRequested(account_id="a", amount=5))
        await road.lost.wait()
        await ledger.request(DepositRequested(account_id="a", amount=7))
        assert [event.balance for _, event in await ledger.said(3)] == [1, 6, 13]
        await ledger.forgets_what_it_said()
    assert await ledger.balances() == {"a": 13}


async def test_the_service_hears_that_the_batch_is_committed(ledger: Ledger, road: Road) -> None:
    heard: list[object] = []

    async def committed(deliveries: Sequence[Delivery], _: Runtime[LedgerStore, LedgerMemory]) -> None:
        heard.extend(delivery.message for delivery in deliveries)

    ledger.service = replace(ledger.service, committed=committed)
    wishes = [DepositRequested(account_id="a", amount=amount) for amount in (1, 5, 7)]
    async with ledger.running():
        for wish in wishes:
            if wish.amount == 5:
                road.lose_next()
            await ledger.request(wish)
            await ledger.eventually({"a": sum(each.amount for each in wishes[: wishes.index(wish) + 1])})
        async with asyncio.timeout(10):
            while len(heard) < len(wishes):
                await asyncio.sleep(0.02)
    assert heard == wishes


@pytest.mark.parametrize("fault", [TimeoutError("Redis does not answer"), ValueError("a bug")], ids=["passes", "bug"])
async def test_a_service_that_could_not_take_up_what_was_committed_hears_of_it_again_or_its_bug_parks_nothing(
    ledger: Ledger, fault: Exception
) -> None:
    faults, heard = [fault], list[Message]()

    async def committed(deliveries: Sequence[Delivery], _: Runtime[LedgerStore, LedgerMemory]) -> None:
        if deliveries and faults:
            raise faults.pop()
        heard.extend(delivery.message for delivery in deliveries)

    ledger.service = replace(ledger.service, committed=committed)
    wishes = [DepositRequested(account_id="a", amount=amount) for amount in (5, 7)]
    async with ledger.running() as runtime:
        await ledger.request(wishes[0])
        await ledger.eventually({"a": 5})
        await ledger.request(wishes[1])
        async with asyncio.timeout(10):
            while wishes[1] not in heard:
                await asyncio.sleep(0.02)
        assert heard == (wishes if isinstance(fault, TimeoutError) else wishes[1:])
        assert await runtime.pool.fetchval("SELECT count(*) FROM message_parked") == 0


async def test_who_leaves_in_doubt_about_its_last_commit_keeps_its_partitions(
    ledger: Ledger, road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever takes them waits for what it had said then: it could be committed after its last look for it."""
    give_back, may_be_made = Leases.give_back, asyncio.Event()

    async def after_the_commit(leases: Leases, numbers: Collection[int]) -> None:
        may_be_made.set()
        await road.lost.wait()
        await give_back(leases, numbers)

    monkeypatch.setattr(Leases, "give_back", after_the_commit)
    async with ledger.running() as runtime:
        await ledger.request(DepositRequested(account_id="a", amount=1))
        await ledger.said(1)
        road.delay_next(may_be_made)
        await ledger.request(DepositRequested(account_id="a", amount=5))
        await road.is_cut_off.wait()
    may_be_made.set()
    await road.lost.wait()
    connection = await ledger.connect()
    holders = await connection.fetch("SELECT DISTINCT owner FROM message_offsets")
    assert [row["owner"] for row in holders] == [runtime.outbox.owner]
    await connection.close()
    async with ledger.running("1"):
        await ledger.request(DepositRequested(account_id="a", amount=7))
        assert await balances_said_of_a(ledger, 3) == [1, 6, 13]


async def test_the_events_of_what_a_task_or_a_route_commits_go_out(ledger: Ledger, road: Road) -> None:
    async with ledger.running() as runtime:
        await begun(runtime)
        road.lose_next()
        with pytest.raises(asyncpg.PostgresConnectionError):
            async with runtime.transaction() as unit:
                unit.say(BalanceChanged(account_id="a", balance=5, amount=5))
        assert [event.balance for _, event in await ledger.said(1)] == [5]
        await ledger.forgets_what_it_said()


async def begun(runtime: Runtime[LedgerStore, LedgerMemory]) -> None:
    """It has its leases: taking them is a commit as well, and the next that the road sees."""
    async with asyncio.timeout(15):
        while not runtime.ready["consumer"]:
            await asyncio.sleep(0.02)


async def say(runtime: Runtime[LedgerStore, LedgerMemory], balance: int) -> None:
    async with runtime.transaction() as unit:
        unit.say(BalanceChanged(account_id="a", balance=balance, amount=1))


async def balances_said_of_a(ledger: Ledger, count: int) -> list[int]:
    """As its readers hear it, who drop what they know."""
    found: dict[UUID, int] = {}
    async for envelope, event in ledger.hears():
        if event.account_id == "a":
            found.setdefault(envelope.id, event.balance)
        if len(found) == count:
            break
    return list(found.values())


@pytest.mark.parametrize("end", ["cancelled", "failed"])
async def test_what_was_committed_and_never_published_goes_out_before_what_is_said_next(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """As when a route is cancelled in between. Later words of its key went first, a quarter of a minute before."""
    committed = asyncio.Event()

    async def never(*_: Any) -> None:
        committed.set()
        if end == "failed":
            raise RuntimeError("not Kafka's fault")
        await asyncio.Event().wait()

    async with ledger.running() as runtime:
        with monkeypatch.context() as patched:
            patched.setattr(runtime.outbox, "publish", never)
            route = asyncio.create_task(say(runtime, 1))
            await committed.wait()
            if end == "cancelled":
                route.cancel()
            await asyncio.wait([route])
            assert route.cancelled() or isinstance(route.exception(), RuntimeError)
        await say(runtime, 2)
        assert await balances_said_of_a(ledger, 2) == [1, 2]


async def test_what_is_said_next_of_a_key_does_not_overtake_a_commit_whose_answer_is_late(
    ledger: Ledger, road: Road
) -> None:
    """Whoever waited for the locks of the one could be through, on another connection, before the one was heard of."""
    async with ledger.running() as runtime:
        await begun(runtime)
        is_broken = asyncio.Event()
        road.lose_next(is_broken)
        first = asyncio.create_task(say(runtime, 1))
        await road.lost.wait()
        await say(runtime, 2)
        is_broken.set()
        with pytest.raises(asyncpg.PostgresConnectionError):
            await first
        assert await balances_said_of_a(ledger, 2) == [1, 2]


async def test_what_the_outbox_may_have_taken_for_a_slow_kafka_goes_out_before_what_is_said_next(
    ledger: Ledger, road: Road
) -> None:
    async with ledger.running() as runtime:
        runtime.producer = Swallower(runtime.producer)
        sending = asyncio.create_task(runtime.send(BalanceChanged(account_id="a", balance=1, amount=1)))
        await asyncio.sleep(0.2)
        await runtime.send(BalanceChanged(account_id="b", balance=1, amount=1))
        road.lose_next()
        with pytest.raises(Unconfirmed):
            await sending
        await say(runtime, 2)
        assert await balances_said_of_a(ledger, 2) == [1, 2]


async def test_what_is_committed_while_the_outbox_takes_its_last_look_goes_out_before_what_is_said_next(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looked before the commit, and heard that there was something to look for before it had its answer."""
    async with ledger.running() as runtime:
        outbox = runtime.outbox
        look, has_looked = outbox._relay_rows, asyncio.Event()

        async def answered_late(*arguments: Any) -> object:
            sent = await look(*arguments)
            if not has_looked.is_set():
                event = BalanceChanged(account_id="a", balance=1, amount=1)
                envelope = replace(envelope_of(event, now=runtime.clock.now()), key="a")
                connection = await ledger.connect()
                await keep(Writes(connection), outbox.owner, [record(ledger.events, event, envelope)])
                await connection.close()
                outbox.relay_soon()
                has_looked.set()
            return sent

        monkeypatch.setattr(outbox, "_relay_rows", answered_late)
        outbox.relay_soon()
        await has_looked.wait()
        await outbox.drained(10)
        await say(runtime, 2)
        assert await balances_said_of_a(ledger, 2) == [1, 2]


async def test_a_commit_that_was_made_long_after_its_connection_broke_is_found_as_well(ledger: Ledger) -> None:
    async with ledger.running() as runtime:
        event = BalanceChanged(account_id="a", balance=5, amount=5)
        envelope = replace(envelope_of(event, now=runtime.clock.now() - timedelta(seconds=20)), key="a")
        connection = await ledger.connect()
        await keep(Writes(connection), runtime.outbox.owner, [record(ledger.events, event, envelope)])
        await connection.close()
        assert [said for _, said in await ledger.said(1)] == [event]
        await ledger.forgets_what_it_said()
