"""`kill -9` of services: orders are delayed for seconds; none is lost, none is made twice."""

import asyncio
import random
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise

import pytest

from deploy.local.instance import SERVICES
from libs.common.clock import SystemClock, stopwatch
from libs.common.contracts import topics
from tests.chaos.flow import Kind, Wish
from tests.chaos.log import records
from tests.chaos.scenario import Chaos, Scenario
from tests.chaos.test_servers import no_tick_is_missing

RESUMES_WITHIN = 5.0
TAKEN_OVER_WITHIN = 12.0
ROUNDS = 14
SHORT = ("trading", "risk", "gateway")


@pytest.mark.scenario(1)
async def test_orders_resume_within_seconds_of_any_kill_and_none_is_lost_or_doubled(chaos: Chaos) -> None:
    """Also test_nautilus_5000_sigkill_with_14_working_orders: hundreds of orders rest while the venue is killed."""
    drawn = random.Random(chaos.seed)
    victims = list(SERVICES) * ROUNDS if chaos.full else list(SHORT)
    drawn.shuffle(victims)
    async with chaos.scenario(1, "kill -9 of each service") as scenario:
        for victim in victims:
            await asyncio.sleep(drawn.uniform(0.1, 1.0))
            at = await scenario.faults.kill(victim)
            scenario.kills += 1
            await scenario.recovers(at, RESUMES_WITHIN, f"the kill of {victim}", done_by(victim))
            await scenario.faults.ready(victim)


def done_by(victim: str) -> Callable[[Wish], bool] | None:
    """What tells that the victim works again: for signals it is alerts, for the others orders."""
    return (lambda wish: wish.kind is Kind.ALERT) if victim == "signals" else None


@pytest.mark.in_full
@pytest.mark.scenario(1)
async def test_another_instance_takes_over_for_one_that_stays_dead(chaos: Chaos) -> None:
    """The short version sees it with an instance that stands still: the harder case."""
    async with chaos.scenario(1, "kill -9 for good, another instance takes over") as scenario:
        for service in ("trading", "risk", "walkforward", "gateway"):
            async with scenario.faults.more((service, 1)):
                await scenario.flow.resumed_everywhere(stopwatch(), 60)
                at = await scenario.faults.kill(f"{service}-1")
                scenario.kills += 1
                await scenario.recovers_everywhere(at, TAKEN_OVER_WITHIN, f"the death of {service}-1")


@pytest.mark.in_full
@pytest.mark.scenario(1)
async def test_prices_go_on_when_who_reads_the_feed_stays_dead(chaos: Chaos) -> None:
    """`tests/services/marketdata/test_takeover.py` sees it with fewer others on the machine."""
    title = "kill -9 for good of who reads the feed"
    async with chaos.scenario(1, title) as scenario, scenario.faults.more(("marketdata", 1)):
        await scenario.flow.resumed_everywhere(stopwatch(), 60)
        since = SystemClock().now()
        at = await scenario.faults.take_away("marketdata")
        scenario.kills += 1
        await scenario.recovers_everywhere(at, TAKEN_OVER_WITHIN, "the death of who read the feed")
        await asyncio.sleep(TAKEN_OVER_WITHIN)
        await ticks_went_on(scenario, since)
        await no_tick_is_missing(scenario, since)
        await scenario.faults.bring_back("marketdata")
        await scenario.faults.ready("marketdata")


async def ticks_went_on(scenario: Scenario, since: datetime) -> None:
    bootstrap = scenario.chaos.stack.environment()["KAFKA_BOOTSTRAP"]
    told = await asyncio.to_thread(lambda: sorted(each.at for each in records(bootstrap, topics.TICKS.name, since)))
    stood_still = max((after - before).total_seconds() for before, after in pairwise([*told, SystemClock().now()]))
    scenario.figures["ticks stood still for"] = f"{stood_still:.1f} s"
    scenario.expect(stood_still <= TAKEN_OVER_WITHIN, f"no tick came for {stood_still:.1f} s")
