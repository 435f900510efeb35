"""Limits: risk holds every order and the MTM against what it told to be saved, and the gateway shows just that."""

from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from uuid import UUID

from libs.common.contracts import topics
from libs.common.contracts.enums import BreachKind
from libs.common.contracts.risk import RiskLimit, RiskLimitSaved
from tools.reconcile.checks.compare import differences
from tools.reconcile.checks.orders import CUT
from tools.reconcile.fold import Facts
from tools.reconcile.rows import KeptLimit, KeptWatch, ShownLimit
from tools.reconcile.rules import Findings, Rule, Subject
from tools.reconcile.tables import Tables

Amounts = Mapping[str, Decimal]


async def kept(facts: Facts, tables: Tables, findings: Findings) -> None:
    watched: defaultdict[UUID, dict[str, Decimal]] = defaultdict(dict)
    async for watch in tables.read(KeptWatch):
        watched[watch.limit_id][watch.kind] = watch.amount
    missing = {limit_id for limit_id, saved in facts.limits.items() if saved is not None}
    async for row in tables.read(KeptLimit):
        missing.discard(row.limit_id)
        if _is_of_before(row.limit_id, facts, findings):
            continue
        saved = facts.limits.get(row.limit_id)
        if saved is None:
            what = "is in force in risk, and was deleted, or never told to be saved"
            findings.expect(Rule.COPIES, row.deleted, _limit(row.limit_id), what)
            continue
        differ = differences(_pairs(row, watched[row.limit_id], saved), "risk", "what was told")
        findings.expect(Rule.COPIES, not differ, _limit(row.limit_id), differ)
    for limit_id in missing:
        findings.expect(Rule.COPIES, False, _limit(limit_id), "was told to be saved, and risk does not have it")


async def shown(facts: Facts, tables: Tables, findings: Findings) -> None:
    missing = {limit_id for limit_id, saved in facts.limits.items() if saved is not None}
    async for row in tables.read(ShownLimit):
        missing.discard(row.entity_id)
        if _is_of_before(row.entity_id, facts, findings):
            continue
        saved = facts.limits.get(row.entity_id)
        told = saved and (saved.version, saved.limit)
        copy = None if row.deleted else (row.version, RiskLimit.model_validate_json(row.body))
        differ = differences([("(version, terms)", copy, told)], "the gateway", "what was told")
        findings.expect(Rule.COPIES, not differ, _limit(row.entity_id), differ)
    for limit_id in missing:
        findings.expect(Rule.COPIES, False, _limit(limit_id), "was told to be saved, and the gateway does not show it")


def _pairs(row: KeptLimit, watched: Amounts, saved: RiskLimitSaved) -> list[tuple[str, object, object]]:
    """A limit that is switched off watches nothing."""
    limit = saved.limit
    amounts = {
        BreachKind.STOP_LOSS: limit.stop_loss,
        BreachKind.TARGET: limit.target,
        BreachKind.TRAILING_STOP: limit.trailing_stop,
        BreachKind.DAILY_LOSS: limit.max_daily_loss,
    }
    return [
        ("(version, deleted)", (row.version, row.deleted), (saved.version, False)),
        (
            "scope",
            (row.user_id, row.level, row.account_id, row.strategy_id, row.instrument),
            (limit.user_id, limit.level.value, limit.account_id, limit.strategy_id, limit.instrument),
        ),
        (
            "(order value, positions, daily loss, window, active)",
            (
                row.max_order_value,
                row.max_open_positions,
                row.max_daily_loss,
                row.identical_order_window_s,
                row.active,
            ),
            (
                limit.max_order_value,
                limit.max_open_positions,
                limit.max_daily_loss,
                limit.identical_order_window_s,
                limit.active,
            ),
        ),
        (
            "watched",
            watched,
            {kind.value: amount for kind, amount in amounts.items() if amount is not None and limit.active},
        ),
    ]


def _is_of_before(limit_id: UUID, facts: Facts, findings: Findings) -> bool:
    is_of_before = limit_id not in facts.limits and facts.is_cut(topics.RISK_LIMITS.name)
    if is_of_before:
        findings.cannot(Rule.COPIES, CUT)
    return is_of_before


def _limit(limit_id: UUID) -> Subject:
    return Subject(f"limit {limit_id}", (str(limit_id),))
