"""What a caller hears of a message while Kafka is slow or away: taken, or not, and never both."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
from aiokafka import AIOKafkaProducer

from libs.common.contracts.base import Envelope, Message
from libs.common.messaging.envelope import LARGEST
from libs.common.messaging.errors import MessageTooLarge, MessagingUnavailable
from libs.common.process import tick
from libs.common.runtime import LAST_LOOK_SECONDS, SEND_SECONDS
from libs.common.service import Context, every
from tests.common.forwarding import forwarding
from tests.common.ledger import BalanceChanged, Ledger, LedgerMemory, LedgerStore


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
            if not confirmed.cancelled():
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
        looking = {asyncio.create_task(runtime.send(change(f"a{n}"))) for n in range(20)}
        refused = set[asyncio.Task[Envelope]]()
        while len(looking) > 1:
            done, looking = await asyncio.wait(looking, return_when=asyncio.FIRST_COMPLETED)
            refused |= done
        assert len(away.waiting) == 2, "the first, and one that looks whether Kafka is back"
        assert {type(task.exception()) for task in refused} == {MessagingUnavailable}
        await away.hear()
        runtime.producer = there
        await asyncio.gather(*looking, *(runtime.send(change(f"b{n}")) for n in range(5)))
        assert len(await ledger.said(7)) == 7


async def test_a_message_longer_than_kafka_takes_is_refused_and_stops_nothing_else(ledger: Ledger) -> None:
    """Seen: it stood first in the outbox for ever, and nothing that the service said after it went out."""
    endless = BalanceChanged(account_id="a" * (LARGEST + 1), balance=1, amount=1)
    async with ledger.running() as runtime:
        with pytest.raises(MessageTooLarge, match="BalanceChanged"):
            await runtime.send(endless)
        await asyncio.gather(*(runtime.send(BalanceChanged(account_id="b", balance=n, amount=1)) for n in range(10)))
        with pytest.raises(MessageTooLarge):
            async with runtime.transaction() as unit:
                unit.say(endless)
        async with runtime.transaction() as unit:
            unit.say(BalanceChanged(account_id="b", balance=10, amount=1))
        assert len(await ledger.said(11)) == 11
        await ledger.forgets_what_it_said()


async def test_a_timer_that_says_more_than_kafka_takes_goes_on(ledger: Ledger) -> None:
    """Its process would have ended for it, and after each start again."""
    names = iter(["a" * (LARGEST + 1), "b"])

    async def say(_: Context[LedgerStore, LedgerMemory]) -> Sequence[Message]:
        return [BalanceChanged(account_id=name, balance=1, amount=1) for name in [next(names, None)] if name]

    async with ledger.running() as runtime:
        timer = asyncio.create_task(tick(runtime, every(0.01, say)))
        try:
            assert [each.key for each, _ in await ledger.said(1)] == ["b"]
        finally:
            timer.cancel()


async def test_who_is_stopped_while_postgresql_is_away_ends_what_it_began_at_kafka(ledger: Ledger) -> None:
    """It ended with a traceback there, since what Kafka had confirmed could not be forgotten."""
    server = urlsplit(ledger.url)
    async with contextlib.AsyncExitStack() as living:
        async with forwarding(server.hostname or "", server.port or 0) as port:
            ledger.url = server._replace(netloc=f"{server.username}:{server.password}@127.0.0.1:{port}").geturl()
            runtime = await living.enter_async_context(ledger.running())
            async with runtime.transaction() as unit:
                unit.say(BalanceChanged(account_id="a", balance=1, amount=1))
            await runtime.producer.flush()
        async with asyncio.timeout(30):
            await living.aclose()
    assert runtime.producer._closed


async def test_who_is_stopped_while_kafka_is_away_ends_and_leaves_what_it_said_to_its_successor(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen: it stood there until Kafka was back, or somebody killed it."""

    async def away(*_: Any, **__: Any) -> bool:
        return False

    async with contextlib.AsyncExitStack() as stack:
        runtime = await stack.enter_async_context(ledger.running())
        monkeypatch.setattr(runtime.producer.client, "ready", away)
        async with runtime.transaction() as unit:
            unit.say(BalanceChanged(account_id="a", balance=1, amount=1))
        async with asyncio.timeout(20):
            await stack.aclose()
    async with ledger.running():
        assert len(await ledger.said(1)) == 1
