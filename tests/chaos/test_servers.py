"""`kill -9` of what the services stand on: what cannot be kept is refused at once, what was taken is there after."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from bench.wire import LOST
from libs.common.clock import SystemClock, stopwatch
from libs.common.contracts import topics
from libs.common.contracts.market import Tick
from tests.chaos.log import records
from tests.chaos.scenario import Chaos, Scenario
from tests.chaos.wishes import PLACE, Kind, Wish
from tools.client import Platform

ANSWERED_WITHIN = 2.0
BACK_WITHIN = {"postgres": 5.0, "kafka": 6.0}
"""Seconds from the start of the server to the next accepted order, of those that need a price too. Kafka itself needs
four: its start, and the end of the session that it had.
"""
UNTOUCHED_WITHIN = 1.5
CANDLES = 400_000


@dataclass
class Probe:
    """A client that asks again and again during an outage, and looks closely at each answer."""

    answers: list[tuple[str, int, float, bool]] = field(default_factory=list)
    """What was asked, the status, the seconds that it took, and whether it said when to try again."""

    def complaints(self, what: str, kept: tuple[int, ...], within: float) -> list[str]:
        """Each answer is a 503 with Retry-After, or one of those that may be kept; all are quick."""
        asked = [(status, seconds, told) for name, status, seconds, told in self.answers if name == what]
        wrong = {status for status, _, _ in asked if status != 503 and status not in kept}
        silent = sum(1 for status, _, told in asked if status == 503 and not told)
        slowest = max((seconds for _, seconds, _ in asked), default=0.0)
        found = [f"{what} answered {sorted(wrong)} while it could not keep anything"] if wrong else []
        if silent:
            found.append(f"{silent} of {len(asked)} refusals of {what} have no Retry-After")
        if slowest > within:
            found.append(f"{what} took {slowest:.2f} s to refuse")
        return found if asked else [f"{what} was never asked"]


@contextlib.asynccontextmanager
async def probing(scenario: Scenario) -> AsyncIterator[Probe]:
    """Orders and alerts from outside the flow; what they are answered is checked like the flow's own."""
    probe, flow = Probe(), scenario.flow
    account, receiver = flow.world.accounts[0], flow.world.receivers[0]

    async def ask(client: httpx.AsyncClient, what: str, draw: Callable[[], Wish]) -> None:
        while True:
            wish = draw()
            flow.wishes.append(wish)
            began = stopwatch()
            status, told, body = LOST, False, b""
            with contextlib.suppress(httpx.TransportError):
                head, _, content = wish.content.partition(b"\r\n\r\n")
                answer = await client.post(address(head), content=content, headers=headers_of(head))
                status, told, body = answer.status_code, "retry-after" in answer.headers, answer.content
            flow.note(wish, status, body, stopwatch() - began)
            if 0 < status < 500:
                wish.status = status
            probe.answers.append((what, status, stopwatch() - began, told))
            await asyncio.sleep(0.2)

    def address(head: bytes) -> str:
        path = head.split(b" ", 2)[1].decode()
        base = flow.world.gateway_url if path == PLACE else flow.world.signals_url
        return base + path

    async with httpx.AsyncClient(timeout=20) as client, asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(ask(client, "an order", lambda: flow.order(Kind.RESTING, account))),
            group.create_task(ask(client, "an alert", lambda: flow.alert(receiver, stopwatch()))),
        ]
        yield probe
        for task in tasks:
            task.cancel()


def headers_of(head: bytes) -> dict[str, str]:
    lines = [line.partition(": ") for line in head.decode().split("\r\n")[1:]]
    return {name: value for name, _, value in lines if name not in ("host", "content-length")}


async def outage(scenario: Scenario, server: str, seconds: float, kept: dict[str, tuple[int, ...]]) -> None:
    """Killed, away for a while, and started again."""
    at = await scenario.faults.take_away(server)
    scenario.faults_done += 1
    await asyncio.sleep(0.5)
    async with probing(scenario) as probe:
        await asyncio.sleep(max(0.5, at + seconds - stopwatch()))
    within = scenario.chaos.within(ANSWERED_WITHIN)
    for what, may_be_kept in kept.items():
        scenario.complaints += [f"{server} away: {words}" for words in probe.complaints(what, may_be_kept, within)]
    slowest = max((seconds for _, _, seconds, _ in probe.answers), default=0.0)
    scenario.figures[f"slowest refusal without {server}"] = f"{slowest:.2f} s"
    back = await scenario.faults.bring_back(server)
    await scenario.faults.answers(server)
    scenario.figures[f"{server} answered after"] = f"{stopwatch() - back:.1f} s"
    await comes_back(scenario, back, server, f"the return of {server}")
    await scenario.recovers(
        back, BACK_WITHIN[server], f"the return of {server} (alerts)", lambda w: w.kind is Kind.ALERT
    )


async def blink(scenario: Scenario, server: str) -> None:
    """Killed; the supervisor starts it again at once."""
    at = await scenario.faults.kill(server)
    scenario.faults_done += 1
    await comes_back(scenario, at, server, f"the kill of {server}")


async def comes_back(scenario: Scenario, since: float, server: str, what: str) -> None:
    """Orders are accepted, also those that need a price: prices go on."""
    within = BACK_WITHIN[server]
    await scenario.recovers(since, within, what)
    await scenario.recovers(since, within, f"{what} (at the market)", lambda w: w.kind is Kind.MARKET)


@pytest.mark.scenario(2)
async def test_without_postgresql_nothing_is_taken_and_nothing_is_lost(chaos: Chaos) -> None:
    async with chaos.scenario(2, "kill -9 of PostgreSQL") as scenario:
        await outage(scenario, "postgres", chaos.pick(6, 3), {"an order": (), "an alert": ()})
        for _ in range(2 if chaos.full else 0):
            await asyncio.sleep(2)
            await blink(scenario, "postgres")


@pytest.mark.scenario(2)
async def test_without_kafka_orders_are_refused_and_alerts_refused_or_kept(chaos: Chaos) -> None:
    """An alert that was committed with its signal is kept: the outbox publishes it when Kafka is back."""
    async with chaos.scenario(2, "kill -9 of Kafka") as scenario:
        since = SystemClock().now()
        await outage(scenario, "kafka", chaos.pick(6, 3), {"an order": (), "an alert": (202,)})
        if chaos.full:
            await asyncio.sleep(2)
            await blink(scenario, "kafka")
        await asyncio.sleep(1)
        await no_tick_is_missing(scenario, since)


@pytest.mark.scenario(2)
async def test_without_redis_and_its_data_trading_goes_on(chaos: Chaos) -> None:
    """Somebody who is logged in stays so, and quotes go on."""
    user, instrument = chaos.world.users[0], chaos.world.instruments[0].name
    async with (
        chaos.scenario(2, "kill -9 of Redis, its data deleted") as scenario,
        Platform(chaos.world.gateway_url, patience=2) as person,
    ):
        await person.log_in(user.email, user.password)
        for _ in range(2 if chaos.full else 1):
            at = await scenario.faults.take_away("redis")
            scenario.faults_done += 1
            await scenario.faults.forget_redis()
            await scenario.recovers(at, UNTOUCHED_WITHIN, "Redis went")
            until = stopwatch() + chaos.pick(5, 1)
            while stopwatch() < until:
                await asks_on(scenario, person, instrument)
                await asyncio.sleep(0.5)
            back = await scenario.faults.bring_back("redis")
            await scenario.recovers(back, UNTOUCHED_WITHIN, "Redis came back")
            await asyncio.sleep(1)


async def asks_on(scenario: Scenario, person: Platform, instrument: str) -> None:
    """A session, a quote and an order: each answered as ever."""
    began = stopwatch()
    await person.get("/api/v2/accounts/")
    quote = await person.get(f"/api/v2/market/quotes/{instrument}")
    took = stopwatch() - began
    within = scenario.chaos.within(ANSWERED_WITHIN)
    scenario.expect(took < within, f"without Redis a session and a quote took {took:.1f} s")
    scenario.expect(not quote["stale"], "without Redis the quotes stand still")
    await scenario.recovers(stopwatch(), UNTOUCHED_WITHIN, "an order without Redis")


@pytest.mark.scenario(2)
async def test_without_questdb_trading_goes_on_and_no_tick_is_missing_or_doubled(chaos: Chaos) -> None:
    drawn = random.Random(chaos.seed)
    async with chaos.scenario(2, "kill -9 of QuestDB") as scenario:
        since = SystemClock().now()
        for _ in range(2 if chaos.full else 1):
            await asyncio.sleep(drawn.uniform(1, 2))
            at = await scenario.faults.take_away("questdb")
            scenario.faults_done += 1
            await scenario.recovers(at, UNTOUCHED_WITHIN, "QuestDB went")
            await asyncio.sleep(chaos.pick(5, 2))
            await scenario.faults.bring_back("questdb")
            await scenario.faults.answers("questdb")
        await asyncio.sleep(1)
        await no_tick_is_missing(scenario, since)


@pytest.mark.in_full
@pytest.mark.scenario(2)
async def test_a_file_of_history_that_questdb_leaves_in_the_middle_is_kept_whole_or_not_at_all(chaos: Chaos) -> None:
    """And whole, once it is sent again."""
    drawn = random.Random(chaos.seed)
    async with chaos.scenario(2, "kill -9 of QuestDB under a file of history", flowing=False) as scenario:
        for year in (1990, 1992, 1994):
            await importing(scenario, *file_of(year), drawn.uniform(1.0, 3.0))


async def importing(scenario: Scenario, start: datetime, content: bytes, after: float) -> None:
    world, faults = scenario.chaos.world, scenario.faults
    url, how = f"/api/v2/market/history/{world.instruments[0].name}", {"label": "start", "outside": "true"}
    years = {"format": "csv", "from": start.isoformat(), "to": (start + timedelta(days=400)).isoformat()}
    headers = {"x-api-key": world.admin_key}
    async with httpx.AsyncClient(base_url=world.gateway_url, headers=headers, timeout=90) as admin:

        async def kept() -> int:
            return len((await admin.get(url, params=years)).raise_for_status().content.splitlines()) - 1

        sent = asyncio.create_task(admin.post(f"{url}/import", params=how, content=content))
        await asyncio.sleep(after)
        await faults.take_away("questdb")
        scenario.faults_done += 1
        status = (await sent).status_code
        await faults.bring_back("questdb")
        await faults.answers("questdb")
        count = await kept()
        told = f"answered {status} after {after:.1f} s, {count} of {CANDLES} candles kept"
        scenario.figures[f"file {scenario.faults_done}"] = told
        scenario.expect(status in (200, 503) and count in (0, CANDLES), f"the file was {told}")
        again = await admin.post(f"{url}/import", params=how, content=content)
        scenario.expect(again.status_code == 200, f"the file was sent again and answered {again.status_code}")
        deadline = stopwatch() + 30
        while await kept() != CANDLES and stopwatch() < deadline:
            await asyncio.sleep(0.5)
        scenario.expect(await kept() == CANDLES, "a file that was sent again is not there whole")


def file_of(year: int) -> tuple[datetime, bytes]:
    """Minutes of years that nothing else is of."""
    start = datetime(year, 1, 1, tzinfo=UTC)
    rows = (f"{start + n * timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ},1,1,1,1" for n in range(CANDLES))
    return start, "\n".join(("start,open,high,low,close", *rows)).encode()


async def no_tick_is_missing(scenario: Scenario, since: datetime) -> None:
    """What Kafka holds of the feed since an instant is in QuestDB, once each."""
    stack, until = scenario.chaos.stack, SystemClock().now()
    said = await asyncio.to_thread(ticks_in_kafka, stack.environment()["KAFKA_BOOTSTRAP"], since, until)
    stored = await ticks_in_questdb(stack.instance.url("questdb"), since, until, said)
    scenario.figures["ticks"] = len(said)
    missing, repeated = said - set(stored), len(stored) - len(set(stored))
    words = f"{len(missing)} of {len(said)} ticks are not in QuestDB, such as {min(missing, default='')}"
    scenario.expect(bool(said), "the feed said nothing")
    scenario.expect(not missing, words)
    scenario.expect(not repeated, f"{repeated} ticks are twice in QuestDB")


def ticks_in_kafka(bootstrap: str, since: datetime, until: datetime) -> set[tuple[str, datetime]]:
    """Instrument and time of every tick that the topic holds of a span of exchange time."""
    ticks = (Tick.model_validate_json(record.value) for record in records(bootstrap, topics.TICKS.name, since))
    return {(tick.instrument, tick.at) for tick in ticks if since <= tick.at < until}


async def ticks_in_questdb(
    url: str, since: datetime, until: datetime, expected: set[tuple[str, datetime]]
) -> list[tuple[str, datetime]]:
    """Asked until all are there that are expected, or nothing comes any more. Their number would not tell: ticks of the
    span that Kafka got after it was read are here too, of one partition before an earlier one of another.
    """
    sql = f"SELECT instrument, ts FROM ticks WHERE ts >= '{since.isoformat()}' AND ts < '{until.isoformat()}'"  # noqa: S608
    found: list[tuple[str, datetime]] = []
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        for _ in range(40):
            answer = (await client.get("/exec", params={"query": sql, "limit": "5000000"})).raise_for_status()
            rows = answer.json()["dataset"]
            found = [(instrument, datetime.fromisoformat(ts.replace("Z", "+00:00"))) for instrument, ts in rows]
            if expected <= set(found):
                break
            await asyncio.sleep(0.5)
    return found
