"""A copy and its owner, trading: how they differ."""

from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal

from tools.reconcile.checks.compare import differences
from tools.reconcile.facts import AVERAGE, ZERO
from tools.reconcile.rows import RiskExposure, ShownBook, TradingBook
from tools.reconcile.rules import Findings, Rule, Subject

FORGETFUL = timedelta(hours=12)
"""Risk, trading and the venue forget what was finished days ago; what is younger than this must be there."""


def agree(pairs: Iterable[tuple[str, object, object]], who: str, about: Subject, findings: Findings) -> None:
    differ = differences(pairs, who, "trading")
    findings.expect(Rule.COPIES, not differ, about, differ)


def none_missing(missing: Iterable[Subject], who: str, findings: Findings) -> None:
    for about in missing:
        findings.expect(Rule.COPIES, False, about, f"is in trading, and {who} does not have it")


def average(cost: Decimal, quantity: int) -> Decimal:
    return abs(cost / quantity).quantize(AVERAGE) if quantity else ZERO


def book_pairs(row: ShownBook | RiskExposure, held: TradingBook) -> list[tuple[str, object, object]]:
    return [
        ("quantity", row.quantity, held.quantity),
        ("average price", row.average_price, average(held.cost, held.quantity)),
        ("realised", row.realised_pnl, held.realised_pnl),
    ]
