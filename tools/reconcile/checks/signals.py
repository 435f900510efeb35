"""From the alert to the order: nothing that was taken is forgotten, nothing happens twice."""

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from libs.common.contracts import topics
from tools.reconcile.checks.answers import TAKEN, AlertAnswered, Note
from tools.reconcile.checks.orders import CUT
from tools.reconcile.facts import Algo, Decided, Heard, moment
from tools.reconcile.fold import Facts
from tools.reconcile.rows import AcceptedAlert
from tools.reconcile.rules import Findings, Rule, Subject, order
from tools.reconcile.tables import Tables

REVERSES = "an algo that reverses may decide later, and more than once"
CHANGED = "the algo was changed at about that time, or after it"
KEPT = timedelta(days=1)
"""For so long at least the service keeps what arrived."""
UNCERTAIN = timedelta(seconds=1)
"""By how much the clocks of the machines that save algos and take alerts may differ."""


async def check_signals(
    facts: Facts, tables: Tables, answered: Iterable[Note], now: datetime, findings: Findings
) -> None:
    taken = set()
    async for alert in tables.read(AcceptedAlert):
        taken.add(alert.signal_id)
        _told_once(facts, alert.signal_id, "was taken as an alert", alert.received_at, findings)
    for note in answered:
        if isinstance(note, AlertAnswered) and note.status in TAKEN:
            _told_once(facts, note.signal_id, f"was answered {note.status} to a client", None, findings)
    _taken(facts, taken, now - KEPT, findings)
    _decided(facts, findings)
    _decided_once(facts, findings)
    _asked(facts, now, findings)


def _told_once(facts: Facts, signal_id: UUID, how: str, at: datetime | None, findings: Findings) -> None:
    known = facts.signals.get(signal_id)
    times = known.told if known else 0
    if not times and facts.is_cut(topics.SIGNALS.name):
        findings.cannot(Rule.SIGNALS, CUT)
        return
    findings.expect(Rule.SIGNALS, times == 1, signal(signal_id), f"{how}, and told as a signal {times} times", at)


def _taken(facts: Facts, taken: Container[UUID], since: datetime, findings: Findings) -> None:
    """Signals' log of arrivals knows the alert of each signal: of one alert there are no two."""
    for signal_id, heard in facts.signals.items():
        if signal_id not in taken and heard.received_at < since:
            findings.cannot(Rule.SIGNALS, "the arrival of its alert need not be kept any more")
            continue
        what = "was told, and no alert was taken that became it"
        findings.expect(Rule.SIGNALS, signal_id in taken, signal(signal_id), what, heard.received_at)


def _decided(facts: Facts, findings: Findings) -> None:
    """Every algo that listened when the alert came has told what it did about it."""
    cut = facts.is_cut(topics.STRATEGY_DECISIONS.name)
    listening: dict[tuple[UUID, UUID | None], list[UUID]] = defaultdict(list)
    for algo_id, versions in facts.algos.items():
        for whose in {(group_id, each.user_id) for each in versions for group_id in each.groups}:
            listening[whose].append(algo_id)
    for signal_id, heard in facts.signals.items():
        for algo_id in listening.get((heard.group_id, heard.user_id), ()):
            if (signal_id, algo_id) in facts.decided:
                findings.checked[Rule.SIGNALS] += 1
            elif (why := _may_be_silent(facts.algos[algo_id], heard)) or cut:
                findings.cannot(Rule.SIGNALS, why or CUT)
            else:
                what = f"was heard by algo {algo_id}, which never told what it did about it"
                findings.expect(Rule.SIGNALS, False, signal(signal_id), what, heard.received_at)


def _may_be_silent(versions: Sequence[Algo], heard: Heard) -> str | None:
    """Why an algo need not have decided. What it was when it did is one of those in force since the alert came."""
    before = [each for each in versions if each.saved_at + UNCERTAIN < heard.received_at]
    since = versions[max(len(before) - 1, 0) :]
    if any(each.reverses for each in versions):
        return REVERSES
    listened = all(heard.group_id in each.groups and heard.user_id == each.user_id for each in since)
    return None if before and listened else CHANGED


def _decided_once(facts: Facts, findings: Findings) -> None:
    """It acts once at most. In some of its accounts it may not, for one reason in one, for another in another."""
    cut = facts.is_cut(topics.SIGNALS.name)
    for (signal_id, algo_id), decided in facts.decided.items():
        heard = facts.signals.get(signal_id)
        at = heard.received_at if heard else None
        if heard is None and cut:
            findings.cannot(Rule.SIGNALS, CUT)
        else:
            what = f"was decided about by algo {algo_id}, though it was never told"
            findings.expect(Rule.SIGNALS, heard is not None, signal(signal_id), what, at)
        if any(each.reverses for each in facts.algos.get(algo_id, ())):
            findings.cannot(Rule.SIGNALS, REVERSES)
            continue
        for times, did in _repeated(decided):
            what = f"{did} {times} times by algo {algo_id}"
            findings.expect(Rule.SIGNALS, times == 1, signal(signal_id), what, at)


def _repeated(decided: Decided) -> Iterator[tuple[int, str]]:
    if decided.acted:
        yield decided.acted, "was acted on"
    for reason, times in Counter(decided.skipped).items():
        yield times, f"was skipped ({reason})"


def _asked(facts: Facts, now: datetime, findings: Findings) -> None:
    """What algos say they asked for was asked, on one signal; and they asked for nothing without saying so."""
    decisions_cut = facts.is_cut(topics.STRATEGY_DECISIONS.name)
    named = Counter(order_id for _, order_id, _ in facts.asked_on_signals)
    for signal_id, order_id, millis in facts.asked_on_signals:
        known, at = facts.orders.get(order_id), moment(millis * 1000)
        what = f"is said to have been asked for {named[order_id]} times, on signal {signal_id} and again"
        findings.expect(Rule.SIGNALS, named[order_id] == 1, order(order_id), what, at)
        asked = known is not None and (known.requests > 0 or known.from_the_middle)
        if not asked and facts.may_lack(topics.ORDER_REQUESTS, at, now):
            findings.cannot(Rule.SIGNALS, CUT)
            continue
        what = f"is said to have been asked for on signal {signal_id}, and it was not"
        findings.expect(Rule.SIGNALS, asked, order(order_id), what, at)
    for order_id, millis in facts.asked_by_algos.items():
        if order_id not in named and decisions_cut:
            findings.cannot(Rule.SIGNALS, CUT)
            continue
        what = "was asked for by an algo, which says so of no signal"
        findings.expect(Rule.SIGNALS, order_id in named, order(order_id), what, moment(millis * 1000))


def signal(signal_id: UUID) -> Subject:
    return Subject(f"signal {signal_id}", (str(signal_id),))
