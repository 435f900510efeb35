"""What a running process may lose and go on, or end by: its session in PostgreSQL, its way to Kafka, its place in a
partition's order.
"""

import asyncio
import contextlib
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiokafka.conn import AIOKafkaConnection
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType
from structlog.testing import capture_logs

from libs.common.messaging.envelope import record
from libs.common.messaging.errors import MessagingUnavailable
from libs.common.runtime import Runtime
from libs.common.testing.delivery import NOON, envelope_of
from tests.common.forwarding import carry, forwarding, until_silent
from tests.common.instance import Process
from tests.common.ledger import BalanceChanged, Ledger, balance_of_a, deposit_of, keep_committed
from tests.common.test_commands import run


async def test_who_lost_its_session_without_postgresql_hearing_of_it_comes_back_within_half_a_minute(
    ledger: Ledger,
) -> None:
    """As where a way between two machines is cut. The lost session held our lock until the kernel gave it up, two hours
    later: what Kafka had not taken by then was not sent before, no sign of life given, no partition begun.
    """
    server, lost = urlsplit(ledger.url), asyncio.Event()
    assert server.hostname
    assert server.port
    kept: list[socket.socket] = []

    async def cut(here: socket.socket, there: socket.socket) -> None:
        ways = [asyncio.create_task(carry(here, there)), asyncio.create_task(carry(there, here))]
        if lost.is_set():
            await asyncio.gather(*ways)
            return
        await lost.wait()
        kept.append(there.dup())  # the server is told of no end
        for way in ways:
            way.cancel()
        await asyncio.wait(ways)

    async with forwarding(server.hostname, server.port, join=cut) as port:
        there = ledger.url
        ledger.url = server._replace(netloc=f"{server.netloc.rpartition(':')[0]}:{port}").geturl()
        try:
            async with ledger.running() as runtime:
                ledger.url = there
                await ledger.request(deposit_of("a", 1))
                await ledger.said(1)
                lost.set()
                await keep_committed(ledger, runtime.outbox.owner, balance_of_a(ledger, 10))
                runtime.outbox.relay_soon()
                assert [event.balance for _, event in await ledger.said(2, seconds=30)] == [1, 10]
        finally:
            for each in kept:
                each.close()


@contextlib.asynccontextmanager
async def way_to_kafka(silent: asyncio.Event) -> AsyncIterator[str]:
    """Its bootstrap address, `until_silent`. Kafka's own, by which it makes itself known, leads through it, too."""
    host, _, number = os.environ["KAFKA_BOOTSTRAP"].partition(":")
    opened: list[int] = []

    def address(port: int) -> bytes:
        return host.encode() + struct.pack(">i", port)

    async def back(there: socket.socket, here: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while some := await loop.sock_recv(there, 65_536):
                await loop.sock_sendall(here, some.replace(address(int(number)), address(opened[0])))
            here.shutdown(socket.SHUT_WR)

    async with forwarding(host, int(number), join=until_silent(silent, back)) as port:
        opened.append(port)
        yield f"{host}:{port}"


async def test_who_is_cut_off_from_kafka_and_told_by_nobody_comes_back_within_seconds(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a node that lost its power. Whoever read from it heard nothing for a minute, also of no panic."""
    silent, kafka = asyncio.Event(), os.environ["KAFKA_BOOTSTRAP"]
    async with way_to_kafka(silent) as bootstrap:
        monkeypatch.setenv("KAFKA_BOOTSTRAP", bootstrap)
        async with ledger.running():
            monkeypatch.setenv("KAFKA_BOOTSTRAP", kafka)
            await ledger.request(deposit_of("a", 1))
            await ledger.said(1)
            silent.set()
            await ledger.request(deposit_of("a", 2))
            await ledger.eventually({"a": 3}, seconds=12)
            assert [event.balance for _, event in await ledger.said(2, seconds=9)] == [1, 3]


@contextlib.contextmanager
def nobody_leading(running: Runtime[Any, Any]) -> Iterator[None]:
    """No partition, as the process that runs hears of it."""
    with pytest.MonkeyPatch.context() as leaderless:
        leaderless.setattr(running.producer.client.cluster, "leader_for_partition", lambda _: -1)
        yield


async def test_who_has_something_to_say_where_nobody_leads_says_it_once_somebody_does(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its producer gave that up after ten seconds, and whatever it sent there next was out of order: once somebody led
    again each process that had waited so long ended, and was started anew.
    """
    monkeypatch.setattr("libs.common.runtime.ANSWER_MS", 1_000)
    async with ledger.running() as running:
        await ledger.request(deposit_of("a", 1))
        await ledger.said(1)
        with nobody_leading(running):
            await ledger.request(deposit_of("a", 2))
            await asyncio.sleep(2.5)
        await ledger.request(deposit_of("a", 4))
        assert [event.balance for _, event in await ledger.said(3)] == [1, 3, 7]
        await ledger.forgets_what_it_said()


async def test_what_the_dead_had_to_say_is_said_once_however_long_kafka_was_away(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL ended the transaction that waited for Kafka, after five seconds, and all was said again then."""
    monkeypatch.setattr("libs.common.runtime.ANSWER_MS", 1_000)
    async with ledger.running() as running:
        await ledger.request(deposit_of("a", 1))
        await ledger.said(1)
        with nobody_leading(running):
            await keep_committed(ledger, 7, balance_of_a(ledger, 2))
            await asyncio.sleep(8)
        await ledger.forgets_what_it_said()
        with pytest.raises(TimeoutError):
            await ledger.said(3, seconds=3)
        assert [event.balance for _, event in await ledger.said(2)] == [1, 2]


async def test_who_waits_for_a_leader_asks_for_one_twenty_times_a_second(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process asked again as soon as it was answered: more than a thousand times a second."""
    asked, send = list[object](), AIOKafkaConnection.send

    def counted(connection: AIOKafkaConnection, request: object, **how: object) -> object:
        asked.append(request)
        return send(connection, request, **how)

    async with ledger.running() as running:
        await ledger.request(deposit_of("a", 1))
        await ledger.said(1)
        with nobody_leading(running):
            await ledger.request(deposit_of("a", 2))
            await ledger.eventually({"a": 3})
            monkeypatch.setattr(AIOKafkaConnection, "send", counted)
            await asyncio.sleep(2)
        assert 20 < len(asked) < 60
        assert [event.balance for _, event in await ledger.said(2)] == [1, 3]


async def test_what_was_said_before_something_that_kafka_does_not_take_is_said_once_and_the_log_names_that(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to five hundred events were said again every ten seconds for as long as nobody had made the topic of what came
    after them, and the log told of an unknown topic, but not of which.
    """
    monkeypatch.setattr("libs.common.runtime.ANSWER_MS", 1_000)
    unmade = f"{ledger.name}.unmade.v1"
    first, refused, last = (balance_of_a(ledger, balance) for balance in (1, 2, 3))
    async with ledger.running() as running:
        with capture_logs() as logged:
            for row in (first, replace(refused, topic=unmade), last):
                await keep_committed(ledger, running.outbox.owner, row)
            running.outbox.relay_soon()
            await asyncio.sleep(5)
        assert any(unmade in line["error"] for line in logged if line["event"] == "outbox_relay_waits")
        kafka = AdminClient({"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP"]})
        await asyncio.to_thread(kafka.create_topics([NewTopic(unmade, 1)])[unmade].result)
        await ledger.forgets_what_it_said()
        await asyncio.to_thread(kafka.delete_topics([unmade])[unmade].result)
    with pytest.raises(TimeoutError):
        await ledger.said(3, seconds=3)


async def test_who_has_read_further_than_the_log_goes_says_so_and_is_not_ready(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a Kafka that lost its power, or was replaced: it passed over what came next, and was ready."""
    monkeypatch.setattr("libs.common.messaging.consumer.PARTITIONS_EVERY_S", 0.5)
    async with ledger.running() as running, asyncio.timeout(40):
        await ledger.request(*(deposit_of("a", 1) for _ in range(3)))
        await ledger.eventually({"a": 3})
        await asyncio.sleep(1)
        assert running.held_up == set()
        await lose_requests(ledger)
        with capture_logs() as logged:
            await ledger.request(deposit_of("a", 1))
            while "log" not in running.held_up:
                await asyncio.sleep(0.1)
        told = next(line for line in logged if line["event"] == "log_lost")
        assert (told["topic"], told["read"], told["log_level"]) == (ledger.requests.name, 3, "critical")


async def test_who_is_started_where_kafka_has_lost_what_was_read_says_so_at_once(ledger: Ledger) -> None:
    """As after an end by what Kafka had lost: for a minute it was ready, and passed over what came."""
    async with ledger.running():
        await ledger.request(*(deposit_of("a", 1) for _ in range(3)))
        await ledger.eventually({"a": 3})
    await lose_requests(ledger)
    async with ledger.running() as running, asyncio.timeout(10):
        while "log" not in running.held_up:
            await asyncio.sleep(0.1)


async def lose_requests(ledger: Ledger) -> None:
    """All that was asked for, as by a Kafka that was replaced."""
    kafka = AdminClient({"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP"]})
    name, made = ledger.requests.name, NewTopic(ledger.requests.name, ledger.requests.partitions)

    async def is_made() -> bool:
        with contextlib.suppress(KafkaException):
            await asyncio.to_thread(kafka.create_topics([made])[name].result)
            return True
        return False

    await asyncio.to_thread(kafka.delete_topics([name])[name].result)
    while not await is_made():
        await asyncio.sleep(0.2)


@pytest.fixture
def largest(ledger: Ledger) -> Callable[[int], None]:
    """How long a batch of the ledger's events may be that Kafka takes."""

    def set_to(count: int) -> None:
        entry = ConfigEntry("max.message.bytes", str(count), incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, ledger.events.name, incremental_configs=[entry])
        kafka = AdminClient({"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP"]})
        for done in kafka.incremental_alter_configs([resource]).values():
            done.result(10)
        time.sleep(1)  # until the broker has heard of it

    return set_to


async def test_who_lost_its_place_in_the_order_of_a_partition_ends_and_its_successor_says_what_was_kept(
    ledger: Ledger, process: Process, largest: Callable[[int], None]
) -> None:
    """Kafka refused whatever it sent there from then on, since something before was missing: a sixth of all accounts
    heard nothing more, and all else that the service said waited behind that, until a person restarted it.
    """
    await process.start()
    await ledger.request(deposit_of("a", 1))
    await ledger.said(1)
    await asyncio.to_thread(largest, 100)
    await ledger.request(deposit_of("a", 2))
    await ledger.eventually({"a": 3})
    await asyncio.sleep(2)
    await asyncio.to_thread(largest, 1_000_000)
    assert await process.ended(20)
    await process.start()
    assert [event.balance for _, event in await ledger.said(2)] == [1, 3]


async def test_what_is_sent_by_who_lost_its_place_is_kept_for_the_next(
    ledger: Ledger, largest: Callable[[int], None]
) -> None:
    """A gateway refused a sixth of all orders from then on, and said that Kafka is away."""

    def change(balance: int) -> BalanceChanged:
        return BalanceChanged(account_id="a", balance=balance, amount=1)

    async with ledger.running("0") as runtime:
        await runtime.send(change(1))
        await asyncio.to_thread(largest, 100)
        with pytest.raises(MessagingUnavailable):
            await runtime.send(change(2))
        await asyncio.to_thread(largest, 1_000_000)
        await runtime.send(change(3))
    async with ledger.running("0"):
        assert [event.balance for _, event in await ledger.said(2)] == [1, 3]


async def test_who_starts_while_kafka_refuses_what_was_left_says_it_once_kafka_takes_it(
    ledger: Ledger, process: Process, largest: Callable[[int], None]
) -> None:
    """It waited for ever, with a producer of which Kafka took nothing more there, until a person restarted it."""

    async def supervised() -> None:
        await process.start()
        while not await process.is_ready():
            await process.start()

    long = BalanceChanged(account_id="a" * 10_000, balance=2, amount=1)
    too_long = record(ledger.events, long, replace(envelope_of(long, now=NOON), key="a"))
    await asyncio.to_thread(largest, 5_000)
    for owner, row in ((7, balance_of_a(ledger, 1)), (8, too_long)):
        await keep_committed(ledger, owner, row)
    async with asyncio.timeout(40):
        starting = asyncio.create_task(supervised())
        await asyncio.sleep(3)
        await asyncio.to_thread(largest, 1_000_000)
        await starting
    assert [event.balance for _, event in await ledger.said(2)] == [1, 2]


async def test_what_kafka_refuses_for_good_can_be_given_up_by_command_and_what_waits_behind_it_goes_out(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that the service said after it waited, and nothing but a statement in its database helped."""
    monkeypatch.setattr("libs.common.runtime.ANSWER_MS", 1_000)
    refused, last = (balance_of_a(ledger, balance) for balance in (1, 2))
    refused = replace(refused, topic=f"{ledger.name}.unmade.v1")
    async with ledger.running() as running:
        for row in (refused, last):
            await keep_committed(ledger, running.outbox.owner, row)
        running.outbox.relay_soon()
        listed = await outbox_command(ledger, "list")
        assert "2 wait" in listed
        assert f"{refused.topic}  BalanceChanged  a  {refused.envelope.id}" in listed
        behind = await outbox_command(ledger, "discard", str(last.envelope.id))
        assert "nothing was given up" in behind, "it goes out once what is refused is gone"
        said = await outbox_command(ledger, "discard", str(refused.envelope.id))
        assert refused.value.decode() in said, "whoever gives it up can keep it"
        assert [event.balance for _, event in await ledger.said(1)] == [2]
        assert "nothing was given up" in await outbox_command(ledger, "discard", str(refused.envelope.id))


async def outbox_command(ledger: Ledger, word: str, *more: str) -> str:
    """What `python -m libs.common.messaging outbox …` says."""
    variables = {f"{ledger.name.upper()}_DATABASE_URL": ledger.url, f"{ledger.name.upper()}_PORT": "0"}
    done = await asyncio.to_thread(
        run, f"libs.common.messaging outbox {word} {ledger.name} {' '.join(more)}", variables
    )
    return done.stdout + done.stderr
