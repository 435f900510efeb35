"""A message that hangs its handler ends its process twice; then it is parked, and its key alone waits."""

import asyncio
import signal
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from libs.common.messaging import parked
from libs.common.messaging.inbound import Inbound
from libs.common.messaging.partitioner import partition_for
from libs.common.messaging.suspects import HUNG, InHand, Suspects
from tests.common.forwarding import forwarding
from tests.common.hanging import POISONOUS
from tests.common.instance import Process
from tests.common.ledger import Ledger, deposit_of
from tests.common.test_parking import parked_rows, retry
from tests.common.test_watchdog import AT_ONCE, GAVE_UP, carrying

PARTITIONS = 6


def keys_of_one_partition(count: int) -> list[str]:
    """So that one batch has them all."""
    every = list(range(PARTITIONS))
    names = (f"account-{n}" for n in range(1000))
    return [name for name in names if partition_for(name.encode(), every, every) == 0][:count]


POISONED, *OTHERS = keys_of_one_partition(5)


async def ask(ledger: Ledger) -> None:
    """A message that hangs its handler, between two of its key, and good ones of others around them."""
    amounts = [(POISONED, 1), (OTHERS[0], 7), (POISONED, POISONOUS), (POISONED, 2), *((key, 7) for key in OTHERS[1:])]
    await ledger.request(*(deposit_of(key, amount) for key, amount in amounts))


GOOD = dict.fromkeys(OTHERS, 7)


async def suspects(ledger: Ledger) -> list[tuple[int, int]]:
    """Offset and number of ends of each."""
    connection = await ledger.connect()
    try:
        rows = await connection.fetch("SELECT message_offset, ends FROM message_suspects ORDER BY 1")
        return [(row[0], row[1]) for row in rows]
    finally:
        await connection.close()


async def tells(ledger: Ledger, balances: list[int]) -> None:
    """That was said of the poisoned key, in this order, to who drops the ids that he knows."""
    told: dict[UUID, int] = {}
    async for envelope, event in ledger.hears():
        if event.account_id == POISONED:
            told[envelope.id] = event.balance
        if len(told) == len(balances):
            break
    assert list(told.values()) == balances


@pytest.mark.parametrize("how", ["spins", "waits"])
async def test_a_message_that_hung_twice_is_parked_and_all_others_go_on(
    ledger: Ledger, process: Process, how: str
) -> None:
    await ask(ledger)
    await process.start(**AT_ONCE, POISON=how)
    assert await process.ended(60) == GAVE_UP
    once = dict(await suspects(ledger))
    assert once[2] == 1, "the poison is among them, whoever else was in hand"
    assert set(once.values()) == {1}
    await process.start(**AT_ONCE, POISON=how)
    assert await process.ended(60) == GAVE_UP
    assert await suspects(ledger) == [(2, 2), *((offset, 1) for offset in once if offset > 2)]
    await process.start(**AT_ONCE, POISON=how)
    await ledger.eventually({POISONED: 1} | GOOD)
    first, second = await parked_rows(ledger, 2)
    assert first.reason.startswith("hung its handler twice")
    assert (first.offset, second.reason) == (2, parked.BEHIND)
    assert await suspects(ledger) == []
    connection = await ledger.connect()
    await parked.discard_first(connection, POISONED)
    await connection.close()
    await ledger.eventually({POISONED: 3} | GOOD)
    await parked_rows(ledger, 0)
    await tells(ledger, [1, 3])


async def test_a_retry_that_hangs_ends_one_process_and_is_not_begun_again_until_somebody_asks(
    ledger: Ledger, process: Process
) -> None:
    await ask(ledger)
    await process.start(**AT_ONCE, POISON="raises")
    await ledger.eventually({POISONED: 1} | GOOD)
    await parked_rows(ledger, 2)
    await process.signal(signal.SIGTERM)
    assert await process.ended() == 0
    await retry(ledger, POISONED)
    await process.start(**AT_ONCE, POISON="waits")
    assert await process.ended(60) == GAVE_UP
    await process.start(**AT_ONCE, POISON="waits")
    await ledger.request(deposit_of(POISONED, 4), deposit_of(OTHERS[0], 1))
    await ledger.eventually({POISONED: 1} | GOOD | {OTHERS[0]: 8})
    first, *behind = await parked_rows(ledger, 3)
    assert first.retry_begun
    assert [row.reason for row in behind] == [parked.BEHIND] * 2
    await process.signal(signal.SIGTERM)
    assert await process.ended() == 0
    await process.start(**AT_ONCE)
    await retry(ledger, POISONED)
    await parked_rows(ledger, 0)
    await tells(ledger, [1, 1 + POISONOUS, 3 + POISONOUS, 7 + POISONOUS])


async def test_a_hang_beside_the_batch_in_hand_makes_nobody_a_suspect(ledger: Ledger, process: Process) -> None:
    await ask(ledger)
    await process.start(STILL="3", HANGS="loop beside a handler")
    assert await process.ended(60) == GAVE_UP
    assert await suspects(ledger) == []


async def test_who_cannot_note_what_it_has_in_hand_ends_all_the_same(ledger: Ledger) -> None:
    """PostgreSQL accepts and says nothing."""
    there, is_open = urlsplit(ledger.url), asyncio.Event()
    is_open.set()
    async with forwarding("127.0.0.1", there.port or 0, join=carrying(is_open)) as port:
        url = there._replace(netloc=there.netloc.replace(f":{there.port}", f":{port}")).geturl()
        process = Process(ledger.name, url, 0)
        try:
            await process.start(**AT_ONCE, POISON="spins")
            await ledger.request(deposit_of(POISONED, POISONOUS))
            await until_it_hangs(ledger)
            is_open.clear()
            assert await process.ended(30) == GAVE_UP
            is_open.set()
            assert await suspects(ledger) == []
        finally:
            process.end()


async def until_it_hangs(ledger: Ledger) -> None:
    """In the middle of a transaction, as no statement of it takes so long to follow another."""
    connection = await ledger.connect()
    sql = """
        SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = $1 AND state = 'idle in transaction'
                                                    AND state_change < now() - interval '0.5 s')
    """
    async with asyncio.timeout(15):
        while not await connection.fetchval(sql, ledger.name):
            await asyncio.sleep(0.02)
    await connection.close()


async def test_only_who_was_alone_in_hand_hung_twice(ledger: Ledger) -> None:
    """Two instances may have ended in the same message, each with a batch around it; and one was handled meanwhile."""
    connection = await ledger.connect()
    await connection.execute("INSERT INTO message_offsets VALUES ('t', 0, 1)")
    batch = [inbound(offset) for offset in range(4)]
    await hang(ledger, batch)
    await hang(ledger, batch)
    await hang(ledger, batch[2:3])
    assert await suspects(ledger) == [(1, 1), (2, 2), (3, 1)]
    found = Suspects()
    await found.look(connection)
    assert [[(each.arrival.offset, each.fault) for each in one] for one in found.apart(batch)] == [
        [(0, None)],
        [(1, None)],
        [(2, HUNG)],
        [(3, None)],
    ]
    assert found.apart([inbound(4), inbound(5)]) == [[inbound(4), inbound(5)]]
    await connection.execute("UPDATE message_offsets SET next_offset = 3")
    await found.look(connection)
    assert await suspects(ledger) == [(3, 1)]
    await connection.close()


def inbound(offset: int) -> Inbound:
    return Inbound(parked.Arrival("t", 0, offset, POISONED, "DepositRequested", [], b""), None, None)


async def hang(ledger: Ledger, batch: list[Inbound]) -> None:
    in_hand = InHand(ledger.url, ledger.name)
    with in_hand.holding(batch):
        await asyncio.to_thread(in_hand.note, asyncio.current_task())
