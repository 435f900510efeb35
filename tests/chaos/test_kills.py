"""`kill -9` of services: orders are delayed for seconds; none is lost, none is made twice."""

import asyncio
import contextlib
import random
from datetime import datetime
from itertools import pairwise
from uuid import UUID

import pytest

from deploy.local.instance import SERVICES
from libs.common.clock import SystemClock, stopwatch
from libs.common.contracts import topics
from libs.common.contracts.enums import OrderStatus
from libs.common.ids import derive
from tests.chaos.flow import PATIENCE
from tests.chaos.log import records
from tests.chaos.scenario import Chaos, Scenario
from tests.chaos.test_servers import no_tick_is_missing
from tests.chaos.wishes import Kind
from tools.client import Platform, Refused

RESUMES_WITHIN = 5.0
TAKEN_OVER_WITHIN = 12.0
ROUNDS = 14
SHORT = ("trading", "risk", "gateway", "walkforward")
AT_THE_VENUE = frozenset({OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED, OrderStatus.FILLED})


@pytest.mark.scenario(1)
async def test_nautilus_5000_sigkill_with_working_orders_delays_them_for_seconds_and_loses_or_doubles_none(
    chaos: Chaos,
) -> None:
    """Hundreds of orders rest while each service, the venue too, is killed."""
    drawn = random.Random(chaos.seed)
    victims = list(SERVICES) * ROUNDS if chaos.full else list(SHORT)
    drawn.shuffle(victims)
    async with chaos.scenario(1, "kill -9 of each service") as scenario:
        for victim in victims:
            await asyncio.sleep(drawn.uniform(0.1, 1.0))
            at = await scenario.faults.kill(victim)
            scenario.faults_done += 1
            await works_again(scenario, victim, at, SystemClock().now())
            await scenario.faults.ready(victim)


async def works_again(scenario: Scenario, victim: str, at: float, moment: datetime) -> None:
    """What is not done without the victim is done again: no order waits for strategy, signals or marketdata."""
    after = f"the kill of {victim}"
    match victim:
        case "signals":
            await scenario.recovers(at, RESUMES_WITHIN, after, lambda wish: wish.kind is Kind.ALERT)
        case "strategy":
            what = "an alert became an order that was accepted"
            await scenario.in_time(lambda: traded_on_an_alert(scenario, at), RESUMES_WITHIN, after, what)
        case "marketdata":
            what = "a quote was newer than it"
            await scenario.in_time(lambda: quoted(scenario, at, moment), RESUMES_WITHIN, after, what)
        case _:
            await scenario.recovers(at, RESUMES_WITHIN, after)


async def traded_on_an_alert(scenario: Scenario, since: float) -> float:
    """Seconds until the algo behind an alert that is sent now has its order at the venue."""
    flow, user = scenario.flow, scenario.chaos.world.users[0]
    receiver = user.receivers[0]
    alert = flow.alert(receiver, stopwatch())
    flow.send(alert)
    async with Platform(flow.world.gateway_url, patience=2 * PATIENCE) as person, asyncio.timeout(PATIENCE):
        person.use_key(user.api_key)
        while not alert.ids:
            await asyncio.sleep(0.02)
        (signal_id,) = alert.ids
        order_id = derive(UUID(signal_id), "entry", receiver.algo_id, receiver.account_id, 1)
        while True:
            with contextlib.suppress(Refused):
                order = await person.get(f"/api/v2/trading/orders/{order_id}")
                if order["status"] in AT_THE_VENUE:
                    return stopwatch() - since
            await asyncio.sleep(0.05)


async def quoted(scenario: Scenario, since: float, moment: datetime) -> float:
    """Seconds until there is a price of after the moment."""
    world = scenario.chaos.world
    async with Platform(world.gateway_url, patience=2 * PATIENCE) as person, asyncio.timeout(PATIENCE):
        person.use_key(world.users[0].api_key)
        while True:
            quote = await person.get(f"/api/v2/market/quotes/{world.instruments[0].name}")
            if datetime.fromisoformat(quote["at"]) > moment:
                return stopwatch() - since
            await asyncio.sleep(0.05)


@pytest.mark.in_full
@pytest.mark.scenario(1)
async def test_another_instance_takes_over_for_one_that_stays_dead(chaos: Chaos) -> None:
    """The short version sees it with an instance that stands still: the harder case."""
    async with chaos.scenario(1, "kill -9 for good, another instance takes over") as scenario:
        for service in ("trading", "risk", "walkforward", "gateway"):
            async with scenario.faults.more((service, 1)):
                await scenario.flow.resumed_everywhere(stopwatch(), 60)
                at = await scenario.faults.kill(f"{service}-1")
                scenario.faults_done += 1
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
        scenario.faults_done += 1
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
