"""One of a service's instances leads at a time, whoever comes, goes, dies, sleeps or loses its database."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest

from libs.common.clock import FixedClock
from libs.common.messaging import lead as lead_module
from libs.common.messaging.leadership import LEAD, Leadership
from libs.common.messaging.leases import SILENT_S, Share
from libs.common.runtime import Runtime
from libs.common.service import Service
from libs.common.settings import CommonSettings, ServiceSettings
from libs.common.testing.caches import patient_redis
from tests.common.forwarding import forwarding, free_port
from tests.common.instance import Process
from tests.common.led import Diary, lead
from tests.common.ledger import Ledger, LedgerMemory, LedgerStore

Entries = Sequence[tuple[str, str]]
TAKE_OVER_S = 12.0
SOME_LOOKS_S = 3.5
NOON = datetime(2026, 11, 20, 6, 30, tzinfo=UTC)


@pytest.fixture
async def diary(ledger: Ledger) -> AsyncIterator[Diary]:
    async with patient_redis() as redis:
        yield Diary(redis, ledger.name)
        await redis.delete(ledger.name)


@contextlib.asynccontextmanager
async def instances(ledger: Ledger, count: int = 2, url: str | None = None) -> AsyncIterator[list[Process]]:
    """Started one after the other, so that number 0 leads."""
    processes = [Process(ledger.name, url or ledger.url, number) for number in range(count)]
    try:
        for process in processes:
            await process.start(LED="1")
        yield processes
    finally:
        for process in processes:
            process.end()


async def until(diary: Diary, told: Callable[[Entries], bool], seconds: float = 20) -> Entries:
    async with asyncio.timeout(seconds):
        while not told(entries := await diary.read()):
            await asyncio.sleep(0.05)
    return entries


def of(entries: Entries, instance: str) -> list[str]:
    return [what for who, what in entries if who == instance]


def leaders(entries: Entries) -> list[str]:
    """Who led, one after the other: twice in the list is twice in the lead."""
    found: list[str] = []
    for who, what in entries:
        if what != "stands by" and found[-1:] != [who]:
            found.append(who)
    return found


async def test_of_two_instances_one_leads_and_the_other_stands_by(ledger: Ledger, diary: Diary) -> None:
    async with instances(ledger):
        entries = await until(diary, lambda told: ("1", "stands by") in told)
        await asyncio.sleep(SOME_LOOKS_S)
        entries = await diary.read()
    assert of(entries, "1") == ["stands by"]
    assert set(of(entries, "0")) == {"begins", "leads"}
    assert of(entries, "0").count("begins") == 1


async def test_one_that_is_alone_leads_at_once_and_never_stands_by(ledger: Ledger, diary: Diary) -> None:
    async with instances(ledger, 1):
        entries = await until(diary, lambda told: ("0", "leads") in told)
    assert "stands by" not in of(entries, "0")


async def test_one_that_is_stopped_says_its_last_words_before_another_begins(ledger: Ledger, diary: Diary) -> None:
    async with instances(ledger) as (one, _):
        await until(diary, lambda told: ("1", "stands by") in told)
        await one.signal(signal.SIGTERM)
        entries = await until(diary, lambda told: ("1", "leads") in told)
        assert await one.ended() == 0
    assert leaders(entries) == ["0", "1"]
    assert of(entries, "0")[-2:] == ["ends", "concludes"]


async def test_when_the_leader_is_killed_another_leads(ledger: Ledger, diary: Diary) -> None:
    async with instances(ledger, 3) as (one, _, _):
        await until(diary, lambda told: ("2", "stands by") in told)
        await one.signal(signal.SIGKILL)
        await one.ended()
        await until(diary, lambda told: len(leaders(told)) == 2, TAKE_OVER_S)
        await one.start(LED="1")
        await until(diary, lambda told: ("0", "stands by") in told)
        await asyncio.sleep(SOME_LOOKS_S)
        entries = await diary.read()
    assert len(leaders(entries)) == 2
    assert of(entries, "0")[-1] == "stands by"


async def test_a_leader_that_slept_and_was_replaced_says_nothing_more(ledger: Ledger, diary: Diary) -> None:
    async with instances(ledger) as (one, _):
        await until(diary, lambda told: ("1", "stands by") in told)
        await one.signal(signal.SIGSTOP)
        await until(diary, lambda told: ("1", "leads") in told, TAKE_OVER_S)
        await one.signal(signal.SIGCONT)
        await until(diary, lambda told: ("0", "stands by") in told)
        await asyncio.sleep(1)
        entries = await diary.read()
    assert leaders(entries) == ["0", "1"]


async def test_a_leader_that_slept_and_was_not_replaced_leads_on(ledger: Ledger, diary: Diary) -> None:
    async with instances(ledger, 1) as (one,):
        await until(diary, lambda told: ("0", "leads") in told)
        await one.signal(signal.SIGSTOP)
        await asyncio.sleep(8)
        before = len(await diary.read())
        await one.signal(signal.SIGCONT)
        entries = await until(diary, lambda told: len(told) > before)
    assert of(entries, "0").count("begins") == 1


async def test_while_postgresql_is_away_the_leader_leads_on_and_afterwards_too(ledger: Ledger, diary: Diary) -> None:
    parts, port = urlsplit(ledger.url), free_port()
    assert parts.hostname is not None
    assert parts.port is not None
    url = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}").geturl()
    async with contextlib.AsyncExitStack() as stack:
        async with forwarding(parts.hostname, parts.port, port):
            await stack.enter_async_context(instances(ledger, url=url))
            await until(diary, lambda told: ("1", "stands by") in told)
        before = len(await diary.read())
        await asyncio.sleep(SOME_LOOKS_S)
        away = (await until(diary, lambda told: len(told) - before > SOME_LOOKS_S / 0.1))[before:]
        await stack.enter_async_context(forwarding(parts.hostname, parts.port, port))
        await asyncio.sleep(SOME_LOOKS_S)
        entries = await diary.read()
    assert set(away) == {("0", "leads")}
    assert leaders(entries) == ["0"]
    assert of(entries, "0").count("begins") == 1


async def test_a_leader_that_was_replaced_while_it_could_not_look_stops_at_its_next_look(
    ledger: Ledger, diary: Diary
) -> None:
    parts, port = urlsplit(ledger.url), free_port()
    assert parts.hostname is not None
    assert parts.port is not None
    url = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}").geturl()
    async with contextlib.AsyncExitStack() as stack:
        async with forwarding(parts.hostname, parts.port, port):
            await stack.enter_async_context(instances(ledger, 1, url))
            other = Process(ledger.name, ledger.url, 1)
            stack.callback(other.end)
            await other.start(LED="1")
            await until(diary, lambda told: ("1", "stands by") in told)
        await until(diary, lambda told: ("1", "leads") in told, TAKE_OVER_S)
        async with forwarding(parts.hostname, parts.port, port):
            await until(diary, lambda told: ("0", "stands by") in told)
            after = len(await diary.read())
            await asyncio.sleep(1)
            entries = await until(diary, lambda told: len(told) > after)
    assert {who for who, _ in entries[entries.index(("0", "stands by")) + 1 :]} == {"1"}
    assert "ends" not in of(entries, "0")


@dataclass
class Watch:
    at: float = 100.0

    def __call__(self) -> float:
        return self.at


LEASED = Share(mine=frozenset({LEAD}), give=frozenset(), take=frozenset(), fair=1)


@pytest.fixture
async def leading(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Leadership, Watch]]:
    """One that has led since 100 s on the watch, when it last asked."""
    watch = Watch()
    monkeypatch.setattr(lead_module, "stopwatch", watch)
    settings = ServiceSettings(database_url=ledger.url, port=0)
    leads = Leadership(Runtime(ledger.service, CommonSettings(instance_id="0"), settings, FixedClock(NOON)))
    running = asyncio.create_task(leads.run())
    await asyncio.sleep(0)
    await leads.settle(LEASED, begun=True, asked_at=watch.at)
    yield leads, watch
    running.cancel()
    await asyncio.wait([running])


async def test_a_leader_that_sleeps_right_after_it_looked_leads_on_for_as_long_as_none_can_have_replaced_it(
    leading: tuple[Leadership, Watch],
) -> None:
    leads, watch = leading
    watch.at += SILENT_S - 0.1
    assert leads.lead.leads()


async def test_a_leader_that_wakes_after_its_sign_of_life_is_too_old_does_not_lead(
    leading: tuple[Leadership, Watch],
) -> None:
    """It was awake for most of a second after it looked, so it slept for less than the silence that ends it."""
    leads, watch = leading
    watch.at += 0.9
    assert leads.lead.leads()
    watch.at += SILENT_S - 0.8
    assert not leads.lead.leads()


async def test_only_a_look_that_was_asked_for_after_the_sleep_tells_a_leader_that_it_leads(
    leading: tuple[Leadership, Watch],
) -> None:
    leads, watch = leading
    before = watch.at + 0.9
    watch.at += 20
    await leads.settle(LEASED, begun=True, asked_at=before)
    assert not leads.lead.leads()
    watch.at += 0.5
    await leads.settle(LEASED, begun=True, asked_at=watch.at)
    assert leads.lead.leads()


async def test_a_leader_that_never_sleeps_leads_on_while_nobody_answers_its_looks(
    leading: tuple[Leadership, Watch],
) -> None:
    leads, watch = leading
    for _ in range(100):
        watch.at += 0.5
        assert leads.lead.leads()


def test_a_leader_of_a_service_that_consumes_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="consumes nothing"):
        Service[LedgerStore, LedgerMemory](name="x", store=LedgerStore, memory=LedgerMemory, leader=[lead])
