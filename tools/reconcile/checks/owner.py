"""Trading's tables against the log: orders, fills, positions and funds are what the log makes of them."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from libs.common.contracts import topics
from libs.common.contracts.enums import OrderPurpose, OrderStatus, OrderType, Product, Side, SquareOffReason
from libs.common.contracts.orders import OrderModifyCleared
from tools.reconcile.checks.compare import differences
from tools.reconcile.checks.orders import CUT
from tools.reconcile.facts import AVERAGE, HALF_PAISA, NIL, Account, Holding, NetKey, Order, Position, last_day
from tools.reconcile.fold import Facts
from tools.reconcile.rows import (
    BookedExecutions,
    TradingAccount,
    TradingBook,
    TradingOrder,
    TradingPosition,
    TradingSquareOff,
)
from tools.reconcile.rules import Findings, Rule, Subject, account, order, position
from tools.reconcile.tables import Tables

PAPER = "paper"
EXPIRED_FOR = timedelta(days=30)
"""So long after a contract's last day trading forgets what is flat in it."""


@dataclass
class Owner:
    """What the copies are compared with. Orders are in the facts."""

    accounts: dict[UUID, TradingAccount] = field(default_factory=dict)
    positions: dict[NetKey, TradingPosition] = field(default_factory=dict)
    books: dict[tuple[UUID, str, str, UUID], TradingBook] = field(default_factory=dict)
    square_offs: dict[UUID, TradingSquareOff] = field(default_factory=dict)
    blocked: defaultdict[UUID, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    """The margin of each account's open orders."""

    def may_have_forgotten(self, key: NetKey) -> bool:
        """Where it is flat."""
        known, expiry = self.accounts.get(key[0]), last_day(key[1])
        return known is not None and expiry is not None and known.day - expiry >= EXPIRED_FOR


async def check_owner(facts: Facts, tables: Tables, findings: Findings) -> Owner:
    owner = Owner()
    async for known in tables.read(TradingAccount):
        owner.accounts[known.account_id] = known
    async for square_off in tables.read(TradingSquareOff):
        owner.square_offs[square_off.square_off_id] = square_off
    await _orders(facts, tables, owner, findings)
    await _executions(facts, tables, findings)
    await _positions(facts, tables, owner, findings)
    await _books(facts, tables, owner, findings)
    _funds(facts, owner, findings)
    _session_ends(owner, findings)
    return owner


async def _orders(facts: Facts, tables: Tables, owner: Owner, findings: Findings) -> None:
    is_cut = facts.is_cut(topics.TRADING_EVENTS.name)
    async for row in tables.read(TradingOrder):
        known = facts.orders.get(row.order_id)
        if is_cut and (known is None or not (known.submissions or known.denials)):
            findings.cannot(Rule.HISTORY, CUT)
            known = facts.orders[row.order_id] = known or Order(row.order_id, row.account_id)
            _believe(known, row)
        if known is None:
            what = f"is {row.status} in trading's table, and the log never told of it"
            findings.expect(Rule.HISTORY, False, order(row.order_id), what)
        else:
            known.is_stored = True
            _order(known, row, findings)
        if row.is_open:
            owner.blocked[row.account_id] += _blocked(row)
    for known in facts.orders.values():
        if known.submissions or known.denials or known.from_the_middle:
            what = f"is {known.status} in the log, and trading's table does not have it"
            findings.expect(Rule.HISTORY, known.is_stored, order(known.order_id), what, known.last_at)


def _order(known: Order, row: TradingOrder, findings: Findings) -> None:
    about = order(row.order_id)
    pairs: list[tuple[str, object, object]] = [
        ("account", row.account_id, known.account_id),
        ("status", row.status, known.status.value),
        ("open", row.is_open, not known.status.is_final),
        ("filled", row.filled_quantity, known.filled),
    ]
    if known.status is not OrderStatus.REQUESTED:
        pairs += [
            ("user", row.user_id, known.user_id),
            ("strategy", row.strategy_id, known.strategy_id),
            ("instrument", row.instrument, known.instrument),
            ("side", row.side, known.side.value),
            ("product", row.product, known.product.value),
            ("purpose", row.purpose, known.purpose.value),
            ("version", row.version, known.version),
            ("quantity", row.quantity, known.quantity),
            ("type", row.order_type, known.order_type.value),
            ("price", row.price, known.price),
            ("trigger price", row.trigger_price, known.trigger_price),
        ]
    if known.submissions:
        pairs.append(("epoch", row.epoch, known.epoch))
    if not known.from_the_middle:
        pairs.append(("filled value", row.filled_value, known.value))
    if known.broker_order_id is not None:
        pairs.append(("broker order id", row.broker_order_id, known.broker_order_id))
    differ = differences(pairs, "trading's table", "the log")
    findings.expect(Rule.HISTORY, not differ, about, differ, known.last_at)
    if row.is_open and row.change is not None:
        findings.expect(Rule.VENUE, False, about, "waits for the venue's answer to a change, and none is under way")
    if row.is_open and known.margin_is_known and known.submissions:
        what = f"blocks a margin of {row.margin}, what is left of its clearance's is {known.margin}"
        findings.expect(Rule.FUNDS, row.margin == known.margin, about, what, known.last_at)


def _believe(known: Order, row: TradingOrder) -> None:
    """Of an order whose beginning is not kept, the row tells the terms; and all, when nothing of it is kept."""
    known.from_the_middle, known.margin_is_known = True, False
    known.user_id, known.strategy_id, known.instrument = row.user_id, row.strategy_id, row.instrument
    known.side, known.product, known.purpose = Side(row.side), Product(row.product), OrderPurpose(row.purpose)
    known.order_type, known.price, known.trigger_price = OrderType(row.order_type), row.price, row.trigger_price
    known.quantity = known.largest = row.quantity
    known.value = row.filled_value
    if not known.version:
        known.filled, known.version, known.broker_order_id = row.filled_quantity, row.version, row.broker_order_id
        known.passes(OrderStatus(row.status))


def _blocked(row: TradingOrder) -> Decimal:
    """While a change is on its way the dearer terms block."""
    if row.change is None:
        return row.margin
    return max(row.margin, OrderModifyCleared.model_validate_json(row.change).margin)


async def _executions(facts: Facts, tables: Tables, findings: Findings) -> None:
    remembered = 0
    async for row in tables.read(BookedExecutions):
        known = facts.orders.get(row.order_id)
        if known is None or known.from_the_middle:
            findings.cannot(Rule.FILLS, CUT)
            continue
        remembered += 1
        told = {fill.execution_id for fill in known.venue_fills}
        differ = told ^ set(row.execution_ids)
        what = f"trading's table and the venue's reports differ about its executions: {sorted(differ)}"
        findings.expect(Rule.FILLS, not differ, order(row.order_id), what, known.last_at)
    filled = sum(1 for known in facts.orders.values() if known.venue_fills and not known.from_the_middle)
    if remembered < filled:
        await _forgotten(facts, tables, findings)


async def _forgotten(facts: Facts, tables: Tables, findings: Findings) -> None:
    stored = {row.order_id async for row in tables.read(BookedExecutions)}
    for known in facts.orders.values():
        if known.venue_fills and not known.from_the_middle and known.order_id not in stored:
            what = "was filled by the venue, and trading's table knows none of its executions"
            findings.expect(Rule.FILLS, False, order(known.order_id), what, known.last_at)


async def _positions(facts: Facts, tables: Tables, owner: Owner, findings: Findings) -> None:
    is_cut = facts.is_cut(topics.TRADING_EVENTS.name)
    async for row in tables.read(TradingPosition):
        key = (row.account_id, row.instrument, row.product)
        owner.positions[key] = row
        held = facts.books.positions.get(key)
        if held is None and is_cut:
            findings.cannot(Rule.POSITIONS, CUT)
            continue
        held = held or Position()
        _carry(held.net, owner.accounts.get(row.account_id))
        if held.unbooked:
            order_id, quantity = held.unbooked[0]
            what = f"a fill of {quantity} was reported, and no position moved"
            findings.expect(Rule.FILLS, False, order(order_id), what)
        _position(held, row, findings)
    for key, held in facts.books.positions.items():
        what = "has fills in the log, and no row in trading's table"
        is_there = key in owner.positions or (not held.net.quantity and owner.may_have_forgotten(key))
        findings.expect(Rule.POSITIONS, is_there, position(*key), what)


def _position(held: Position, row: TradingPosition, findings: Findings) -> None:
    about, own = position(row.account_id, row.instrument, row.product), held.net
    pairs: list[tuple[str, object, object]] = [
        ("quantity", row.quantity, own.quantity),
        ("version", row.version, held.version),
    ]
    if not held.is_guessed:
        pairs += [
            ("bought today", row.bought_quantity, own.bought),
            ("sold today", row.sold_quantity, own.sold),
            ("value bought", row.bought_value, own.bought_value),
            ("value sold", row.sold_value, own.sold_value),
        ]
    differ = differences(pairs, "trading's table", "its fills")
    findings.expect(Rule.POSITIONS, not differ, about, differ)
    if held.is_guessed:
        findings.cannot(Rule.PNL, CUT)
        return
    _money(own, row.quantity, row.cost, row.realised_pnl, about, findings)
    if held.margin_is_known:
        what = f"blocks a margin of {row.margin}, its fills make {held.margin}"
        findings.expect(Rule.FUNDS, row.margin == held.margin, about, what)


def _money(own: Holding, quantity: int, cost: Decimal, realised: Decimal, about: Subject, findings: Findings) -> None:
    average = abs(cost / quantity) if quantity else abs(cost)
    what = f"costs {average} each in trading's table, its fills make {own.average}"
    findings.expect(Rule.POSITIONS, abs(average - own.average) <= AVERAGE, about, what)
    what = f"has realised {realised} in trading's table, its fills {own.realised}"
    findings.expect(Rule.PNL, abs(realised - own.realised) < HALF_PAISA, about, what)


def _carry(own: Holding, known: TradingAccount | None) -> None:
    """Trading may have begun a day since the last fill."""
    if known is not None and own.day is not None and known.day > own.day:
        own.begin(known.day)


async def _books(facts: Facts, tables: Tables, owner: Owner, findings: Findings) -> None:
    sums: defaultdict[NetKey, int] = defaultdict(int)
    is_cut = facts.is_cut(topics.TRADING_EVENTS.name)
    async for row in tables.read(TradingBook):
        key = (row.account_id, row.instrument, row.product, row.strategy_id)
        owner.books[key] = row
        sums[key[:3]] += row.quantity
        own = facts.books.books.get(key)
        held = facts.books.positions.get(key[:3])
        guessed = held is not None and held.is_guessed and key not in facts.books.believed
        if (own is None and is_cut) or guessed:
            findings.cannot(Rule.POSITIONS, CUT)
            continue
        own = own or Holding()
        _carry(own, owner.accounts.get(row.account_id))
        strategy_id = None if row.strategy_id == NIL else row.strategy_id
        about = position(*key[:3], strategy_id)
        what = f"is {row.quantity} in trading's table, its fills sum up to {own.quantity}"
        same = findings.expect(Rule.POSITIONS, row.quantity == own.quantity, about, what)
        if same and held is not None and not held.is_guessed:
            _money(own, row.quantity, row.cost, row.realised_pnl, about, findings)
    for net, held_there in owner.positions.items():
        what = f"is {held_there.quantity}, the strategies' books of it sum up to {sums[net]}"
        findings.expect(Rule.POSITIONS, held_there.quantity == sums[net], position(*net), what)


def _funds(facts: Facts, owner: Owner, findings: Findings) -> None:
    margins: defaultdict[UUID, Decimal] = defaultdict(Decimal)
    realised: defaultdict[UUID, Decimal] = defaultdict(Decimal)
    open_square_offs: defaultdict[UUID, int] = defaultdict(int)
    for row in owner.positions.values():
        margins[row.account_id] += row.margin
        realised[row.account_id] += row.realised_pnl
    for square_off in owner.square_offs.values():
        open_square_offs[square_off.account_id] += square_off.completed_at is None
    is_cut = facts.is_cut(topics.TRADING_EVENTS.name)
    for known in owner.accounts.values():
        about = account(known.account_id)
        blocked = owner.blocked[known.account_id] + margins[known.account_id]
        what = f"uses a margin of {known.used_margin}, its open orders and positions block {blocked}"
        findings.expect(Rule.FUNDS, known.used_margin == blocked, about, what)
        total = realised[known.account_id]
        what = f"has realised {known.realised_pnl} today, its positions {total}"
        findings.expect(Rule.PNL, abs(known.realised_pnl - total) < HALF_PAISA, about, what)
        what = f"counts {known.square_offs} square-offs under way, there are {open_square_offs[known.account_id]}"
        findings.expect(Rule.HISTORY, known.square_offs == open_square_offs[known.account_id], about, what)
        _told(facts.books.accounts.get(known.account_id), known, findings, is_cut=is_cut)


def _session_ends(owner: Owner, findings: Findings) -> None:
    """A session ends for MIS, of one instrument at a time, and only at the paper venue."""
    at_work: set[tuple[UUID, str | None]] = set()
    for each in owner.square_offs.values():
        if each.reason != SquareOffReason.SESSION_END:
            continue
        about = Subject(f"square-off {each.square_off_id}", (str(each.square_off_id), str(each.account_id)))
        of_mis = each.product == Product.MIS and each.instrument is not None
        what = f"ended a session for {each.product or 'every product'} of {each.instrument or 'every instrument'}"
        findings.expect(Rule.HISTORY, of_mis, about, what)
        known = owner.accounts.get(each.account_id)
        what = f"ended a session for us, and its account is at {known.broker if known else 'nowhere'}"
        findings.expect(Rule.HISTORY, known is not None and known.broker == PAPER, about, what)
        if each.completed_at is None:
            place = each.account_id, each.instrument
            what = f"is not the only one that ends the session of {each.instrument}"
            findings.expect(Rule.HISTORY, place not in at_work, about, what)
            at_work.add(place)


def _told(told: Account | None, known: TradingAccount, findings: Findings, *, is_cut: bool) -> None:
    about = account(known.account_id)
    if told is None:
        if is_cut:
            findings.cannot(Rule.FUNDS, CUT)
        else:
            findings.expect(Rule.FUNDS, False, about, "has funds in trading's table of which the log never told")
        return
    pairs: list[tuple[str, object, object]] = [
        ("opening balance", known.opening_balance, told.opening),
        ("realised", known.realised_pnl, told.said_realised),
        ("used margin", known.used_margin, told.used),
        ("version", known.funds_version, told.version),
    ]
    differ = differences(pairs, "trading's table", "what was told last")
    findings.expect(Rule.FUNDS, not differ, about, differ)
    if told.is_guessed:
        findings.cannot(Rule.PNL, CUT)
        return
    made = known.opening_balance + known.realised_pnl - known.capital
    what = f"has made {made} since its capital of {known.capital} was paid in, its fills made {told.ever}"
    findings.expect(Rule.PNL, abs(made - told.ever) < HALF_PAISA, about, what)
