"""The same wish many times at once, at two gateways: it is granted once."""

import asyncio
from collections import Counter
from datetime import datetime

import httpx
import orjson
import pytest

from libs.common.clock import SystemClock, stopwatch
from libs.common.contracts import topics
from tests.chaos.log import records
from tests.chaos.scenario import Chaos, Scenario
from tests.chaos.wishes import OPEN, REFUSED, TAKEN, Kind, Wish, named_in
from tools.client import Json

EQUAL = 50
ANSWERED_WITHIN = 60.0
DECIDED_WITHIN = 5.0


async def at_once(scenario: Scenario, wish: Wish, urls: list[str]) -> list[httpx.Response]:
    """The same bytes, every second one to the other address."""
    head, _, content = wish.content.partition(b"\r\n\r\n")
    lines = [line.partition(": ") for line in head.decode().split("\r\n")]
    path = lines[0][0].split(" ")[1]
    headers = {name: value for name, _, value in lines[1:] if name not in ("host", "content-length")}
    async with httpx.AsyncClient(timeout=30) as client:
        began = stopwatch()
        posts = (client.post(urls[n % len(urls)] + path, content=content, headers=headers) for n in range(EQUAL))
        answers = await asyncio.gather(*posts)
    if wish not in scenario.flow.wishes:
        scenario.flow.wishes.append(wish)
    for answer in answers:
        scenario.flow.note(wish, answer.status_code, answer.content, stopwatch() - began)
        if answer.status_code in (200, TAKEN, OPEN, REFUSED):
            wish.status = answer.status_code
    return answers


@pytest.mark.scenario(7)
async def test_openalgo_1991_timeout_after_accept_fifty_equal_keys_and_alerts_at_two_of_each_are_one(
    chaos: Chaos,
) -> None:
    """A key is never released, so asking again never orders again."""
    async with (
        chaos.scenario(7, "50 equal keys at two gateways, 50 alike alerts at two listeners") as scenario,
        scenario.faults.more(("gateway", 1), ("signals", 1)),
    ):
        for n in range(6 if chaos.full else 1):
            await one_order(scenario, (Kind.RESTING, Kind.MARKET)[n % 2], n)
            await one_signal(scenario, n)


async def one_order(scenario: Scenario, kind: Kind, n: int) -> None:
    urls, accounts = both(scenario, "gateway"), scenario.flow.world.accounts
    wish = scenario.flow.order(kind, accounts[n % len(accounts)])
    answers = await at_once(scenario, wish, urls)
    met = Counter(answer.status_code for answer in answers)
    named = {named_in(kind, answer.status_code, answer.content) for answer in answers} - {None}
    scenario.expect(len(named) == 1, f"{EQUAL} equal requests named {named}, answers {met}")
    scenario.expect(set(met) <= {TAKEN, OPEN, REFUSED, 409, 503}, f"{EQUAL} equal requests were answered {met}")
    told: Counter[int] = Counter()
    for _ in range(5):  # an answer may be open for as long as the order takes
        told = Counter(answer.status_code for answer in await at_once(scenario, wish, urls))
        if not told.keys() & {OPEN, 409, 503}:
            break
        await asyncio.sleep(1)
    scenario.expect(told in ({TAKEN: EQUAL}, {REFUSED: EQUAL}), f"asked again {EQUAL} times, answers {told}")


async def one_signal(scenario: Scenario, n: int) -> None:
    """One alert of many becomes one signal, on which one order is asked for."""
    since, receivers = SystemClock().now(), scenario.flow.world.receivers
    wish = scenario.flow.alert(receivers[n % len(receivers)], stopwatch())
    met: Counter[int] = Counter()
    named: set[str | None] = set()
    async with asyncio.timeout(ANSWERED_WITHIN):
        for _ in range(5):  # who hears 503 sends again, as TradingView does: the one that was taken may be among them
            answers = await at_once(scenario, wish, both(scenario, "signals"))
            met.update(answer.status_code for answer in answers)
            named |= {named_in(Kind.ALERT, answer.status_code, answer.content) for answer in answers} - {None}
            if 503 not in {answer.status_code for answer in answers}:
                break
            await asyncio.sleep(1)
    scenario.expect(len(named) == 1, f"{EQUAL} alike alerts became the signals {named}, answers {met}")
    scenario.expect(met[202] == 1 or (met[202] == 0 and met[503] > 0), f"{EQUAL} alike alerts were answered {met}")
    scenario.expect(set(met) <= {200, 202, 429, 503}, f"{EQUAL} alike alerts were answered {met}")
    told = await decided(scenario, wish, since)
    asked = [order_id for each in told for order_id in each.get("order_ids", ())]
    scenario.expect(
        len(told) == len(asked) == 1, f"{EQUAL} alike alerts were to become one order, the algo told {told}"
    )


async def decided(scenario: Scenario, wish: Wish, since: datetime) -> list[Json]:
    """What algos told about an alert's signal, once they did."""
    deadline = stopwatch() + scenario.chaos.within(DECIDED_WITHIN)
    while True:
        told = await asyncio.to_thread(decisions, scenario, wish.ids, since)
        if told or stopwatch() > deadline:
            return told
        await asyncio.sleep(0.2)


def decisions(scenario: Scenario, signal_ids: set[str], since: datetime) -> list[Json]:
    bootstrap = scenario.chaos.stack.environment()["KAFKA_BOOTSTRAP"]
    found = [orjson.loads(each.value) for each in records(bootstrap, topics.STRATEGY_DECISIONS.name, since)]
    return [each for each in found if each.get("signal_id") in signal_ids]


def both(scenario: Scenario, service: str) -> list[str]:
    return [scenario.chaos.stack.instance.url(service, number) for number in (0, 1)]
