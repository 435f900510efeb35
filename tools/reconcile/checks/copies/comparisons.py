"""Where positions differ from the brokers': the same in trading's table, on the log, and at the gateway."""

import json
from uuid import UUID

from libs.common.contracts import topics
from libs.common.contracts.brokers import PositionsCompared
from tools.reconcile.checks.compare import differences
from tools.reconcile.fold import Facts
from tools.reconcile.rows import ShownComparison, TradingComparison
from tools.reconcile.rules import Findings, Rule, account
from tools.reconcile.tables import Tables

Found = set[tuple[object, ...]]
CUT = "the log does not reach back to their beginning"


async def positions_at_brokers(facts: Facts, tables: Tables, findings: Findings) -> None:
    """An account whose broker was never looked at has version 0, and nothing is told of it."""
    async for row in tables.read(TradingComparison):
        if row.version:
            told = _of_rows(json.loads(row.told), "symbol")
            _agree(facts, row.account_id, row.version, told, row.problem, "trading", findings)
    for account_id in await _shown(facts, tables, findings):
        what = "its positions were compared with its broker's, and the gateway does not show it"
        findings.expect(Rule.COPIES, False, account(account_id), what)


async def _shown(facts: Facts, tables: Tables, findings: Findings) -> set[UUID]:
    """Those of the log that it lacks."""
    missing = set(facts.compared)
    async for row in tables.read(ShownComparison):
        missing.discard(row.account_id)
        body = json.loads(row.body)
        told = _of_rows(body["differences"], "broker_symbol")
        _agree(facts, row.account_id, row.version, told, body["problem"], "the gateway", findings)
    return missing


def _agree(
    facts: Facts, account_id: UUID, version: int, told: Found, problem: str, who: str, findings: Findings
) -> None:
    event = facts.compared.get(account_id)
    if event is None and facts.is_cut(topics.TRADING_EVENTS.name):
        findings.cannot(Rule.COPIES, CUT)
        return
    if event is None:
        what = f"{who} has a comparison with its broker of which the log never told"
        findings.expect(Rule.COPIES, False, account(account_id), what)
        return
    pairs: list[tuple[str, object, object]] = [
        ("version", version, event.version),
        ("differences from the broker", sorted(map(str, told)), sorted(map(str, _of_event(event)))),
        ("a problem", bool(problem), bool(event.problem)),
    ]
    differ = differences(pairs, who, "the log")
    findings.expect(Rule.COPIES, not differ, account(account_id), differ)


def _of_event(event: PositionsCompared) -> Found:
    return {(each.broker_symbol, each.product.value, each.ours, each.theirs) for each in event.differences}


def _of_rows(rows: list[dict[str, object]], symbol: str) -> Found:
    return {(row[symbol], row["product"], row["ours"], row["theirs"]) for row in rows}
