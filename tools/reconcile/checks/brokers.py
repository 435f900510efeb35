"""Brokers behind HTTP: an order is placed once, leaves under the epoch in force, and the broker saw it once."""

from collections import Counter
from collections.abc import Mapping
from uuid import UUID

from libs.common.contracts.enums import Broker
from tools.reconcile.fold import Facts
from tools.reconcile.rows import BrokerCall, TradingAccount, TradingOrder
from tools.reconcile.rules import Findings, Rule, order
from tools.reconcile.tables import Tables


async def learn_departures(facts: Facts, tables: Tables) -> None:
    """Such an order leaves with its call, after a last look at the epochs, not with the wish for it."""
    async for call in tables.read(BrokerCall):
        known = facts.orders.get(call.order_id)
        if known is not None:
            known.left_millis = int(call.called_at.timestamp() * 1000) if call.called_at else 0


async def check_calls(tables: Tables, findings: Findings) -> None:
    last: BrokerCall | None = None
    async for call in tables.read(BrokerCall):
        twice = last is not None and last.order_id == call.order_id
        what = f"is to be placed at its broker by two calls, {call.call_id} among them"
        findings.expect(Rule.VENUE, not twice, order(call.order_id), what, call.called_at)
        last = call


async def check_seen(
    facts: Facts, accounts: Mapping[UUID, TradingAccount], seen: tuple[str, ...], tables: Tables, findings: Findings
) -> None:
    """`seen` are the order ids or tags that the broker has in its book, one entry for each order of it."""
    times = Counter(seen)
    async for row in tables.read(TradingOrder):
        owner, known = accounts.get(row.account_id), facts.orders.get(row.order_id)
        if owner is None or owner.broker == Broker.PAPER or known is None:
            continue
        found = times.pop(row.tag, 0) + times.pop(str(row.order_id), 0)
        about = order(row.order_id)
        findings.expect(Rule.VENUE, found <= 1, about, f"is in the broker's book {found} times", known.last_at)
        if known.settled is not None:
            findings.cannot(Rule.VENUE, "a person told what became of it, after its broker's book of the day was gone")
        elif known.accepted_by_venue:
            findings.expect(Rule.VENUE, found > 0, about, "is not in the broker's book that took it", known.last_at)
    for name in times:
        findings.expect(Rule.VENUE, False, order(name), "is in the broker's book, and no order of ours has that tag")
