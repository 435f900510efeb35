"""The copies that others keep (gateway, risk, strategy, the venue) against their owner's: a module each."""

from datetime import datetime

from tools.reconcile.checks.copies import comparisons, gateway, limits, others, risk
from tools.reconcile.checks.owner import Owner
from tools.reconcile.fold import Facts
from tools.reconcile.rules import Findings
from tools.reconcile.tables import Tables


async def check_copies(facts: Facts, owner: Owner, tables: Tables, now: datetime, findings: Findings) -> None:
    await gateway.shown_orders(facts, tables, findings)
    await gateway.shown_fills(facts, tables, findings)
    await gateway.shown_holdings(owner, tables, findings)
    await gateway.shown_accounts(owner, tables, findings)
    await comparisons.positions_at_brokers(facts, tables, findings)
    await gateway.square_offs(owner, tables, now, findings)
    await others.panics(tables, findings)
    await others.venue(facts, owner, tables, now, findings)
    await others.strategy(owner, tables, findings)
    await others.access(tables, findings)
    await risk.check_risk(facts, owner, tables, now, findings)
    await limits.kept(facts, tables, findings)
    await limits.shown(facts, tables, findings)
