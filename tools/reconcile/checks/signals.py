"""From the alert to the order: nothing that was taken is forgotten, nothing happens twice."""

from uuid import UUID

from libs.common.contracts import topics
from tools.reconcile.checks.orders import CUT
from tools.reconcile.facts import moment
from tools.reconcile.fold import Facts
from tools.reconcile.rows import AcceptedAlert
from tools.reconcile.rules import Findings, Rule, Subject, order
from tools.reconcile.tables import Tables


async def check_signals(facts: Facts, tables: Tables, findings: Findings) -> None:
    async for alert in tables.read(AcceptedAlert):
        times = facts.signals.get(alert.signal_id, 0)
        if not times and facts.is_cut(topics.SIGNALS.name):
            findings.cannot(Rule.SIGNALS, CUT)
            continue
        what = f"was taken as an alert, and told as a signal {times} times"
        findings.expect(Rule.SIGNALS, times == 1, signal(alert.signal_id), what, alert.received_at)
    for signal_id, order_id, millis in facts.asked_on_signals:
        known = facts.orders.get(order_id)
        asked = known is not None and (known.requests > 0 or known.from_the_middle)
        if not asked and facts.is_cut(topics.ORDER_REQUESTS.name):
            findings.cannot(Rule.SIGNALS, CUT)
            continue
        what = f"is said to have been asked for on signal {signal_id}, and it was not"
        findings.expect(Rule.SIGNALS, asked, order(order_id), what, moment(millis * 1000))


def signal(signal_id: UUID) -> Subject:
    return Subject(f"signal {signal_id}", (str(signal_id),))
