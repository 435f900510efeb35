"""Trading as a process of its own, on topics of one test.

It hears and does one story alone: what else trading does would only disturb it. CRASH_AT says where it dies.
"""

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import uvloop

from libs.common.contracts import topics
from libs.common.contracts.base import Topic
from libs.common.messaging.work import Work
from libs.common.process import serve
from libs.common.runtime import Runtime
from libs.common.service import Service, Timer, every
from services.trading.adapters.zerodha.client import Kite
from services.trading.app import app
from services.trading.effects.comparing import Comparer, compare_with_brokers
from services.trading.handlers.settlements import settle
from services.trading.memory import TradingMemory
from services.trading.store import TradingStore
from services.trading.store.brokers.comparisons import Comparisons
from tests.common.crashes import OF_FORGETTING, Arm, after, before, of_hearing, of_saying

Trading = Service[TradingStore, TradingMemory]
Background = Callable[[Runtime[TradingStore, TradingMemory]], Awaitable[None]]


@dataclass(frozen=True)
class Story:
    """What the process hears, says and does by itself, and where it may die."""

    hears: tuple[Topic, ...]
    says: tuple[Topic, ...]
    points: Mapping[str, Arm]
    timers: tuple[Timer[TradingStore, TradingMemory], ...] = ()
    background: tuple[Background, ...] = ()


def named(prefix: str, points: Mapping[str, Arm]) -> dict[str, Arm]:
    return {f"{prefix}: {name}": arm for name, arm in points.items()}


def _has_accounts(_: TradingStore, account_ids: Any) -> bool:
    return bool(account_ids)


def _notes(work: Any, *_: object) -> bool:
    return bool(work.store.settlements._told)


LOOKING = {
    "claimed": before(Comparer, "_look"),
    "account read": before(Kite, "positions"),
    "positions read": after(Kite, "positions"),
    "book read": after(Kite, "book"),
    "compared": before(Comparisons, "save"),
    "saved": after(Comparisons, "save"),
    "over": after(Comparer, "_look"),
}


STORIES = {
    "settled at expiry": Story(
        (topics.SETTLEMENTS,),
        (topics.TRADING_EVENTS,),
        named("price", of_hearing() | {"noted": after(Work, "keep", _notes)})
        | named("timer", {"accounts locked": before(TradingStore, "load_portfolios", _has_accounts)})
        | named("timer", of_saying() | OF_FORGETTING),
        timers=(every(0.1, settle),),
    ),
    "settled by hand": Story(
        (topics.TRADING_REQUESTS, topics.BROKER_EXECUTIONS),
        (topics.TRADING_EVENTS, topics.BROKER_EXECUTIONS, topics.TRADING_REFUSALS),
        named("wish", of_hearing() | of_saying(half=2) | OF_FORGETTING)
        | named("reports", {"polled": of_hearing(2)["polled"]} | of_saying(2, half=5)),
    ),
    "compared": Story(
        (topics.TRADING_REQUESTS,),
        (topics.TRADING_EVENTS, topics.TRADING_REFUSALS),
        named("wish", of_hearing())
        | named("first look", LOOKING)
        | named("second look", {"claimed": before(Comparer, "_look", times=2)} | of_saying(half=1) | OF_FORGETTING),
        background=(compare_with_brokers,),
    ),
}
CASES = {name: sorted(story.points) for name, story in STORIES.items()}


def own(topic: Topic, prefix: str) -> Topic:
    return Topic(f"{prefix}.{topic.name}", *topic.carries, key=topic.key, partitions=1)


def told_apart(story: Story, prefix: str) -> Trading:
    """Trading as far as this story goes."""
    return replace(
        app,
        consumes=[replace(each, topic=own(each.topic, prefix)) for each in app.consumes if each.topic in story.hears],
        produces=[own(topic, prefix) for topic in story.says],
        timers=story.timers,
        background=story.background,
        routes=None,
    )


def main(prefix: str, url: str, port: str, number: str) -> None:
    os.environ.update({"TRADING_DATABASE_URL": url, "TRADING_PORT": port, "INSTANCE_ID": number, "LOG_LEVEL": "INFO"})
    story = STORIES[os.environ["STORY"]]
    if point := os.environ.get("CRASH_AT"):
        story.points[point]()
    uvloop.run(serve(told_apart(story, prefix)))
