"""No order left under an older epoch than the panic in force, nor, but for exits, while its scope was stopped;
what an admin stopped nobody else began again; and no panic or reset was lost.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from libs.common.contracts import topics
from libs.common.contracts.enums import ExecutionKind, OrderPurpose
from tools.reconcile.checks.orders import CUT
from tools.reconcile.facts import Order, PanicStep, moment
from tools.reconcile.fold import Facts
from tools.reconcile.rows import Panic
from tools.reconcile.rules import Findings, Rule, Subject, order

FOREVER = 1 << 62
UNCERTAIN = timedelta(seconds=1)
"""How long a panic whose acknowledgement is not kept may have taken from its beginning to its commit."""


@dataclass
class Scope:
    """When its epochs were acknowledged, oldest first, and when nothing new was allowed, in milliseconds."""

    epochs: list[tuple[int, int]] = field(default_factory=list)
    halts: list[tuple[int, int]] = field(default_factory=list)

    def epoch_at(self, millis: int) -> int:
        place = bisect_right(self.epochs, (millis, FOREVER))
        return max((epoch for _, epoch in self.epochs[:place]), default=0)

    def is_halted_at(self, millis: int) -> bool:
        return any(since < millis < until for since, until in self.halts)


def check_epochs(facts: Facts, panics: Collection[Panic], grace_s: float, now: datetime, findings: Findings) -> None:
    """An order's attempt that began after the acknowledgement must carry the epoch; one that was recorded before
    must have left within the grace."""
    steps = [step for step in facts.panic_steps if not step.is_reset or step.panic_id in facts.lifted]
    for halt in _by_operators(facts, panics, now):
        later = (place for place, step in enumerate(steps) if step.millis > halt.millis)
        steps.insert(next(later, len(steps)), halt)
    scopes = scopes_of(panics, steps, facts.acknowledged)
    _check_resets(steps, facts.acknowledged, findings)
    for known in facts.orders.values():
        if known.submissions:
            _check_order(known, scopes, grace_s, findings)
    for sent in facts.changes_sent:
        change = facts.change(sent.order_id, sent.story)
        if change.clearance is not None and not change.met_no_market:
            epoch, _ = change.clearance
            standing = _standing_under(facts.orders[sent.order_id], scopes)
            needed = sum(scope.epoch_at(sent.millis - int(grace_s * 1000)) for scope in standing)
            what = f"a change that was cleared under epoch {epoch} left for the venue under epoch {needed}"
            findings.expect(Rule.EPOCH, epoch >= needed, order(sent.order_id), what, moment(sent.millis * 1000))


def check_heard(facts: Facts, panics: Collection[Panic], now: datetime, findings: Findings) -> None:
    """When nothing is under way any more: whoever stops everything must not believe so in vain, and what is in force is
    what was told, by which all others go.
    """
    kept = {panic.panic_id: (panic.scope, panic.epoch) for panic in panics}
    for panic_id, told in facts.raised.items():
        scope, epoch = told
        about, at = Subject(f"panic scope {scope}", (str(panic_id),)), moment(facts.acknowledged[panic_id] * 1000)
        what = f"was told to be in force with epoch {epoch} (panic {panic_id}), trading keeps {kept.get(panic_id)}"
        findings.expect(Rule.EPOCH, kept.get(panic_id) == told, about, what, at)
    for step in facts.panic_steps:
        scope = facts.lifted.get(step.panic_id, "") if step.is_reset else facts.raised.get(step.panic_id, ("", 0))[0]
        what = f"{step.panic_id} was asked for, and came into force for {scope}"
        findings.expect(Rule.EPOCH, scope in ("", step.scope), _scope(step), what, moment(step.millis * 1000))
        heard = step.panic_id in (facts.lifted if step.is_reset else facts.acknowledged)
        heard = heard or str(step.panic_id) in facts.refused
        at = moment(step.millis * 1000)
        if not heard and facts.may_lack(topics.TRADING_REFUSALS, at, now):
            findings.cannot(Rule.EPOCH, CUT)
            continue
        what = f"{step.panic_id} was asked for, and neither came into force nor was refused"
        findings.expect(Rule.EPOCH, heard, _scope(step), what, at)


def _by_operators(facts: Facts, panics: Iterable[Panic], now: datetime) -> Iterator[PanicStep]:
    """What was stopped on the machine itself, without a wish on the log."""
    asked = {step.panic_id for step in facts.panic_steps}
    for panic in panics:
        if panic.panic_id not in asked and not facts.may_lack(topics.PANIC_REQUESTS, panic.raised_at, now):
            millis = int(panic.raised_at.timestamp() * 1000)
            yield PanicStep(panic.scope, panic.panic_id, is_reset=False, millis=millis, by_admin=True)


def _scope(step: PanicStep) -> Subject:
    return Subject(f"panic scope {step.scope}", (str(step.panic_id),))


def scopes_of(panics: Iterable[Panic], steps: Iterable[PanicStep], acknowledged: dict[UUID, int]) -> dict[str, Scope]:
    scopes: dict[str, Scope] = defaultdict(Scope)
    known = {panic.panic_id: panic for panic in panics}
    since: dict[UUID, int] = {}
    for panic in known.values():
        certain = int((panic.raised_at + UNCERTAIN).timestamp() * 1000)
        since[panic.panic_id] = acknowledged.get(panic.panic_id, certain)
        scopes[panic.scope].epochs.append((since[panic.panic_id], panic.epoch))
    stopped: dict[str, int] = {}
    for step in steps:
        if not step.is_reset and step.panic_id in since:
            stopped.setdefault(step.scope, since[step.panic_id])
        elif step.is_reset and step.scope in stopped:
            scopes[step.scope].halts.append((stopped.pop(step.scope), step.millis))
    for scope, began in stopped.items():
        scopes[scope].halts.append((began, FOREVER))
    for each in scopes.values():
        each.epochs.sort()
    return scopes


def _check_resets(steps: Iterable[PanicStep], acknowledged: dict[UUID, int], findings: Findings) -> None:
    stopped_by_admin: set[str] = set()
    for step in steps:
        if step.is_reset:
            allowed = step.by_admin or step.scope not in stopped_by_admin
            what = "was stopped by an admin and begun again by somebody who is none"
            findings.expect(Rule.EPOCH, allowed, _scope(step), what, moment(step.millis * 1000))
            stopped_by_admin.discard(step.scope)
        elif step.by_admin and step.panic_id in acknowledged:
            stopped_by_admin.add(step.scope)


def _check_order(known: Order, scopes: dict[str, Scope], grace_s: float, findings: Findings) -> None:
    about, at = order(known.order_id), known.submitted_at
    if at is None:
        return
    began = int(at.timestamp() * 1000)
    standing = list(_standing_under(known, scopes))
    needed = sum(scope.epoch_at(began - 1) for scope in standing)
    what = f"was submitted under epoch {known.epoch} when epoch {needed} was in force"
    findings.expect(Rule.EPOCH, known.epoch >= needed, about, what, at)
    if known.purpose is not OrderPurpose.SQUARE_OFF:
        halted = any(scope.is_halted_at(began) for scope in standing)
        findings.expect(Rule.EPOCH, not halted, about, "was submitted while its scope was stopped", at)
    if known.left_millis and not _met_no_market(known):
        late = sum(scope.epoch_at(known.left_millis - int(grace_s * 1000)) for scope in standing)
        left = moment(known.left_millis * 1000)
        what = f"left for the venue at {left:%H:%M:%S.%f}, more than {grace_s} s after epoch {late} was acknowledged"
        findings.expect(Rule.EPOCH, known.epoch >= late, about, f"{what}; it was cleared under {known.epoch}", left)


def _met_no_market(known: Order) -> bool:
    """The paper venue had its cancel when it came, late: who was to send it slept, and the panic cancelled it."""
    cancelled = known.ending == ExecutionKind.CANCELLED and known.executions == 1
    return cancelled and not (known.accepted_by_venue or known.venue_fills or known.by_hand)


def _standing_under(known: Order, scopes: dict[str, Scope]) -> Iterator[Scope]:
    names = ["ALL", f"USER:{known.user_id}", f"ACCOUNT:{known.account_id}"]
    if known.strategy_id is not None:
        names.append(f"STRATEGY:{known.strategy_id}")
    return (scopes[name] for name in names if name in scopes)
