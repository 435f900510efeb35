"""From the wish to the venue: every order is decided once, cleared before it leaves, sent once, and filled once."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from libs.common.contracts import topics
from libs.common.contracts.enums import Broker, ExecutionKind, OrderStatus, SettledAs
from tools.reconcile.facts import Change, Order, moment
from tools.reconcile.fold import Facts
from tools.reconcile.paths import AWAITED
from tools.reconcile.rows import TradingAccount
from tools.reconcile.rules import Findings, Rule, order

CUT = "the log does not reach back to their beginning"
SETTLED_AS = {
    SettledAs.NOT_TAKEN: ExecutionKind.REJECTED,
    SettledAs.REJECTED: ExecutionKind.REJECTED,
    SettledAs.CANCELLED: ExecutionKind.CANCELLED,
    SettledAs.FILLED: None,
}
UNSENT = AWAITED | {OrderStatus.REQUESTED, OrderStatus.DENIED}


def check_orders(facts: Facts, accounts: Mapping[UUID, TradingAccount], now: datetime, findings: Findings) -> None:
    """When nothing is under way any more."""
    for known in facts.orders.values():
        owner = accounts.get(known.account_id)
        at_paper = owner is None or owner.broker == Broker.PAPER
        to_venue = topics.VENUE_REQUESTS if at_paper else topics.BROKER_REQUESTS
        began = known.submitted_at or known.last_at
        cut = {
            topic.name
            for topic in (topics.ORDER_REQUESTS, topics.RISK_DECISIONS, to_venue)
            if facts.may_lack(topic, began, now)
        }
        _decided(known, cut, findings)
        if known.submissions or known.venue_requests:
            _cleared(known, cut, findings)
        _sent_once(known, findings, is_cut=to_venue.name in cut, at_paper=at_paper)
        if known.was_reopened:
            what = "was accepted after its rejection, and no venue was found to have it"
            findings.expect(Rule.HISTORY, known.was_found, order(known.order_id), what, known.last_at)
        if known.was_lost:
            what = "is of unknown outcome after its acceptance, and no venue has lost sight of it"
            findings.expect(Rule.HISTORY, known.was_unseen, order(known.order_id), what, known.last_at)
        _filled_once(known, findings)
        if known.settled or known.by_hand:
            _settled_as_told(known, findings)
    _changes_decided(facts, now, findings)
    _changes_cleared(facts, findings)


def _decided(known: Order, cut: set[str], findings: Findings) -> None:
    about, at = order(known.order_id), known.requested_at or known.last_at
    said_by_trading = known.submissions + known.denials
    decisions = known.clearances + known.denials_by_risk
    if known.from_the_middle or (not known.requests and topics.ORDER_REQUESTS.name in cut):
        findings.cannot(Rule.DECIDED, CUT)
        return
    if not known.requests:
        findings.expect(Rule.DECIDED, False, about, "was acted on, though nobody asked for it", at)
        return
    if not decisions:
        findings.expect(Rule.DECIDED, False, about, "was asked for, and risk never decided about it", at)
        return
    findings.expect(Rule.DECIDED, decisions == 1, about, f"was decided {decisions} times by risk", at)
    decided = "cleared" if known.clearances else "denied"
    what = f"was {decided} by risk, and trading never told what became of it"
    findings.expect(Rule.DECIDED, said_by_trading > 0, about, what, at)


def _cleared(known: Order, cut: set[str], findings: Findings) -> None:
    about, at = order(known.order_id), known.submitted_at or known.last_at
    if not known.clearances and (topics.RISK_DECISIONS.name in cut or known.from_the_middle):
        findings.cannot(Rule.CLEARED, CUT)
        return
    if not findings.expect(Rule.CLEARED, known.clearances > 0, about, "was submitted, and risk never cleared it", at):
        return
    if known.submissions:
        same = known.cleared_terms == known.submitted_terms and known.unit_margin in (None, known.cleared_unit)
        findings.expect(Rule.CLEARED, same, about, "was submitted with other terms than risk cleared", at)
    if known.requests:
        what = "was cleared with other terms than were asked for"
        findings.expect(Rule.CLEARED, known.granted == known.asked, about, what, at)


def _changes_decided(facts: Facts, now: datetime, findings: Findings) -> None:
    """Each wish to change an order once by risk, as it was asked, and trading tells what became of it."""
    later = (topics.RISK_DECISIONS, topics.VENUE_REQUESTS, topics.BROKER_REQUESTS, topics.TRADING_EVENTS)
    for (order_id, story), change in facts.changes.items():
        if not change.asked_millis:
            _not_asked(order_id, story, change, facts, now, findings)
            continue
        about, at = order(order_id), moment(change.asked_millis * 1000)
        if not (change.decisions and change.is_told) and any(facts.may_lack(topic, at, now) for topic in later):
            findings.cannot(Rule.DECIDED, CUT)
            continue
        asked = f"was to be changed (request {story})"
        what = f"{asked}, and risk decided about that {change.decisions} times"
        if findings.expect(Rule.DECIDED, change.decisions == 1, about, what, at):
            what = f"{asked}, and trading never told what became of it"
            findings.expect(Rule.DECIDED, change.is_told, about, what, at)
        what = f"{asked}, and was cleared for other terms than were asked for"
        findings.expect(Rule.CLEARED, change.is_granted_as_asked, about, what, at)


def _not_asked(order_id: UUID, story: str, change: Change, facts: Facts, now: datetime, findings: Findings) -> None:
    """CLEARED names what went to a venue without a decision."""
    if not change.decisions:
        return
    at = moment(change.decided_millis * 1000)
    if facts.may_lack(topics.ORDER_REQUESTS, at, now):
        findings.cannot(Rule.DECIDED, CUT)
        return
    what = f"was decided to be changed or not (request {story}), though nobody asked for it"
    findings.expect(Rule.DECIDED, False, order(order_id), what, at)


def _changes_cleared(facts: Facts, findings: Findings) -> None:
    is_cut = facts.is_cut(topics.RISK_DECISIONS.name)
    for sent in facts.changes_sent:
        cleared = facts.change(sent.order_id, sent.story).clearance
        if cleared is None and is_cut:
            findings.cannot(Rule.CLEARED, CUT)
            continue
        about, at = order(sent.order_id), moment(sent.millis * 1000)
        what = "was changed at its venue, and risk never cleared the change"
        if findings.expect(Rule.CLEARED, cleared is not None, about, what, at) and cleared is not None:
            what = "was changed at its venue to other terms than risk cleared"
            findings.expect(Rule.CLEARED, cleared[1] == sent.terms, about, what, at)


def _sent_once(known: Order, findings: Findings, *, is_cut: bool, at_paper: bool) -> None:
    """More than once was found while reading. A broker behind HTTP may keep silent: then the order waits."""
    about, at = order(known.order_id), known.submitted_at or known.last_at
    if known.submissions and not known.venue_requests and is_cut:
        findings.cannot(Rule.VENUE, CUT)
        return
    if known.submissions:
        what = "was submitted, and never sent to the venue"
        if not findings.expect(Rule.VENUE, known.venue_requests > 0, about, what, at):
            return
        same = known.venue_requests > 1 or known.venue_terms == known.sent_terms
        findings.expect(Rule.VENUE, same, about, "was sent to the venue with other terms than it was submitted", at)
        answered = known.executions > 0 or (not at_paper and known.status in AWAITED)
        findings.expect(Rule.VENUE, answered, about, "was sent to the venue, which never answered", at)
    elif not known.from_the_middle and (known.venue_requests or known.executions):
        how = "was sent to the venue" if known.venue_requests else "was told of by the venue"
        findings.expect(Rule.VENUE, False, about, f"{how}, though trading never submitted it", at)
        return
    if known.accepted_by_venue and not known.from_the_middle:
        is_lost = known.was_unseen and known.status is OrderStatus.OUTCOME_UNKNOWN
        what = f"was taken by the venue, and trading keeps it as {known.status}"
        findings.expect(Rule.VENUE, is_lost or known.status not in UNSENT, about, what, at)
    if known.ending and not known.was_found:
        what = f"was ended by the venue ({known.ending}), and trading keeps it as {known.status}"
        findings.expect(Rule.VENUE, known.status.is_final, about, what, at)


def _settled_as_told(known: Order, findings: Findings) -> None:
    """By hand is reported what a person told, all of it, and nothing without him."""
    about, at, told = order(known.order_id), known.last_at, known.settled
    if told is None:
        if known.from_the_middle:
            findings.cannot(Rule.HISTORY, CUT)
        else:
            what = f"{known.by_hand[0].kind} was reported by hand, and nobody settled it"
            findings.expect(Rule.HISTORY, False, about, what, at)
        return
    traded = [(ExecutionKind.FILLED, told.traded_quantity, told.traded_price)] if told.traded_quantity else []
    ending = SETTLED_AS[told.outcome]
    expected = [*traded, *([(ending, 0, None)] if ending else [])]
    found = [(each.kind, each.quantity, each.price) for each in known.by_hand]
    what = f"was settled as {told.outcome} by {told.settled_by}, and what was reported of it is {found}"
    findings.expect(Rule.HISTORY, sorted(map(str, found)) == sorted(map(str, expected)), about, what, at)


def _filled_once(known: Order, findings: Findings) -> None:
    """Twice was found while reading."""
    if not known.venue_fills and not known.fills:
        return
    about, at = order(known.order_id), known.last_at
    told = {fill.execution_id: (fill.quantity, fill.price) for fill in known.venue_fills}
    booked = {fill.execution_id: (fill.quantity, fill.price) for fill in known.fills}
    for execution_id in told.keys() | booked.keys():
        venue, ours = told.get(execution_id), booked.get(execution_id)
        if known.from_the_middle and (ours is None or venue is None):
            findings.cannot(Rule.FILLS, CUT)
        elif ours is None:
            findings.expect(Rule.FILLS, False, about, f"execution {execution_id} of {venue} was never booked", at)
        elif venue is None:
            what = f"books execution {execution_id} of {ours}, which no venue told of"
            findings.expect(Rule.FILLS, False, about, what, at)
        else:
            what = f"execution {execution_id} is {venue} to the venue and {ours} in the books"
            findings.expect(Rule.FILLS, venue == ours, about, what, at)
    what = f"{known.filled} are filled of an order of {known.largest}"
    findings.expect(Rule.FILLS, known.filled <= known.largest or known.from_the_middle, about, what, at)
