"""Messages that cannot be handled wait, and with them their key alone, until somebody decides."""

import asyncio
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY

from libs.common import ids
from libs.common.contracts.base import Message
from libs.common.messaging import parked
from libs.common.messaging.envelope import Record, record
from tests.common.ledger import DepositRequested, Ledger, deposit_of, publish, refuse_deposit


async def test_a_message_that_makes_its_handler_raise_parks_its_key_alone(ledger: Ledger) -> None:
    async with ledger.running() as runtime:
        await ledger.request(deposit_of("a", 1), deposit_of("a", 13), deposit_of("a", 2), deposit_of("b", 7))
        await ledger.eventually({"a": 1, "b": 7})
        rows = await parked_rows(ledger, 2)
        assert [row.key for row in rows] == ["a", "a"]
        assert "thirteen is unlucky" in rows[0].reason
        assert rows[1].reason == parked.BEHIND
        await counts_parked(2)
        runtime.memory.broken.clear()
        await retry(ledger, "a")
        await ledger.eventually({"a": 16, "b": 7})
        said = await ledger.said(4)
        assert [e.balance for _, e in said if e.account_id == "a"] == [1, 14, 16]
        await counts_parked(0)


async def test_a_discarded_message_lets_those_behind_it_go_on_in_order(ledger: Ledger) -> None:
    async with ledger.running():
        await ledger.request(*(deposit_of("a", amount) for amount in (13, 2, 3)))
        await parked_rows(ledger, 3)
        connection = await ledger.connect()
        gone, behind = await parked.discard_first(connection, "a")
        assert "thirteen is unlucky" in gone.reason
        assert behind == 2
        await connection.close()
        await ledger.eventually({"a": 5})
        await parked_rows(ledger, 0)


async def test_who_waits_for_a_discarded_message_is_told_before_what_is_behind_it_is_handled(ledger: Ledger) -> None:
    """An order that was cleared, and whose clearance somebody discarded, hung for ever, with all that was set aside for
    it, and nobody was told.
    """
    ledger.answer_for_what_is_given_up(refuse_deposit)
    async with ledger.running():
        await ledger.request(deposit_of("a", 13), deposit_of("a", 2))
        await parked_rows(ledger, 2)
        await discard(ledger, "a")
        assert [event.amount for _, event in await ledger.said(2)] == [-13, 2]
        await parked_rows(ledger, 0)
        assert await ledger.balances() == {"a": 2}
        assert await places_discarded(ledger) == 1


async def test_what_was_discarded_while_nobody_ran_is_told_of_at_the_next_start(ledger: Ledger) -> None:
    ledger.answer_for_what_is_given_up(refuse_deposit)
    async with ledger.running():
        await ledger.request(deposit_of("a", 13))
        await parked_rows(ledger, 1)
    await discard(ledger, "a")
    assert [row.given_up for row in await parked_rows(ledger, 1)] == [True]
    async with ledger.running() as runtime:
        runtime.memory.broken.clear()
        assert [event.amount for _, event in await ledger.said(1)] == [-13]
        await parked_rows(ledger, 0)


async def test_what_nobody_can_be_told_of_is_discarded_all_the_same(ledger: Ledger) -> None:
    async def cannot(request: DepositRequested, ctx: object) -> list[Message]:
        raise ValueError("nor can this be said")

    ledger.answer_for_what_is_given_up(cannot)
    async with ledger.running():
        await ledger.request(deposit_of("a", 13), deposit_of("a", 2))
        await parked_rows(ledger, 2)
        await discard(ledger, "a")
        await ledger.eventually({"a": 2})
        await parked_rows(ledger, 0)
        assert await places_discarded(ledger) == 1


async def test_what_is_discarded_a_second_time_is_gone_though_nobody_was_told(ledger: Ledger) -> None:
    """What tells of it may hang, too, or nobody reads its partition any more."""
    ledger.answer_for_what_is_given_up(refuse_deposit)
    async with ledger.running():
        await ledger.request(deposit_of("a", 13), deposit_of("a", 2))
        await parked_rows(ledger, 2)
    await discard(ledger, "a")
    await discard(ledger, "a")
    assert [row.reason for row in await parked_rows(ledger, 1)] == [parked.BEHIND]
    assert await places_discarded(ledger) == 1


async def test_a_retry_that_fails_again_stays_parked_in_order(ledger: Ledger) -> None:
    async with ledger.running():
        await ledger.request(deposit_of("a", 13), deposit_of("a", 2))
        await parked_rows(ledger, 2)
        await retry(ledger, "a")
        async with asyncio.timeout(15):
            while any(row.retry_requested for row in await parked_rows(ledger, 2)):
                await asyncio.sleep(0.05)
        first, second = await parked_rows(ledger, 2)
        assert "thirteen is unlucky" in first.reason
        assert second.reason == parked.BEHIND
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


@pytest.mark.parametrize(
    ("key", "header"),
    [
        ("a", ("ce_type", b"\xff")),
        ("a", ("trace-bin", b"\0\x01\xff")),
        ("a\0b", ("trace", b"")),
        ("".join(ids.new_id().hex for _ in range(1000)), ("trace", b"")),
    ],
    ids=["a type that is no text", "a zero byte in a header", "a zero byte in the key", "a long key"],
)
async def test_what_a_stranger_wrote_parks_its_key_alone_whatever_bytes_it_holds(
    ledger: Ledger, key: str, header: tuple[str, bytes]
) -> None:
    """It could not even be parked, and ended the service, and at its next start again."""
    async with ledger.running():
        envelope = replace(ledger._envelope(deposit_of("a", 1), None), key=key)
        headers = [header] if header[0] == "ce_type" else [("ce_type", b"DepositRequested"), header]
        await publish([Record(ledger.requests.name, envelope, b"{}")], raw_headers=headers)
        await ledger.request(deposit_of("b", 7))
        await ledger.eventually({"b": 7})
        assert (await parked_rows(ledger, 1))[0].headers == headers


async def parked_rows(ledger: Ledger, count: int) -> list[parked.Parked]:
    connection = await ledger.connect()
    try:
        async with asyncio.timeout(15):
            while len(rows := await parked.listed(connection)) != count:
                await asyncio.sleep(0.05)
        return rows
    finally:
        await connection.close()


async def places_discarded(ledger: Ledger) -> int:
    connection = await ledger.connect()
    count: int = await connection.fetchval("SELECT count(*) FROM message_discarded")
    await connection.close()
    return count


async def discard(ledger: Ledger, key: str) -> None:
    connection = await ledger.connect()
    await parked.discard_first(connection, key)
    await connection.close()


async def counts_parked(messages: int) -> None:
    """On the page of figures, where an alarm is set: messages, of which one key may have many."""
    async with asyncio.timeout(15):
        while REGISTRY.get_sample_value("parked_messages") != messages:
            await asyncio.sleep(0.05)


async def retry(ledger: Ledger, key: str) -> None:
    connection = await ledger.connect()
    await parked.request_retry(connection, key)
    await connection.close()
