"""A message that cannot be handled: its own account waits, in order, until a person decides; nobody else does."""

import asyncio
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import orjson
import pytest
from confluent_kafka import Producer

from deploy.local.instance import PROJECT
from libs.common.clock import SystemClock, stopwatch
from libs.common.contracts import topics
from libs.common.contracts.accounts import Account as Stored
from libs.common.contracts.base import Topic
from libs.common.ids import new_id
from libs.common.messaging.parked import BEHIND
from tests.chaos.log import records
from tests.chaos.scenario import Chaos, Scenario
from tests.chaos.wishes import OPEN, Kind
from tests.chaos.world import Account
from tools.client import Platform

OTHERS_GO_ON_WITHIN = 5.0
SOON = 30.0
POISONER = "/tests/chaos"
UNTRIED = "not retried yet"


@pytest.mark.scenario(8)
async def test_poison_stops_its_own_account_only_until_a_person_decides(chaos: Chaos) -> None:
    async with chaos.scenario(8, "poison on money topics") as scenario:
        for n in range(2 if chaos.full else 1):
            first, second = chaos.world.users[0].accounts[2 + n], chaos.world.users[-1].accounts[-1 - n]
            third, fourth = chaos.world.users[0].accounts[-1 - n], chaos.world.users[-1].accounts[2 + n]
            others = [account for account in chaos.world.accounts if account not in (first, second, third, fourth)]
            async with asyncio.TaskGroup() as all_four:
                all_four.create_task(unreadable(scenario, first, others))
                all_four.create_task(unbearable(scenario, second, others))
                all_four.create_task(curable(scenario, third, others))
                all_four.create_task(incurable(scenario, fourth, others))


async def unreadable(scenario: Scenario, account: Account, others: list[Account]) -> None:
    """An order request that is no JSON, before risk. What waits behind it is decided in the order in which it came."""
    since, at = SystemClock().now(), stopwatch()
    poison(scenario, topics.ORDER_REQUESTS, "OrderRequested", account, b"{not json")
    await others_go_on(scenario, at, others)
    await until_parked(scenario, "risk", account)
    waiting = [await wish_for(scenario, account) for _ in range(3)]
    await command(scenario, "discard", "risk", account.account_id)
    await until_free(scenario, "risk", account)
    await handled_in_order(scenario, topics.RISK_DECISIONS, account, waiting, since)


async def unbearable(scenario: Scenario, account: Account, others: list[Account]) -> None:
    """A request that fits its contract and not the database: trading cannot handle it, now or when it is retried."""
    async with Platform(scenario.flow.world.gateway_url, patience=30) as person:
        person.use_key(account.user.api_key)
        stored = await person.get(f"/api/v2/accounts/{account.account_id}")
    known = {name: stored[name] for name in Stored.model_fields if name in stored}
    wish = {"account_id": account.account_id, "user_id": stored["user_id"], "expected_version": stored["version"]}
    content = orjson.dumps({**wish, "account": {**known, "name": "a name with a NUL \0"}})
    since, at = SystemClock().now(), stopwatch()
    poison(scenario, topics.TRADING_REQUESTS, "AccountSaveRequested", account, content)
    await others_go_on(scenario, at, others)
    failed = await until_parked(scenario, "trading", account)
    scenario.expect(account.account_id in await command(scenario, "list", "trading"), "the command lists no parked one")
    waiting = [await wish_for(scenario, account) for _ in range(2)]
    await scenario.chaos.fetch("UPDATE trading.message_parked SET reason = $2 WHERE seq = $1", failed.seq, UNTRIED)
    await command(scenario, "retry", "trading", account.account_id)
    again = await until_parked(scenario, "trading", account, but=UNTRIED)
    scenario.expect(again == failed, f"{failed} was retried and is {again} now")
    await command(scenario, "discard", "trading", account.account_id)
    await until_free(scenario, "trading", account)
    await handled_in_order(scenario, topics.TRADING_EVENTS, account, waiting, since)


async def curable(scenario: Scenario, account: Account, others: list[Account]) -> None:
    """An order that risk's database does not take, until somebody mends that: then it is retried, and goes through."""
    since, at = SystemClock().now(), stopwatch()
    rule = f"CONSTRAINT ill CHECK (account_id <> '{account.account_id}')"
    await scenario.chaos.fetch(f"ALTER TABLE risk.reservations ADD {rule} NOT VALID")
    try:
        failed = await wish_for(scenario, account)
        await until_parked(scenario, "risk", account)
        scenario.faults_done += 1
        await others_go_on(scenario, at, others)
        waiting = [await wish_for(scenario, account) for _ in range(2)]
    finally:
        await scenario.chaos.fetch("ALTER TABLE risk.reservations DROP CONSTRAINT ill")
    await command(scenario, "retry", "risk", account.account_id)
    await until_free(scenario, "risk", account)
    await handled_in_order(scenario, topics.RISK_DECISIONS, account, [failed, *waiting], since)


async def incurable(scenario: Scenario, account: Account, others: list[Account]) -> None:
    """A cleared order that trading's database does not take, and a person gives up: its owner hears it, and what it
    blocked is free.
    """
    since, at = SystemClock().now(), stopwatch()
    rule = f"CONSTRAINT ill CHECK (account_id <> '{account.account_id}' OR version <> 1)"
    await scenario.chaos.fetch(f"ALTER TABLE trading.orders ADD {rule} NOT VALID")
    try:
        scenario.flow.send(scenario.flow.order(Kind.RESTING, account))
        failed = await until_parked(scenario, "trading", account)
        scenario.faults_done += 1
        await others_go_on(scenario, at, others)
    finally:
        await scenario.chaos.fetch("ALTER TABLE trading.orders DROP CONSTRAINT ill")
    [row] = await scenario.chaos.fetch("SELECT type, value FROM trading.message_parked WHERE seq = $1", failed.seq)
    order_id = orjson.loads(row["value"])["order_id"]
    scenario.expect(row["type"] == "OrderCleared", f"trading parked a {row['type']}")
    await command(scenario, "discard", "trading", account.account_id)
    await until_free(scenario, "trading", account)
    await handled_in_order(scenario, topics.TRADING_EVENTS, account, [order_id], since)
    async with Platform(scenario.flow.world.gateway_url, patience=30) as person, asyncio.timeout(SOON):
        person.use_key(account.user.api_key)
        while (told := await person.get(f"/api/v2/trading/orders/{order_id}"))["status"] == "REQUESTED":
            await asyncio.sleep(0.2)
        scenario.expect((told["status"], told["rule"]) == ("DENIED", "GIVEN_UP"), f"its owner sees {told}")
        reserved = "SELECT closed FROM risk.reservations WHERE order_id = $1"
        while not (await scenario.chaos.fetch(reserved, UUID(order_id)))[0]["closed"]:
            await asyncio.sleep(0.2)


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
    scenario.faults_done += 1


async def command(scenario: Scenario, *words: str) -> str:
    """`python -m libs.common.messaging parked …`, as an operator types it."""
    call = (sys.executable, "-m", "libs.common.messaging", "parked", *words)
    variables = os.environ | scenario.chaos.stack.environment()
    done = await asyncio.to_thread(
        subprocess.run, call, env=variables, cwd=PROJECT, capture_output=True, text=True, check=True
    )
    said: str = done.stdout
    return said


@dataclass(frozen=True)
class Failed:
    """A message that could not be handled, and why; not one that only waits behind it."""

    seq: int
    reason: str


async def until_parked(scenario: Scenario, service: str, account: Account, but: str | None = None) -> Failed:
    """Also again, after a retry; for another reason than this one."""
    async with asyncio.timeout(SOON):
        while not (found := await parked(scenario, service, account)) or found.reason == but:
            await asyncio.sleep(0.2)
    return found


async def until_free(scenario: Scenario, service: str, account: Account) -> None:
    async with asyncio.timeout(SOON):
        while await parked(scenario, service, account):
            await asyncio.sleep(0.2)


async def parked(scenario: Scenario, service: str, account: Account) -> Failed | None:
    sql = f"SELECT seq, reason FROM {service}.message_parked WHERE key = $1 AND reason <> $2 ORDER BY seq LIMIT 1"  # noqa: S608
    rows = await scenario.chaos.fetch(sql, account.account_id, BEHIND)
    return Failed(*rows[0]) if rows else None


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


async def handled_in_order(
    scenario: Scenario, topic: Topic, account: Account, waiting: list[str], since: datetime
) -> None:
    """What waited behind a parked message is heard of, in the order in which it was asked for."""
    deadline = stopwatch() + SOON
    while len(theirs := await asyncio.to_thread(first_words, scenario, topic, account, waiting, since)) < len(waiting):
        if stopwatch() > deadline:
            break
        await asyncio.sleep(0.5)
    scenario.expect(theirs == waiting, f"asked for in the order {waiting}, on {topic.name} in the order {theirs}")


def first_words(scenario: Scenario, topic: Topic, account: Account, orders: list[str], since: datetime) -> list[str]:
    """Those of an account's orders that a topic tells of, in the order in which it first does."""
    bootstrap = scenario.chaos.stack.environment()["KAFKA_BOOTSTRAP"]
    found = (each for each in records(bootstrap, topic.name, since) if each.key == account.account_id)
    told = (str(orjson.loads(each.value).get("order_id")) for each in found)
    return list(dict.fromkeys(order_id for order_id in told if order_id in orders))
