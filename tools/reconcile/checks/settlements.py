"""Settlements of expired contracts, and what brokers closed past us: at the price that was told, and shown as they were
booked. Splits and bonuses: as they were told.
"""

from uuid import UUID

from libs.common.contracts import topics
from tools.reconcile.checks.compare import differences
from tools.reconcile.checks.orders import CUT
from tools.reconcile.facts import Settled
from tools.reconcile.fold import Facts
from tools.reconcile.rows import ShownSettlement, TradingSettlement
from tools.reconcile.rules import Findings, Rule, Subject, contract, position
from tools.reconcile.tables import Tables


async def check_settlements(facts: Facts, tables: Tables, findings: Findings) -> None:
    for settled in facts.settled.values():
        _price(settled, facts, findings)
    await _noted(facts, tables, findings)
    await _shown(facts, tables, findings)


def check_adjusted(facts: Facts, findings: Findings) -> None:
    """Splits and bonuses that were booked are those that were told."""
    for booked in facts.adjusted.values():
        if booked.action not in facts.share_actions and facts.is_cut(topics.CORPORATE_ACTIONS.name):
            findings.cannot(Rule.POSITIONS, CUT)
            continue
        instrument, kind, ex_date, old, new = booked.action
        what = f"{kind} {old}:{new} of {ex_date} was booked, and nobody told of it"
        about = position(booked.account_id, instrument, booked.product)
        findings.expect(Rule.POSITIONS, booked.action in facts.share_actions, about, what, booked.at)


def _price(settled: Settled, facts: Facts, findings: Findings) -> None:
    if settled.is_at_broker:
        _closed_at_broker(settled, facts, findings)
        return
    told = facts.worth.get(settled.instrument)
    if told is None and facts.is_cut(topics.SETTLEMENTS.name):
        findings.cannot(Rule.SETTLED, CUT)
        return
    worth = f"the contract was told to be worth {told.price}" if told else "nobody told what the contract is worth"
    what = f"was settled at {settled.worth.price}, and {worth}"
    findings.expect(Rule.SETTLED, told == settled.worth, _position(settled), what, settled.at)


def _closed_at_broker(settled: Settled, facts: Facts, findings: Findings) -> None:
    named = settled.account_id, settled.instrument, settled.product, settled.worth.price
    if named not in facts.closed_at_brokers and facts.is_cut(topics.BROKER_EXECUTIONS.name):
        findings.cannot(Rule.SETTLED, CUT)
        return
    what = f"was closed at {settled.worth.price}, and its broker was not seen to close it so"
    findings.expect(Rule.SETTLED, named in facts.closed_at_brokers, _position(settled), what, settled.at)


async def _noted(facts: Facts, tables: Tables, findings: Findings) -> None:
    """What trading settles by is what it was told."""
    missing = set(facts.worth)
    async for row in tables.read(TradingSettlement):
        missing.discard(row.instrument)
        told = facts.worth.get(row.instrument)
        if told is None and facts.is_cut(topics.SETTLEMENTS.name):
            findings.cannot(Rule.SETTLED, CUT)
            continue
        what = f"is worth {row.price} to trading, it was told to be worth {told.price if told else 'nothing yet'}"
        same = told is not None and (told.price, told.spot_price) == (row.price, row.spot_price)
        findings.expect(Rule.SETTLED, same, contract(row.instrument), what)
    for instrument in sorted(missing):
        findings.expect(Rule.SETTLED, False, contract(instrument), "was told to be settled, and trading does not know")


async def _shown(facts: Facts, tables: Tables, findings: Findings) -> None:
    missing: dict[UUID, Settled] = dict(facts.settled)
    async for row in tables.read(ShownSettlement):
        about = position(row.account_id, row.instrument, row.product, row.strategy_id)
        known = missing.pop(row.fill_id, None)
        if known is None:
            if facts.is_cut(topics.TRADING_EVENTS.name):
                findings.cannot(Rule.COPIES, CUT)
            else:
                findings.expect(
                    Rule.COPIES, False, about, "shows a settlement in the tradebook that trading never told"
                )
            continue
        differ = differences(
            [
                ("account", row.account_id, known.account_id),
                ("strategy", row.strategy_id, known.strategy_id),
                ("instrument", row.instrument, known.instrument),
                ("product", row.product, known.product),
                ("units", row.quantity if row.side == "BUY" else -row.quantity, known.units),
                ("price", row.price, known.worth.price),
            ],
            "the gateway's tradebook",
            "trading",
        )
        findings.expect(Rule.COPIES, not differ, about, differ, known.at)
    for settled in missing.values():
        what = "was settled, and the gateway's tradebook does not show it"
        findings.expect(Rule.COPIES, False, _position(settled), what, settled.at)


def _position(settled: Settled) -> Subject:
    return position(settled.account_id, settled.instrument, settled.product, settled.strategy_id)
