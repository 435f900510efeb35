"""A message that cannot be handled: its own account waits, in order, until a person decides; nobody else does."""

import asyncio
import os
import subprocess
import sys
from datetime import datetime

import asyncpg
import orjson
import pytest
from confluent_kafka import Producer

from deploy.local.instance import PROJECT
from libs.common.clock import SystemClock, stopwatch
from libs.common.contracts import topics
from libs.common.contracts.accounts import Account as Stored
from libs.common.contracts.base import Topic
from libs.common.ids import new_id
from tests.chaos.flow import OPEN, Kind
from tests.chaos.log import records
from tests.chaos.scenario import Chaos, Scenario
from tests.chaos.world import Account
from tools.client import Platform

OTHERS_GO_ON_WITHIN = 5.0
SOON = 30.0
POISONER = "/tests/chaos"


@pytest.mark.scenario(8)
async def test_poison_stops_its_own_account_only_until_it_is_discarded(chaos: Chaos) -> None:
    async with chaos.scenario(8, "poison on money topics") as scenario:
        for n in range(2 if chaos.full else 1):
            first, second = chaos.world.users[0].accounts[2 + n], chaos.world.users[-1].accounts[-1 - n]
            others = [account for account in chaos.world.accounts if account not in (first, second)]
            async with asyncio.TaskGroup() as both:
                both.create_task(unreadable(scenario, first, others))
                both.create_task(unbearable(scenario, second, others))


async def unreadable(scenario: Scenario, account: Account, others: list[Account]) -> None:
    """An order request that is no JSON, before risk. What waits behind it is decided in the order in which it came."""
    since, at = SystemClock().now(), stopwatch()
    poison(scenario, topics.ORDER_REQUESTS, "OrderRequested", account, b"{not json")
    await others_go_on(scenario, at, others)
    await until_parked(scenario, "risk", account)
    waiting = [await wish_for(scenario, account) for _ in range(3)]
    await command(scenario, "discard", "risk", account.account_id)
    await until_free(scenario, "risk", account)
    await asyncio.sleep(1)
    decided = await asyncio.to_thread(decisions, scenario, account, since)
    theirs = [order_id for order_id in decided if order_id in waiting]
    scenario.expect(theirs == waiting, f"asked for in the order {waiting}, decided in the order {theirs}")


async def unbearable(scenario: Scenario, account: Account, others: list[Account]) -> None:
    """A request that fits its contract and not the database: trading cannot handle it, now or when it is retried."""
    async with Platform(scenario.flow.world.gateway_url, patience=30) as person:
        person.use_key(account.user.api_key)
        stored = await person.get(f"/api/v2/accounts/{account.account_id}")
    known = {name: stored[name] for name in Stored.model_fields if name in stored}
    wish = {"account_id": account.account_id, "user_id": stored["user_id"], "expected_version": stored["version"]}
    content = orjson.dumps({**wish, "account": {**known, "name": "a name with a NUL \0"}})
    at = stopwatch()
    poison(scenario, topics.TRADING_REQUESTS, "AccountSaveRequested", account, content)
    await others_go_on(scenario, at, others)
    await until_parked(scenario, "trading", account)
    scenario.expect(account.account_id in await command(scenario, "list", "trading"), "the command lists no parked one")
    await command(scenario, "retry", "trading", account.account_id)
    await until_parked(scenario, "trading", account)
    await command(scenario, "discard", "trading", account.account_id)
    await until_free(scenario, "trading", account)


def poison(scenario: Scenario, topic: Topic, kind: str, account: Account, value: bytes) -> None:
    """As a service with a bug might have written it."""
    now = SystemClock().now().isoformat()
    headers: list[tuple[str, str | bytes | None]] = [
        ("ce_specversion", b"1.0"),
        ("ce_id", str(new_id())),
        ("ce_type", kind),
        ("ce_source", POISONER),
        ("ce_time", now),
        ("ce_subject", account.account_id),
    ]
    bootstrap = scenario.chaos.stack.environment()["KAFKA_BOOTSTRAP"]
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "acks": "all"})
    producer.produce(topic.name, value, account.account_id, headers=headers)
    assert producer.flush(10) == 0, "Kafka did not take the poison"
    scenario.kills += 1


async def command(scenario: Scenario, *words: str) -> str:
    """`python -m libs.common.messaging parked …`, as an operator types it."""
    call = (sys.executable, "-m", "libs.common.messaging", "parked", *words)
    variables = os.environ | scenario.chaos.stack.environment()
    done = await asyncio.to_thread(
        subprocess.run, call, env=variables, cwd=PROJECT, capture_output=True, text=True, check=True
    )
    said: str = done.stdout
    return said


async def until_parked(scenario: Scenario, service: str, account: Account) -> None:
    """Also again, after a retry."""
    async with asyncio.timeout(SOON):
        while await parked(scenario, service, account) != [False]:
            await asyncio.sleep(0.2)


async def until_free(scenario: Scenario, service: str, account: Account) -> None:
    async with asyncio.timeout(SOON):
        while await parked(scenario, service, account):
            await asyncio.sleep(0.2)


async def parked(scenario: Scenario, service: str, account: Account) -> list[bool]:
    """Of each poisoned message of an account, whether it waits for a retry."""
    connection = await asyncpg.connect(scenario.chaos.admin_url, timeout=10)
    try:
        sql = f"SELECT retry_requested FROM {service}.message_parked WHERE key = $1 AND headers::text LIKE $2"  # noqa: S608
        return [row[0] for row in await connection.fetch(sql, account.account_id, f"%{POISONER}%")]
    finally:
        await connection.close()


async def others_go_on(scenario: Scenario, since: float, others: list[Account]) -> None:
    """Each has an order accepted that is asked for right after the poison; by chance alone one may be left out."""
    for account in others:
        scenario.flow.send(scenario.flow.order(Kind.RESTING, account))
    deadline = since + scenario.chaos.within(OTHERS_GO_ON_WITHIN)
    while left := set(others) - {wish.account for wish in scenario.flow.accepted_since(since)}:
        if stopwatch() > deadline:
            scenario.complaints.append(f"{len(left)} other accounts wait behind a poisoned one")
            return
        await asyncio.sleep(0.1)


async def wish_for(scenario: Scenario, account: Account) -> str:
    """An order that has to wait behind the poison: it is taken, and its outcome is open."""
    wish = scenario.flow.order(Kind.RESTING, account)
    scenario.flow.send(wish)
    async with asyncio.timeout(SOON):
        while not wish.ids:
            await asyncio.sleep(0.05)
    (order_id,) = wish.ids
    scenario.expect(wish.status == OPEN, f"an order behind a parked message was answered {wish.statuses}")
    return order_id


def decisions(scenario: Scenario, account: Account, since: datetime) -> list[str]:
    """The orders of an account that risk decided, in that order."""
    bootstrap = scenario.chaos.stack.environment()["KAFKA_BOOTSTRAP"]
    found = [each for each in records(bootstrap, topics.RISK_DECISIONS.name, since) if each.key == account.account_id]
    kinds = ("OrderCleared", "OrderDenied")
    return [str(orjson.loads(each.value)["order_id"]) for each in found if each.type in kinds]
