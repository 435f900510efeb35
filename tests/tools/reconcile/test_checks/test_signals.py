"""Every alert that was taken became one signal, each algo decided once about it, and what it asked for was asked."""

from datetime import timedelta

import pytest

from libs.common.contracts import topics
from libs.common.contracts.algos import AlgoDeleted, SignalActedOn, SignalSkipped
from libs.common.contracts.enums import RepeatRule
from libs.common.contracts.signals import SignalReceived
from tests.tools.reconcile.test_checks.seeding import NOWHERE, Corruption, Corruptions, check
from tests.tools.reconcile.world.world import World, busy_world
from tools.reconcile import AlertAnswered, Rule, rows

CORRUPTIONS = Corruptions()


@CORRUPTIONS.of(Rule.SIGNALS, "told as a signal 0 times")
def an_alert_that_was_taken_is_lost(world: World) -> None:
    world.unsay("SignalReceived")


@CORRUPTIONS.of(Rule.SIGNALS, "told as a signal 2 times")
def an_alert_becomes_two_signals(world: World) -> None:
    world.say(topics.SIGNALS, SignalReceived.model_validate_json(world.find("SignalReceived").value))


@CORRUPTIONS.of(Rule.SIGNALS, f"signal {NOWHERE} was told, and no alert was taken that became it")
def a_signal_is_told_that_no_alert_became(world: World) -> None:
    told = SignalReceived.model_validate_json(world.find("SignalReceived").value)
    world.say(topics.SIGNALS, told.model_copy(update={"signal_id": NOWHERE}))


@CORRUPTIONS.of(Rule.SIGNALS, "asked for on signal")
def an_algos_order_is_never_asked_for(world: World) -> None:
    world.falsify("SignalActedOn", order_ids=[str(NOWHERE)])


@CORRUPTIONS.of(Rule.SIGNALS, "is said to have been asked for 2 times")
def an_algos_order_is_asked_for_on_two_signals(world: World) -> None:
    acted = SignalActedOn.model_validate_json(world.find("SignalActedOn").value)
    world.say(topics.STRATEGY_DECISIONS, acted.model_copy(update={"signal_id": NOWHERE}))


@CORRUPTIONS.of(Rule.SIGNALS, "was asked for by an algo, which says so of no signal")
def an_algo_asks_for_an_order_that_it_does_not_tell_of(world: World) -> None:
    world.falsify("SignalActedOn", order_ids=[])


@CORRUPTIONS.of(Rule.SIGNALS, "which never told what it did about it")
def an_algo_that_heard_a_signal_never_decides(world: World) -> None:
    world.unsay("SignalActedOn")
    world.unsay("SignalSkipped")


@CORRUPTIONS.of(Rule.SIGNALS, "was acted on 2 times by algo")
def an_algo_acts_twice_on_a_signal(world: World) -> None:
    acted = SignalActedOn.model_validate_json(world.find("SignalActedOn").value)
    world.say(topics.STRATEGY_DECISIONS, acted.model_copy(update={"order_ids": (), "square_off_ids": ("one",)}))


@CORRUPTIONS.of(Rule.SIGNALS, "was skipped (account other is inactive) 2 times by algo")
def an_algo_skips_a_signal_twice(world: World) -> None:
    skipped = SignalSkipped.model_validate_json(world.find("SignalSkipped").value)
    world.say(topics.STRATEGY_DECISIONS, skipped)


@CORRUPTIONS.of(Rule.SIGNALS, "though it was never told")
def an_algo_decides_about_a_signal_that_nobody_told(world: World) -> None:
    skipped = SignalSkipped.model_validate_json(world.find("SignalSkipped").value)
    world.say(topics.STRATEGY_DECISIONS, skipped.model_copy(update={"signal_id": NOWHERE}))


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=str)
async def test_is_named(corruption: Corruption) -> None:
    await corruption.is_named()


async def test_what_a_client_was_told_of_an_alert_is_held_against_the_log() -> None:
    world = busy_world().settle()
    told = SignalReceived.model_validate_json(world.find("SignalReceived").value)
    sound = (AlertAnswered(told.signal_id, 202), AlertAnswered(told.signal_id, 200), AlertAnswered(NOWHERE, 503))
    assert (await check(world, answered=sound)).passed
    report = await check(world, answered=(*sound, AlertAnswered(NOWHERE, 202)))
    assert report.broken == [Rule.SIGNALS]
    assert f"signal {NOWHERE} was answered 202 to a client, and told as a signal 0 times" in report.text()


async def test_an_algo_that_was_deleted_meanwhile_need_not_have_decided() -> None:
    world = busy_world()
    an_algo_that_heard_a_signal_never_decides(world)
    whose = {"algo_id": world.strategy_id, "user_id": world.user_id}
    world.say(topics.ALGOS, AlgoDeleted(**whose))
    report = await check(world.settle())
    assert "never told what it did" not in report.text()
    assert "the algo was changed at about that time" in report.text()


async def test_an_algo_that_reverses_may_decide_twice_and_later() -> None:
    world = busy_world()
    world.algo(NOWHERE, RepeatRule.REVERSE)
    an_algo_skips_a_signal_twice(world)
    report = await check(world.settle())
    assert report.passed, report.text()
    assert "an algo that reverses may decide later" in report.text()


async def test_a_signal_that_somebody_discarded_is_not_called_forgotten() -> None:
    world = busy_world()
    heard = SignalReceived.model_validate_json(world.find("SignalReceived").value)
    record = world.say(topics.SIGNALS, heard.model_copy(update={"signal_id": NOWHERE}))
    world.settle().rows[rows.AcceptedAlert].append(rows.AcceptedAlert(NOWHERE, world.now))
    assert "never told what it did" in (await check(world)).text()
    world.common[rows.DiscardedRow, "strategy"] = [rows.DiscardedRow(record.topic, 0, record.offset)]
    report = await check(world)
    assert report.passed, report.text()


async def test_the_arrival_of_an_old_alert_may_be_forgotten() -> None:
    world = busy_world().settle()
    world.drop(rows.AcceptedAlert)
    assert "no alert was taken that became it" in (await check(world)).text()
    world.now += timedelta(days=2)
    report = await check(world)
    assert "the arrival of its alert need not be kept any more" in report.text()
    assert Rule.SIGNALS not in report.broken
