"""Every alert that was taken became one signal, and what was asked for on it was asked."""

import pytest

from libs.common.contracts import topics
from libs.common.contracts.signals import SignalReceived
from tests.tools.reconcile.test_checks.seeding import NOWHERE, Corruption, Corruptions
from tests.tools.reconcile.world.world import World
from tools.reconcile import Rule

CORRUPTIONS = Corruptions()


@CORRUPTIONS.of(Rule.SIGNALS, "told as a signal 0 times")
def an_alert_that_was_taken_is_lost(world: World) -> None:
    world.unsay("SignalReceived")


@CORRUPTIONS.of(Rule.SIGNALS, "told as a signal 2 times")
def an_alert_becomes_two_signals(world: World) -> None:
    world.say(topics.SIGNALS, SignalReceived.model_validate_json(world.find("SignalReceived").value))


@CORRUPTIONS.of(Rule.SIGNALS, "asked for on signal")
def an_algos_order_is_never_asked_for(world: World) -> None:
    world.falsify("SignalActedOn", order_ids=[str(NOWHERE)])


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=str)
async def test_is_named(corruption: Corruption) -> None:
    await corruption.is_named()
