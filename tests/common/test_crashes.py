"""A process dies at every step between a message's arrival and the last trace of it; its successor makes it good."""

from collections import defaultdict

import pytest

from tests.common import crashes
from tests.common.instance import Process
from tests.common.ledger import DepositRequested, Ledger

ACCOUNTS = [f"account-{n}" for n in range(5)]
EACH = 6
BALANCES = dict.fromkeys(ACCOUNTS, sum(range(1, EACH + 1)))


@pytest.mark.parametrize("point", sorted(crashes.POINTS.keys() - {crashes.WHILE_ADOPTING}))
async def test_a_crash_loses_nothing_doubles_nothing_and_keeps_the_order(ledger: Ledger, point: str) -> None:
    await crash(ledger, point)
    await successor_makes_good(ledger)


async def test_a_crash_of_the_successor_while_it_publishes_what_the_dead_had_said(ledger: Ledger) -> None:
    await crash(ledger, "committed")
    await crash(ledger, crashes.WHILE_ADOPTING, asked=False)
    await successor_makes_good(ledger)


async def crash(ledger: Ledger, point: str, *, asked: bool = True) -> None:
    if asked:
        await ledger.request(*(DepositRequested(account_id=a, amount=n) for n in range(1, EACH + 1) for a in ACCOUNTS))
    process = Process(ledger.name, ledger.url, 0)
    try:
        await process.start(CRASH_AT=point)
        assert await process.ended() == crashes.STATUS
    finally:
        process.end()


async def successor_makes_good(ledger: Ledger) -> None:
    """State and outputs are those of a run without a crash, once readers drop the ids that they know."""
    process = Process(ledger.name, ledger.url, 0)
    try:
        await process.start()
        await ledger.eventually(BALANCES)
        heard: dict[str, list[int]] = defaultdict(list)
        ids = set()
        async for envelope, event in ledger.hears():
            if envelope.id not in ids:
                ids.add(envelope.id)
                heard[event.account_id].append(event.balance)
            if len(ids) == EACH * len(ACCOUNTS):
                break
        assert heard == {account: [n * (n + 1) // 2 for n in range(1, EACH + 1)] for account in ACCOUNTS}
        await ledger.forgets_what_it_said()
    finally:
        process.end()
    assert await ledger.balances() == BALANCES
