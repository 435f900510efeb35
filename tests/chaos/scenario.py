"""One scenario: a flow of orders, what is done to the platform meanwhile, and the proof that nothing was harmed."""

import contextlib
import json
import os
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import asyncpg

from deploy.local.instance import Instance
from deploy.local.stack import Stack
from libs.common.clock import SystemClock, stopwatch
from tests.chaos.audit import Verdict, audit, quiet
from tests.chaos.faults import Faults
from tests.chaos.flow import PATIENCE, Flow
from tests.chaos.panicker import Panicker
from tests.chaos.wishes import CARRIED_OUT, OPEN, PLACE, REFUSED, TAKEN, Kind, Wish
from tests.chaos.world import World
from tools.client import Json, Platform
from tools.reconcile import AlertAnswered, Answered, Options, Rule, Sources, reconcile

FULL = bool(os.environ.get("CHAOS"))
SEED = int(os.environ.get("SEED") or random.randrange(1_000_000))
CHOICES = {"MARKETDATA_FEED": "simulator", "LOG_LEVEL": "INFO", "WALKFORWARD_LIQUIDITY": "unlimited"}
"""With what the simulated market shows, closing everything at once would take it minutes."""
AT_REST_SECONDS = 60.0
CALM_SECONDS, WARM_WITHIN = 3.0, 60.0
SHORT_OF_A_CHECK = 150.0
"""The short version does without the checker for so long, and has it look at all once more at the end."""


@dataclass
class Chaos:
    """What every scenario needs in hand. `full` is `make chaos`; else the short version of `make test`."""

    stack: Stack
    world: World
    seed: int
    full: bool
    orders: int = 0
    """In the log since it was begun: the checker reads all of it after every scenario."""
    reconciled_at: float = 0.0

    @property
    def home(self) -> Path:
        """Where notes and results are kept, also those of a stack of its own."""
        return Instance("chaos").home / "chaos"

    @property
    def admin_url(self) -> str:
        return self.stack.environment()["POSTGRES_ADMIN_URL"]

    async def fetch(self, sql: str, *values: object) -> list[asyncpg.Record]:
        """Whatever the services' tables hold, as their administrator."""
        connection = await asyncpg.connect(self.admin_url, timeout=10)
        try:
            return list(await connection.fetch(sql, *values))
        finally:
            await connection.close()

    @property
    def rate(self) -> float:
        """Wishes a second. Three of four are orders, the others change or cancel some of these."""
        return 140.0 if self.full else 40.0

    def within(self, seconds: float) -> float:
        """A bound to hold in a full run. The short version shares its machine with whoever runs the tests."""
        return seconds if self.full else seconds * 4

    def pick(self, full: float, short: float) -> float:
        return full if self.full else short

    @contextlib.asynccontextmanager
    async def scenario(
        self,
        number: int,
        title: str,
        *,
        edge: str | None = None,
        flowing: bool = True,
        panicking: bool = True,
        warmed_up: bool = True,
    ) -> AsyncIterator["Scenario"]:
        """Offers orders within, lets them come to rest after, and fails unless every one is accounted for once.

        `edge` is the one address of all gateways and listeners; without it the first of each is asked. `panicking` has
        one user panic beside the flow. `warmed_up` waits in a full run until all that is offered is taken.
        """
        name = f"{number:02}-{title.split(':')[0].replace(' ', '-').lower()}"
        journal = self.home / f"{name}.jsonl"
        journal.unlink(missing_ok=True)
        since, began = SystemClock().now(), stopwatch()
        async with Flow(self.world, self.seed + number, journal, edge) as flow:
            scenario = Scenario(number, title, flow, Faults(self.stack), self)
            panicker = Panicker(flow, self.seed + number, scenario.expect)
            if flowing:
                flow.start(self.rate)
                if panicking:
                    flow.also(panicker.run())
                await flow.resumed(stopwatch(), 60)
                if self.full and warmed_up:
                    await scenario.warms_up()
            yield scenario
            await flow.settle()
        if panicker.panics:
            scenario.figures["one user's panics"] = panicker.panics
            scenario.figures["closed by his stop-loss or target before"] = len(panicker.breaches)
        left = await quiet(self.admin_url)
        verdict = await audit(flow, since, self.admin_url)
        verdict.faults += [*left, *scenario.complaints]
        if self.full or stopwatch() - self.reconciled_at > SHORT_OF_A_CHECK:
            await self._reconcile(flow, verdict, name)
            self.reconciled_at = stopwatch()
        scenario.keep(name, verdict, stopwatch() - began)
        self.orders += verdict.orders
        assert verdict.good, "\n".join(verdict.faults)

    async def _reconcile(self, flow: Flow, verdict: Verdict, name: str) -> None:
        """The independent checker: from the log and every service's tables, since the stack was made."""
        told = [
            Answered(UUID(each), status)
            for wish in flow.orders
            for each in wish.ids
            for status in set(wish.statuses) & {TAKEN, OPEN, REFUSED}
        ]
        heard = [
            AlertAnswered(UUID(each), status)
            for wish in flow.wishes
            if wish.kind is Kind.ALERT
            for each in wish.ids
            for status in set(wish.statuses) & {CARRIED_OUT, OPEN}
        ]
        sources = Sources.of(self.stack.environment(), answered=(*told, *heard))
        report = await reconcile(sources, Options(wait_s=AT_REST_SECONDS))
        text = report.text()
        (self.home / f"{name}.txt").write_text(text + "\n")
        if not report.passed:
            verdict.faults.append(text)
        unseen = len({each.order_id for each in told}) - report.orders
        verdict.lose(max(unseen, 0), f"the checker saw {report.orders} orders, fewer than were answered")
        broken = report.findings.broken
        verdict.lost += broken[Rule.ANSWERED] + broken[Rule.DECIDED]
        verdict.doubled += broken[Rule.VENUE] + broken[Rule.FILLS]


@dataclass
class Scenario:
    number: int
    title: str
    flow: Flow
    faults: Faults
    chaos: Chaos
    faults_done: int = 0
    """Faults of every kind: kills, stops, restarts, outages."""
    recoveries: list[float] = field(default_factory=list)
    """Seconds from each fault to the next order that was wished after it and accepted."""
    figures: dict[str, object] = field(default_factory=dict)
    """What else is worth a line in the report."""
    complaints: list[str] = field(default_factory=list)
    """What was not as it should be. A scenario goes on to its end, and fails there with all of them."""

    def expect(self, good: bool, words: str) -> None:
        if not good:
            self.complaints.append(words)

    async def warms_up(self) -> None:
        """A stack that was just made, its Kafka above all, does less in its first seconds: harm comes after them."""
        began = stopwatch()
        try:
            took = f"{await self.flow.borne(began, CALM_SECONDS, WARM_WITHIN):.0f} s"
        except TimeoutError:
            took = f"not in {WARM_WITHIN:.0f} s"
        self.figures["bore its load after"] = took

    async def recovers(
        self, since: float, within: float, after: str, picked: Callable[[Wish], bool] | None = None
    ) -> None:
        """The flow (all orders, or what is picked) resumes after a fault, in time."""
        await self.in_time(lambda: self.flow.resumed(since, PATIENCE, picked), within, after)

    async def recovers_everywhere(self, since: float, within: float, after: str) -> None:
        """Every account has had an order accepted after the fault, in time."""
        await self.in_time(lambda: self.flow.resumed_everywhere(since, PATIENCE), within, after)

    async def in_time(
        self,
        resumed: Callable[[], Awaitable[float]],
        within: float,
        after: str,
        what: str = "orders were accepted again",
    ) -> None:
        """`resumed` tells how many seconds after the fault it was, or raises TimeoutError once patience is over."""
        try:
            took = await resumed()
        except TimeoutError:
            self.complaints.append(f"not in {PATIENCE:.0f} s after {after}: {what}")
            return
        self.recoveries.append(took)
        within = self.chaos.within(within)
        self.expect(took <= within, f"{took:.1f} s after {after}, not within {within:g} s: {what}")

    def keep(self, name: str, verdict: Verdict, seconds: float) -> None:
        flow = self.flow
        result = {
            "number": self.number,
            "title": self.title,
            "seed": self.chaos.seed,
            "full": self.chaos.full,
            "at": SystemClock().now().isoformat(timespec="seconds"),
            "seconds": round(seconds, 1),
            "faults": self.faults_done,
            "orders": verdict.orders,
            "orders_per_s": round(verdict.orders / flow.seconds, 1) if flow.seconds else None,
            "alerts": verdict.alerts,
            "requests": sum(wish.tries for wish in flow.wishes),
            "never_answered": sum(1 for wish in flow.wishes if wish.status is None),
            "statuses": {str(status): count for status, count in sorted(flow.statuses().items())},
            "slowest_answer_s": round(flow.slowest_answer, 2),
            "lost": verdict.lost,
            "doubled": verdict.doubled,
            "wrong": verdict.faults,
            "recoveries": [round(each, 3) for each in self.recoveries],
            **self.figures,
        }
        keep_result(self.chaos.home, name, result)
        self._tell(verdict, seconds)

    def _tell(self, verdict: Verdict, seconds: float) -> None:
        outcomes = dict(Counter(wish.status for wish in self.flow.wishes))
        lines = (
            f"{self.title}: {verdict.orders} orders, {self.faults_done} faults in {seconds:.0f} s",
            f"answers {outcomes}, recovery {summary(self.recoveries)}, {self.figures}",
            "; ".join(verdict.faults) or "every order accounted for, once",
        )
        sys.stdout.write("\n" + "\n  ".join(lines) + "\n")


def keep_result(home: Path, name: str, result: Mapping[str, object]) -> None:
    """For the report."""
    path = home / "results" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2, default=str) + "\n")


async def place(scenario: Scenario, gateway: Platform, wish: Wish) -> Json:
    """An order of the test's own; the checks count it among the flow's."""
    body = wish.content.partition(b"\r\n\r\n")[2]
    order = await gateway.post(PLACE, json.loads(body), key=wish.key)
    scenario.flow.wishes.append(wish)
    wish.ids.add(order["order_id"])
    wish.status = TAKEN
    return order


def summary(seconds: Sequence[float]) -> str:
    if not seconds:
        return "-"
    return f"p50 {percentile(seconds, 50):.2f} s, p99 {percentile(seconds, 99):.2f} s, worst {max(seconds):.2f} s"


def percentile(values: Sequence[float], percent: float) -> float:
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(percent / 100 * len(ordered) + 0.5) - 1))]
