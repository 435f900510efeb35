"""Five times more than can be done: what cannot be decided soon is refused at once, what reduces risk goes first."""

import asyncio
import contextlib
import resource
import socket
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import psutil
import pytest

from bench.load import constant_rate
from bench.wire import LENGTH, LOST, Pool
from deploy.local.instance import SERVICES
from libs.common.clock import stopwatch
from tests.chaos.scenario import Chaos, Scenario, percentile, place, summary
from tests.chaos.test_panic import holds
from tests.chaos.test_servers import probing
from tests.chaos.wishes import CARRIED_OUT, OPEN, REFUSED, TAKEN, Kind, Wish
from tests.chaos.world import Account, new_account
from tools.client import Platform

TIMES = 5
CONNECTIONS = 900
"""Of the flood: as many seconds as the gateway needs to refuse on all of them, a refusal takes at the worst."""
CLIENTS = 3_000
"""Who come all at once: more than the gateway answers in a second."""
EARLY_S = 1.0
"""A refusal that comes later than this is none that helps."""
SLOWEST_S = 4.0
"""The slowest answer of all: what was taken is answered within two seconds of it, decided or not."""
BACK_WITHIN = 5.0
NORMAL_S = 0.35
MOST_GROWTH_MIB = 400
"""How much all services together may grow under overload, at any time of it."""
LOOKED_AT_EVERY_S = 1.0
LOTS = 100
"""Held before the overload: more than all its exits sell."""
PAIRS = 50
"""Of an exit and a cancel."""
MOST_KEPT = 60
"""Descriptors: connections that pools opened under load and keep for some time."""
GIVEN_BACK_WITHIN = 10.0


@dataclass
class Answers:
    """Of requests that nobody repeats."""

    seconds: list[float] = field(default_factory=list)
    refused_seconds: list[float] = field(default_factory=list)
    unasked: int = 0
    """For these no connection was free: nobody heard of them."""
    statuses: Counter[int] = field(default_factory=Counter)


@dataclass
class Urgent:
    """What is wanted most when there is too much to do: to sell what was bought, and to cancel what rests.

    Nobody else trades in the account: what is sold is held, and what is cancelled is open.
    """

    account: Account
    wishes: list[Wish]
    """Exits and cancels in turn, each asked once or not at all."""

    def statuses(self, *, exits: bool) -> Counter[int]:
        return Counter(status for wish in self.wishes if wish.kind.is_order is exits for status in wish.statuses)


@dataclass
class Growth:
    """Of the services' memory, in MiB."""

    before: float
    most: float

    @property
    def mib(self) -> float:
        return self.most - self.before


@pytest.mark.scenario(10)
async def test_openalgo_804_fd_soak_under_five_times_the_load_exits_and_cancels_go_first(chaos: Chaos) -> None:
    """Sockets and memory stay bounded, and are given back."""
    async with chaos.scenario(10, "overload", flowing=False) as scenario:
        urgent = await exits_and_cancels(scenario)
        sustainable = await capacity(scenario, chaos.pick(6, 1.5))
        opened = descriptors(chaos)
        async with growing(chaos) as growth, probing(scenario) as probe, asyncio.TaskGroup() as group:
            flood = group.create_task(offer(scenario, sustainable * TIMES, chaos.pick(30, 4)))
            asked = group.create_task(in_turn(scenario, urgent.wishes, chaos.pick(30, 4)))
        ended = stopwatch()
        scenario.faults_done += 1
        told = [told for _, status, _, told in probe.answers if status in (429, 503)]
        scenario.figures["refusals looked at closely"] = len(told)
        scenario.expect(all(told), f"{told.count(False)} of {len(told)} refusals have no Retry-After")
        back = await normal_again(scenario, ended)
        scenario.recoveries.append(back)
        scenario.expect(back <= chaos.within(BACK_WITHIN), f"back to normal only after {back:.1f} s")
        await gives_back(scenario, opened)
        expect_early_refusals(scenario, sustainable, flood.result())
        await expect_exits_and_cancels(scenario, urgent, asked.result())
        expect_bounded_memory(scenario, growth)


async def exits_and_cancels(scenario: Scenario) -> Urgent:
    user, instrument = scenario.flow.world.users[0], scenario.flow.world.instruments[0]
    wishes = []
    async with Platform(scenario.flow.world.gateway_url, patience=30) as person:
        person.use_key(user.api_key)
        account = Account(await new_account(person), user, instrument)
        quantity = instrument.quantity * LOTS
        await place(scenario, person, scenario.flow.order(Kind.MARKET, account, side="BUY", quantity=quantity))
        await holds(person, account, quantity)
        for _ in range(PAIRS):
            rests = await place(scenario, person, scenario.flow.order(Kind.RESTING, account))
            wishes.append(scenario.flow.order(Kind.MARKET, account, side="SELL", purpose="EXIT"))
            wishes.append(scenario.flow.cancel(account, rests["order_id"]))
    return Urgent(account, wishes)


async def capacity(scenario: Scenario, seconds: float) -> float:
    """Orders decided a second when as many clients as that each order one after the other."""
    answers, until = Answers(), stopwatch() + seconds
    async with Pool(scenario.flow.world.gateway_url, 48) as pool:

        async def client() -> None:
            while stopwatch() < until:
                await ask(scenario, pool, draw(scenario), answers)

        await asyncio.gather(*(client() for _ in range(48)))
    return max(20.0, answers.statuses[TAKEN] / seconds)


def draw(scenario: Scenario) -> Wish:
    accounts = scenario.flow.world.accounts
    return scenario.flow.order(Kind.RESTING, accounts[len(scenario.flow.wishes) % len(accounts)])


async def ask(scenario: Scenario, pool: Pool, wish: Wish, answers: Answers) -> None:
    """Once. Its answer is noted, for the checks at the end."""
    scenario.flow.wishes.append(wish)
    began = stopwatch()
    try:
        status, body = await pool.call(wish.content)
    except TimeoutError:
        status, body = LOST, b""
    took = stopwatch() - began
    scenario.flow.note(wish, status, body, took)
    if status in (200, TAKEN, OPEN, REFUSED, 409):
        wish.status = status
    answers.statuses[status] += 1
    (answers.refused_seconds if status in (429, 503) else answers.seconds).append(took)


async def offer(scenario: Scenario, rate: float, seconds: float) -> Answers:
    """Without regard to the answers, from as many connections as there may be; what finds none free is not asked."""
    answers = Answers()
    asking: set[asyncio.Task[None]] = set()
    allow_descriptors()
    async with Pool(scenario.flow.world.gateway_url, CONNECTIONS) as pool:

        def start_one(_: int, __: float) -> None:
            if len(asking) >= CONNECTIONS:
                answers.unasked += 1
                return
            task = asyncio.create_task(ask(scenario, pool, draw(scenario), answers))
            asking.add(task)
            task.add_done_callback(asking.discard)

        await constant_rate(rate, seconds, start_one)
        await asyncio.gather(*asking)
    return answers


async def in_turn(scenario: Scenario, wishes: list[Wish], seconds: float) -> Answers:
    answers = Answers()
    until = stopwatch() + seconds
    async with Pool(scenario.flow.world.gateway_url, 4) as pool:
        for wish in wishes:
            if stopwatch() > until:
                break
            await ask(scenario, pool, wish, answers)
            await asyncio.sleep(seconds / len(wishes) / 2)
    return answers


@pytest.mark.scenario(10)
async def test_thousands_who_connect_at_once_and_send_a_second_later_all_hear_an_answer(chaos: Chaos) -> None:
    """They stand still together, as a machine's clients do when it has too much to do: none of them is hung up on."""
    async with chaos.scenario(10, f"{CLIENTS} clients at once", flowing=False) as scenario:
        wishes = [draw(scenario) for _ in range(CLIENTS)]
        opened = descriptors(chaos)
        allow_descriptors()
        async with growing(chaos) as growth:
            sockets = await asyncio.to_thread(connected, chaos.world.gateway_url)
            scenario.faults_done += 1
            await asyncio.sleep(1.0)
            heard = await asyncio.gather(*map(said, sockets, wishes))
        for wish, (status, head, body, took) in zip(wishes, heard, strict=True):
            scenario.flow.wishes.append(wish)
            scenario.flow.note(wish, status, body, took)
            wish.status = status if status in (TAKEN, OPEN, REFUSED) else None
            told = status not in (429, 503) or b"\r\nretry-after:" in head.lower()
            scenario.expect(told, f"a refusal has no Retry-After: {head!r}")
        met, slowest = Counter(status for status, *_ in heard), max(took for *_, took in heard)
        scenario.figures |= {
            "answers": {str(status): count for status, count in sorted(met.items())},
            "slowest answer": f"{slowest:.2f} s",
        }
        scenario.expect(met.keys() <= {TAKEN, OPEN, REFUSED, 429, 503}, f"answers {met}")
        scenario.expect(slowest <= chaos.within(SLOWEST_S), f"the slowest answer took {slowest:.1f} s")
        expect_bounded_memory(scenario, growth)
        await gives_back(scenario, opened)


def connected(url: str) -> list[socket.socket]:
    parts = urlsplit(url)
    return [socket.create_connection((parts.hostname, parts.port), timeout=30) for _ in range(CLIENTS)]


async def said(connection: socket.socket, wish: Wish) -> tuple[int, bytes, bytes, float]:
    """The status, the head and the body of the answer on a connection of its own, and the seconds that it took."""
    connection.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=connection)
    began = stopwatch()
    try:
        writer.write(wish.content)
        head = await reader.readuntil(b"\r\n\r\n")
        length = LENGTH.search(head)
        body = await reader.readexactly(int(length[1]) if length else 0)
    except (asyncio.IncompleteReadError, ConnectionError):
        return LOST, b"", b"", stopwatch() - began
    finally:
        writer.close()
    return int(head[9:12]), head, body, stopwatch() - began


def allow_descriptors() -> None:
    """As many connections as the machine lets us have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def memory(chaos: Chaos) -> float:
    """MiB that the services hold."""
    pids = chaos.stack.supervisor.pids()
    return sum(psutil.Process(pids[name]).memory_info().rss for name in SERVICES) / 2**20


@contextlib.asynccontextmanager
async def growing(chaos: Chaos) -> AsyncIterator[Growth]:
    """Looks at the services' memory before, again and again within, and at the end."""
    before = memory(chaos)
    growth = Growth(before, before)

    async def look() -> None:
        growth.most = max(growth.most, await asyncio.to_thread(memory, chaos))

    async def look_again_and_again() -> None:
        while True:
            await asyncio.sleep(LOOKED_AT_EVERY_S)
            await look()

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(look_again_and_again())
        yield growth
        watching.cancel()
    await look()


def descriptors(chaos: Chaos) -> int:
    """Files and sockets that the services hold open."""
    pids = chaos.stack.supervisor.pids()
    return sum(psutil.Process(pids[name]).num_fds() for name in SERVICES)


async def gives_back(scenario: Scenario, before: int) -> None:
    """The callers are gone: their sockets are too, soon."""
    deadline = stopwatch() + GIVEN_BACK_WITHIN
    while (kept := descriptors(scenario.chaos) - before) > MOST_KEPT and stopwatch() < deadline:
        await asyncio.sleep(0.2)
    scenario.expect(kept <= MOST_KEPT, f"{kept} more descriptors are open than before the overload")


async def normal_again(scenario: Scenario, since: float) -> float:
    """Seconds until ten orders in a row were each decided as quickly as ever."""
    answers, quick = Answers(), 0
    limit = scenario.chaos.within(NORMAL_S)
    async with Pool(scenario.flow.world.gateway_url, 4) as pool:
        while quick < 10 and stopwatch() < since + 60:
            began = stopwatch()
            wish = draw(scenario)
            await ask(scenario, pool, wish, answers)
            quick = quick + 1 if wish.status == TAKEN and stopwatch() - began < limit else 0
    return stopwatch() - since


def expect_early_refusals(scenario: Scenario, sustainable: float, flood: Answers) -> None:
    """Too much is refused, at once, and in the words that there are for it."""
    refused = sum(count for status, count in flood.statuses.items() if status in (429, 503))
    refusal = percentile(flood.refused_seconds, 99) if flood.refused_seconds else 0.0
    slowest = max(flood.seconds + flood.refused_seconds)
    scenario.figures |= {
        "sustainable orders/s": round(sustainable),
        "offered orders/s": round(sustainable * TIMES),
        "answers": {str(status): count for status, count in sorted(flood.statuses.items())},
        "not asked, no connection was free": flood.unasked,
        "refusals": summary(flood.refused_seconds),
        "slowest answer": f"{slowest:.2f} s",
    }
    chaos = scenario.chaos
    scenario.expect(refused > 0, "nothing was refused")
    scenario.expect(refusal <= chaos.within(EARLY_S), f"refusals took {refusal:.2f} s (p99)")
    scenario.expect(slowest <= chaos.within(SLOWEST_S), f"the slowest answer took {slowest:.1f} s")
    scenario.expect(set(flood.statuses) <= {TAKEN, OPEN, REFUSED, 429, 503}, f"answers {flood.statuses}")


async def expect_exits_and_cancels(scenario: Scenario, urgent: Urgent, answers: Answers) -> None:
    """Each was carried out, soon; and the books show it."""
    exits, cancels = urgent.statuses(exits=True), urgent.statuses(exits=False)
    seconds = answers.seconds + answers.refused_seconds
    slowest = max(seconds, default=0.0)
    scenario.figures["exits"] = {str(status): count for status, count in sorted(exits.items())}
    scenario.figures["cancels"] = {str(status): count for status, count in sorted(cancels.items())}
    scenario.figures["exits and cancels took"] = summary(seconds)
    scenario.expect(set(exits) == {TAKEN}, f"exits were answered {dict(exits)}")
    scenario.expect(set(cancels) == {CARRIED_OUT}, f"cancels were answered {dict(cancels)}")
    scenario.expect(slowest <= scenario.chaos.within(SLOWEST_S), f"an exit or a cancel took {slowest:.1f} s")
    async with Platform(scenario.flow.world.gateway_url, patience=30) as person:
        person.use_key(urgent.account.user.api_key)
        left = urgent.account.instrument.quantity * (LOTS - exits[TAKEN])
        try:
            await holds(person, urgent.account, left)
        except TimeoutError:
            scenario.complaints.append(f"the account does not hold {left} after {dict(exits)}")
        query = {"account_id": urgent.account.account_id, "open": "true", "limit": 2 * PAIRS}
        rest = len((await person.get("/api/v2/trading/orders/", **query))["data"])
    scenario.expect(rest == PAIRS - cancels[CARRIED_OUT], f"{rest} of {PAIRS} orders are open after {dict(cancels)}")


def expect_bounded_memory(scenario: Scenario, growth: Growth) -> None:
    scenario.figures["memory grown by, at most"] = f"{growth.mib:.0f} MiB"
    scenario.expect(growth.mib <= MOST_GROWTH_MIB, f"the services grew by {growth.mib:.0f} MiB")
