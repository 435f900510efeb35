"""The gateway's projections: orders, fills, positions, accounts, panics in force and square-offs."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from libs.common.contracts.enums import OrderStatus
from tools.reconcile.checks.compare import differences
from tools.reconcile.checks.copies.agreement import FORGETFUL, agree, average, book_pairs, none_missing
from tools.reconcile.checks.owner import Owner
from tools.reconcile.facts import AVERAGE, NIL, ZERO, NetKey, Order
from tools.reconcile.fold import Facts
from tools.reconcile.rows import (
    ShownAccount,
    ShownBook,
    ShownFills,
    ShownFunds,
    ShownOrder,
    ShownPosition,
    ShownSquareOff,
)
from tools.reconcile.rules import Findings, Rule, Subject, account, order, position
from tools.reconcile.tables import Tables


async def shown_orders(facts: Facts, tables: Tables, findings: Findings) -> None:
    shown: set[UUID] = set()
    async for row in tables.read(ShownOrder):
        shown.add(row.order_id)
        known, about = facts.orders.get(row.order_id), order(row.order_id)
        if known is None:
            what = f"is shown as {row.status} by the gateway, and nothing on the log tells of it: it is lost"
            findings.expect(Rule.ANSWERED, False, about, what, row.requested_at)
            continue
        differ = _shown_differently(row, known)
        findings.expect(Rule.COPIES, not differ, about, differ, known.last_at)
    for known in facts.orders.values():
        if known.submissions or known.denials:
            what = f"is {known.status}, and the gateway does not show it"
            findings.expect(Rule.COPIES, known.order_id in shown, order(known.order_id), what, known.last_at)


def _shown_differently(row: ShownOrder, known: Order) -> str:
    pairs: list[tuple[str, object, object]] = [
        ("account", row.account_id, known.account_id),
        ("status", row.status, known.status.value),
        ("filled", row.filled_quantity, known.filled),
    ]
    if known.status is not OrderStatus.REQUESTED:
        pairs += [
            ("strategy", row.strategy_id, known.strategy_id),
            ("instrument", row.instrument, known.instrument),
            ("side", row.side, known.side.value),
            ("product", row.product, known.product.value),
            ("quantity", row.quantity, known.quantity),
            ("type", row.order_type, known.order_type.value),
            ("price", row.price, known.price),
            ("trigger price", row.trigger_price, known.trigger_price),
        ]
    if not known.denials:
        pairs.append(("version", row.version, known.version))
    if not known.from_the_middle and not _near(row.average_price, known.average_price):
        pairs.append(("average price", row.average_price, known.average_price))
    if known.broker_order_id is not None:
        pairs.append(("broker order id", row.broker_order_id, known.broker_order_id))
    return differences(pairs, "the gateway", "the log")


def _near(one: Decimal | None, other: Decimal | None) -> bool:
    return abs((one or ZERO) - (other or ZERO)) <= AVERAGE


async def shown_fills(facts: Facts, tables: Tables, findings: Findings) -> None:
    filled = {known.order_id for known in facts.orders.values() if known.fills}
    async for row in tables.read(ShownFills):
        known, about = facts.orders.get(row.order_id), order(row.order_id)
        if known is not None and known.from_the_middle:
            continue
        ours = {fill.fill_id for fill in known.fills} if known else set()
        differ = ours ^ set(row.fill_ids)
        what = f"the gateway and trading differ about its fills: {sorted(map(str, differ))}"
        findings.expect(Rule.COPIES, not differ, about, what, known.last_at if known else None)
        if known is not None and not differ:
            what = (
                f"the gateway shows fills of {row.quantity} for {row.value}, they are {known.filled} for {known.value}"
            )
            same = (row.quantity, row.value) == (known.filled, known.value)
            findings.expect(Rule.COPIES, same, about, what, known.last_at)
            what = f"the gateway shows fills of {row.told_of}, they are of {_whose(known)}"
            findings.expect(Rule.COPIES, row.told_of == [_whose(known)], about, what, known.last_at)
        filled.discard(row.order_id)
    for order_id in filled:
        findings.expect(Rule.COPIES, False, order(order_id), "is filled, and the gateway shows no fill of it")


def _whose(known: Order) -> str:
    strategy = known.strategy_id or "by hand"
    return f"{known.account_id} {strategy} {known.instrument} {known.side.value} {known.product.value}"


async def shown_holdings(owner: Owner, tables: Tables, findings: Findings) -> None:
    missing = set(owner.positions)
    async for row in tables.read(ShownPosition):
        key = (row.account_id, row.instrument, row.product)
        missing.discard(key)
        held = owner.positions.get(key)
        if held is None:
            _shown_alone(row, owner, key, position(*key), findings)
            continue
        pairs: list[tuple[str, object, object]] = [
            ("quantity", row.quantity, held.quantity),
            ("average price", row.average_price, average(held.cost, held.quantity)),
            ("realised", row.realised_pnl, held.realised_pnl),
            ("bought", (row.bought_quantity, row.bought_value), (held.bought_quantity, held.bought_value)),
            ("sold", (row.sold_quantity, row.sold_value), (held.sold_quantity, held.sold_value)),
            ("margin", row.margin, held.margin),
            ("version", row.version, held.version),
        ]
        agree(pairs, "the gateway", position(*key), findings)
    none_missing((position(*key) for key in missing), "the gateway", findings)
    await _shown_books(owner, tables, findings)


async def _shown_books(owner: Owner, tables: Tables, findings: Findings) -> None:
    missing = {key for key in owner.books if key[3] != NIL}
    async for row in tables.read(ShownBook):
        key = (row.account_id, row.instrument, row.product, row.strategy_id)
        missing.discard(key)
        about, held = position(*key), owner.books.get(key)
        if held is None:
            _shown_alone(row, owner, key[:3], about, findings)
            continue
        agree(book_pairs(row, held), "the gateway", about, findings)
    none_missing((position(*key) for key in missing), "the gateway", findings)


def _shown_alone(row: ShownPosition | ShownBook, owner: Owner, key: NetKey, about: Subject, findings: Findings) -> None:
    is_forgotten = not (row.quantity or row.realised_pnl) and owner.may_have_forgotten(key)
    findings.expect(Rule.COPIES, is_forgotten, about, "is shown by the gateway, trading has none")


async def shown_accounts(owner: Owner, tables: Tables, findings: Findings) -> None:
    missing = set(owner.accounts)
    async for row in tables.read(ShownAccount):
        missing.discard(row.entity_id)
        known, about = owner.accounts.get(row.entity_id), account(row.entity_id)
        if known is None:
            findings.expect(Rule.COPIES, False, about, "is shown by the gateway, trading has none")
            continue
        pairs = [("version", row.version, known.version), ("deleted", row.deleted, known.deleted)]
        agree(pairs, "the gateway", about, findings)
    none_missing(map(account, missing), "the gateway", findings)
    missing = set(owner.accounts)
    async for funds in tables.read(ShownFunds):
        missing.discard(funds.account_id)
        known, about = owner.accounts.get(funds.account_id), account(funds.account_id)
        if known is None:
            findings.expect(Rule.COPIES, False, about, "has funds in the gateway, and none in trading")
            continue
        available = known.opening_balance + known.realised_pnl - known.used_margin
        money: list[tuple[str, object, object]] = [
            ("opening balance", funds.opening_balance, known.opening_balance),
            ("realised", funds.realised_pnl, known.realised_pnl),
            ("used margin", funds.used_margin, known.used_margin),
            ("available", funds.available, available),
            ("version", funds.version, known.funds_version),
        ]
        agree(money, "the gateway", about, findings)
    none_missing(map(account, missing), "the gateway's funds", findings)


async def square_offs(owner: Owner, tables: Tables, now: datetime, findings: Findings) -> None:
    """Trading forgets after a week what is over."""
    truth = {each.square_off_id: each.completed_at is not None for each in owner.square_offs.values()}
    shown: dict[UUID, bool] = {}
    async for row in tables.read(ShownSquareOff):
        is_old = row.completed_at is not None and now - row.completed_at > FORGETFUL
        if row.square_off_id in truth or not is_old:
            shown[row.square_off_id] = row.completed_at is not None
    for square_off_id in truth.keys() | shown.keys():
        about = Subject(f"square-off {square_off_id}", (str(square_off_id),))
        agree([("completed", shown.get(square_off_id), truth.get(square_off_id))], "the gateway", about, findings)
