"""Risk's copies, and what it adds up from its own open orders."""

from collections import defaultdict
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from tools.reconcile.checks.compare import differences
from tools.reconcile.checks.copies.agreement import FORGETFUL, agree, average, book_pairs, none_missing
from tools.reconcile.checks.owner import Owner
from tools.reconcile.facts import NIL, ZERO, NetKey, Order, to_paise
from tools.reconcile.fold import Facts
from tools.reconcile.rows import (
    Reservation,
    RiskAccount,
    RiskExposure,
)
from tools.reconcile.rules import Findings, Rule, Subject, account, order, position
from tools.reconcile.tables import Tables


async def check_risk(facts: Facts, owner: Owner, tables: Tables, now: datetime, findings: Findings) -> None:
    margins: defaultdict[UUID, Decimal] = defaultdict(Decimal)
    pending: defaultdict[tuple[UUID, str, str, UUID, str], int] = defaultdict(int)
    cleared = {known.order_id for known in facts.orders.values() if known.clearances or known.denials_by_risk}
    async for row in tables.read(Reservation):
        cleared.discard(row.order_id)
        margins[row.account_id] += _margin(row)
        outstanding = 0 if row.closed else max(row.quantity, row.proposed_quantity or 0, row.filled) - row.filled
        for book in {NIL, row.strategy_id or NIL}:
            pending[row.account_id, row.instrument, row.product, book, row.side] += outstanding
        known = facts.orders.get(row.order_id)
        if known is not None:
            _reservation(row, known, findings)
    for order_id in cleared:
        known = facts.orders[order_id]
        at = known.cleared_at or known.last_at
        if at is not None and now - at < FORGETFUL:
            findings.expect(Rule.COPIES, False, order(order_id), "was decided by risk, which does not know it", at)
    held = await _exposures(owner, pending, tables, findings)
    await _risk_accounts(owner, margins, held, tables, findings)


def _margin(row: Reservation) -> Decimal:
    """Fills close before they open: the last `increasing` units block margin."""
    if row.closed:
        return ZERO
    units = max(min(row.increasing, row.quantity - row.filled), 0)
    return to_paise(row.unit_margin * units)


def _reservation(row: Reservation, known: Order, findings: Findings) -> None:
    over = row.closed or row.filled >= row.quantity
    pairs: list[tuple[str, object, object]] = [
        ("over", over, known.status.is_final),
        ("filled", row.filled, known.filled),
        ("change under way", row.proposed_quantity is not None, False),
    ]
    if known.submissions:
        pairs.append(("quantity", row.quantity, known.quantity))
    if known.submissions and known.margin_is_known and known.unit_margin and not known.status.is_final:
        pairs.append(("margin", _margin(row), known.margin))
    differ = differences(pairs, "risk", "trading")
    findings.expect(Rule.COPIES, known.from_the_middle or not differ, order(row.order_id), differ, known.last_at)


async def _exposures(
    owner: Owner, pending: dict[tuple[UUID, str, str, UUID, str], int], tables: Tables, findings: Findings
) -> dict[UUID, int]:
    """Risk's copy of positions and books; how many positions of each account are open, or about to be. What was closed
    on an earlier day it forgets after a week.
    """
    in_use: defaultdict[UUID, int] = defaultdict(int)
    missing: set[NetKey] = {key for key, held in owner.positions.items() if held.is_live}
    missing_books = {key for key, book in owner.books.items() if key[3] != NIL and book.quantity}
    async for row in tables.read(RiskExposure):
        key = (row.account_id, row.instrument, row.product)
        is_net = row.strategy_id == NIL
        missing_books.discard((*key, row.strategy_id))
        about = position(*key, None if is_net else row.strategy_id)
        waiting = [
            ("pending " + side, told, pending.get((*key, row.strategy_id, side), 0))
            for side, told in (("BUY", row.pending_buy), ("SELL", row.pending_sell))
        ]
        differ = differences(waiting, "risk's exposure", "its open orders")
        findings.expect(Rule.COPIES, not differ, about, differ)
        if is_net:
            missing.discard(key)
            in_use[row.account_id] += bool(row.quantity or row.pending_buy or row.pending_sell)
        _exposure(row, owner, about, findings)
    none_missing((position(*key) for key in missing), "risk", findings)
    none_missing((position(*key) for key in missing_books), "risk", findings)
    return in_use


def _exposure(row: RiskExposure, owner: Owner, about: Subject, findings: Findings) -> None:
    key = (row.account_id, row.instrument, row.product)
    if row.strategy_id != NIL:
        book = owner.books.get((*key, row.strategy_id))
        if book is not None:
            agree(book_pairs(row, book), "risk", about, findings)
        else:
            agree([("quantity", row.quantity, 0)], "risk", about, findings)
        return
    held = owner.positions.get(key)
    if held is None:
        agree([("quantity", row.quantity, 0)], "risk", about, findings)
        return
    pairs: list[tuple[str, object, object]] = [
        ("quantity", row.quantity, held.quantity),
        ("average price", row.average_price, average(held.cost, held.quantity)),
        ("realised", row.realised_pnl, held.realised_pnl),
        ("margin", row.margin, held.margin),
        ("version", row.version, held.version),
    ]
    agree(pairs, "risk", about, findings)


async def _risk_accounts(
    owner: Owner, margins: dict[UUID, Decimal], in_use: dict[UUID, int], tables: Tables, findings: Findings
) -> None:
    held: defaultdict[UUID, Decimal] = defaultdict(Decimal)
    for row in owner.positions.values():
        held[row.account_id] += row.margin
    missing = set(owner.accounts)
    async for kept in tables.read(RiskAccount):
        missing.discard(kept.account_id)
        known, about = owner.accounts.get(kept.account_id), account(kept.account_id)
        if known is None:
            findings.expect(Rule.COPIES, False, about, "is in risk, and trading has none")
            continue
        pairs: list[tuple[str, object, object]] = [
            ("owner", kept.user_id, None if known.deleted else known.user_id),
            ("active", kept.active, known.active and not known.deleted),
            ("broker", kept.broker, known.broker),
            ("opening balance", kept.opening_balance, known.opening_balance),
            ("realised", kept.realised_pnl, known.realised_pnl),
            ("position margin", kept.position_margin, held[kept.account_id]),
        ]
        agree(pairs, "risk", about, findings)
        own: list[tuple[str, object, object]] = [
            ("order margin", kept.order_margin, margins.get(kept.account_id, ZERO)),
            ("open positions", kept.open_positions, in_use.get(kept.account_id, 0)),
        ]
        differ = differences(own, "risk's account", "its open orders and positions")
        findings.expect(Rule.COPIES, not differ, about, differ)
    none_missing(map(account, missing), "risk", findings)
