"""A commit that was made and never answered: its events go out, and it is finished like any other."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest

from libs.common.contracts.base import Delivery
from libs.common.messaging.envelope import record
from libs.common.messaging.outbox import keep
from libs.common.runtime import Runtime
from libs.common.testing.delivery import envelope_of
from libs.common.writes import Writes
from tests.common.ledger import BalanceChanged, DepositRequested, Ledger, LedgerMemory, LedgerStore
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


async def test_the_events_of_what_a_task_or_a_route_commits_go_out(ledger: Ledger, road: Road) -> None:
    async with ledger.running() as runtime:
        road.lose_next()
        with pytest.raises(asyncpg.PostgresConnectionError):
            async with runtime.transaction() as unit:
                unit.say(BalanceChanged(account_id="a", balance=5, amount=5))
        assert [event.balance for _, event in await ledger.said(1)] == [5]
        await ledger.forgets_what_it_said()


async def test_a_commit_that_was_made_long_after_its_connection_broke_is_found_as_well(ledger: Ledger) -> None:
    async with ledger.running() as runtime:
        event = BalanceChanged(account_id="a", balance=5, amount=5)
        envelope = replace(envelope_of(event, now=runtime.clock.now() - timedelta(seconds=20)), key="a")
        connection = await ledger.connect()
        await keep(Writes(connection), runtime.outbox.owner, [record(ledger.events, event, envelope)])
        await connection.close()
        assert [said for _, said in await ledger.said(1)] == [event]
        await ledger.forgets_what_it_said()
