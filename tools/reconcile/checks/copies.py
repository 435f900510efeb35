"""The copies that others keep (gateway, risk, strategy, the venue) against their owner's."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from uuid import UUID

from pydantic import BaseModel, ValidationError

from libs.common.contracts.enums import OrderStatus
from tools.reconcile.checks.compare import differences
from tools.reconcile.checks.owner import Owner
from tools.reconcile.facts import AVERAGE, NIL, PAISA, ZERO, NetKey, Order
from tools.reconcile.fold import Facts
from tools.reconcile.rows import (
    PanicEpoch,
    Reservation,
    RiskAccount,
    RiskExposure,
    RiskHalt,
    ShownAccount,
    ShownBook,
    ShownFills,
    ShownFunds,
    ShownOrder,
    ShownPanic,
    ShownPosition,
    ShownSquareOff,
    StrategyAccount,
    StrategyAlgo,
    StrategyHolding,
    TradingBook,
    VenueOrder,
)
from tools.reconcile.rules import Findings, Rule, Subject, account, order, position
from tools.reconcile.tables import Tables

FORGETFUL = timedelta(hours=12)
"""Risk and the venue forget what was finished days ago; what is younger than this must be there."""
VENUE_STATES = frozenset({"ACCEPTED", "PARTIALLY_FILLED", "FILLED", "CANCELLED", "REJECTED", "EXPIRED"})


async def check_copies(facts: Facts, owner: Owner, tables: Tables, now: datetime, findings: Findings) -> None:
    await _shown_orders(facts, tables, findings)
    await _shown_fills(facts, tables, findings)
    await _shown_holdings(owner, tables, findings)
    await _shown_accounts(owner, tables, findings)
    await _panics(tables, findings)
    await _square_offs(owner, tables, findings)
    await _venue(facts, tables, now, findings)
    await _risk(facts, owner, tables, now, findings)
    await _strategy(owner, tables, findings)


async def _shown_orders(facts: Facts, tables: Tables, findings: Findings) -> None:
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


async def _shown_fills(facts: Facts, tables: Tables, findings: Findings) -> None:
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
        filled.discard(row.order_id)
    for order_id in filled:
        findings.expect(Rule.COPIES, False, order(order_id), "is filled, and the gateway shows no fill of it")


async def _shown_holdings(owner: Owner, tables: Tables, findings: Findings) -> None:
    missing = set(owner.positions)
    async for row in tables.read(ShownPosition):
        key = (row.account_id, row.instrument, row.product)
        missing.discard(key)
        held = owner.positions.get(key)
        if held is None:
            findings.expect(Rule.COPIES, False, position(*key), "is shown by the gateway, trading has none")
            continue
        pairs: list[tuple[str, object, object]] = [
            ("quantity", row.quantity, held.quantity),
            ("average price", row.average_price, _average(held.cost, held.quantity)),
            ("realised", row.realised_pnl, held.realised_pnl),
            ("bought", (row.bought_quantity, row.bought_value), (held.bought_quantity, held.bought_value)),
            ("sold", (row.sold_quantity, row.sold_value), (held.sold_quantity, held.sold_value)),
            ("margin", row.margin, held.margin),
            ("version", row.version, held.version),
        ]
        _agree(pairs, "the gateway", position(*key), findings)
    _none_missing((position(*key) for key in missing), "the gateway", findings)
    await _shown_books(owner, tables, findings)


async def _shown_books(owner: Owner, tables: Tables, findings: Findings) -> None:
    missing = {key for key in owner.books if key[3] != NIL}
    async for row in tables.read(ShownBook):
        key = (row.account_id, row.instrument, row.product, row.strategy_id)
        missing.discard(key)
        about, held = position(*key), owner.books.get(key)
        if held is None:
            findings.expect(Rule.COPIES, False, about, "is shown by the gateway, trading has none")
            continue
        _agree(_book_pairs(row, held), "the gateway", about, findings)
    _none_missing((position(*key) for key in missing), "the gateway", findings)


def _book_pairs(row: ShownBook | RiskExposure, held: TradingBook) -> list[tuple[str, object, object]]:
    return [
        ("quantity", row.quantity, held.quantity),
        ("average price", row.average_price, _average(held.cost, held.quantity)),
        ("realised", row.realised_pnl, held.realised_pnl),
    ]


def _average(cost: Decimal, quantity: int) -> Decimal:
    return abs(cost / quantity).quantize(AVERAGE) if quantity else ZERO


def _agree(pairs: Iterable[tuple[str, object, object]], who: str, about: Subject, findings: Findings) -> None:
    differ = differences(pairs, who, "trading")
    findings.expect(Rule.COPIES, not differ, about, differ)


def _none_missing(missing: Iterable[Subject], who: str, findings: Findings) -> None:
    for about in missing:
        findings.expect(Rule.COPIES, False, about, f"is in trading, and {who} does not have it")


async def _shown_accounts(owner: Owner, tables: Tables, findings: Findings) -> None:
    missing = set(owner.accounts)
    async for row in tables.read(ShownAccount):
        missing.discard(row.entity_id)
        known, about = owner.accounts.get(row.entity_id), account(row.entity_id)
        if known is None:
            findings.expect(Rule.COPIES, False, about, "is shown by the gateway, trading has none")
            continue
        pairs = [("version", row.version, known.version), ("deleted", row.deleted, known.deleted)]
        _agree(pairs, "the gateway", about, findings)
    _none_missing(map(account, missing), "the gateway", findings)
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
        _agree(money, "the gateway", about, findings)
    _none_missing(map(account, missing), "the gateway's funds", findings)


async def _panics(tables: Tables, findings: Findings) -> None:
    truth = {row.scope: (row.epoch, row.halted) async for row in tables.read(PanicEpoch) if row.epoch}
    shown = {row.scope: (row.epoch, row.in_force) async for row in tables.read(ShownPanic) if row.epoch}
    halts = {row.scope: (row.epoch, row.halted) async for row in tables.read(RiskHalt) if row.epoch}
    for scope in truth.keys() | shown.keys() | halts.keys():
        about = Subject(f"panic scope {scope}", (scope,))
        for who, copy in (("the gateway", shown), ("risk", halts)):
            _agree([("(epoch, in force)", copy.get(scope), truth.get(scope))], who, about, findings)


async def _square_offs(owner: Owner, tables: Tables, findings: Findings) -> None:
    shown = {row.square_off_id: row.completed_at is not None async for row in tables.read(ShownSquareOff)}
    truth = {each.square_off_id: each.completed_at is not None for each in owner.square_offs.values()}
    for square_off_id in truth.keys() | shown.keys():
        about = Subject(f"square-off {square_off_id}", (str(square_off_id),))
        _agree([("completed", shown.get(square_off_id), truth.get(square_off_id))], "the gateway", about, findings)


async def _venue(facts: Facts, tables: Tables, now: datetime, findings: Findings) -> None:
    asked = {known.order_id for known in facts.orders.values() if known.venue_requests}
    async for row in tables.read(VenueOrder):
        asked.discard(row.order_id)
        known, about = facts.orders.get(row.order_id), order(row.order_id)
        if known is None:
            what = f"is {row.status} in the venue's book, and nothing on the log tells of it"
            findings.expect(Rule.VENUE, False, about, what)
            continue
        pairs: list[tuple[str, object, object]] = [("executions told", row.executions, known.executions)]
        if known.status.value in VENUE_STATES:
            pairs += [("status", row.status, known.status.value), ("filled", row.filled, known.filled)]
            pairs += [("quantity", row.quantity, known.quantity)]
        differ = differences(pairs, "the venue's book", "the log")
        findings.expect(Rule.VENUE, known.from_the_middle or not differ, about, differ, known.last_at)
    for order_id in asked:
        known = facts.orders[order_id]
        if known.last_at is not None and now - known.last_at < FORGETFUL:
            what = "was sent to the venue, and is not in its book"
            findings.expect(Rule.VENUE, False, order(order_id), what, known.last_at)


async def _risk(facts: Facts, owner: Owner, tables: Tables, now: datetime, findings: Findings) -> None:
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
    return (row.unit_margin * units).quantize(PAISA, ROUND_HALF_UP)


def _reservation(row: Reservation, known: Order, findings: Findings) -> None:
    over = row.closed or row.filled >= row.quantity
    pairs: list[tuple[str, object, object]] = [
        ("over", over, known.status.is_final),
        ("filled", row.filled, known.filled),
        ("change under way", row.proposed_quantity is not None, False),
    ]
    if known.submissions:
        pairs.append(("quantity", row.quantity, known.quantity))
    differ = differences(pairs, "risk", "trading")
    findings.expect(Rule.COPIES, known.from_the_middle or not differ, order(row.order_id), differ, known.last_at)


async def _exposures(
    owner: Owner, pending: dict[tuple[UUID, str, str, UUID, str], int], tables: Tables, findings: Findings
) -> dict[UUID, int]:
    """Risk's copy of positions and books; how many positions of each account are open, or about to be."""
    in_use: defaultdict[UUID, int] = defaultdict(int)
    missing: set[NetKey] = set(owner.positions)
    async for row in tables.read(RiskExposure):
        key = (row.account_id, row.instrument, row.product)
        is_net = row.strategy_id == NIL
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
    _none_missing((position(*key) for key in missing), "risk", findings)
    return in_use


def _exposure(row: RiskExposure, owner: Owner, about: Subject, findings: Findings) -> None:
    key = (row.account_id, row.instrument, row.product)
    if row.strategy_id != NIL:
        book = owner.books.get((*key, row.strategy_id))
        if book is not None:
            _agree(_book_pairs(row, book), "risk", about, findings)
        else:
            _agree([("quantity", row.quantity, 0)], "risk", about, findings)
        return
    held = owner.positions.get(key)
    if held is None:
        _agree([("quantity", row.quantity, 0)], "risk", about, findings)
        return
    pairs: list[tuple[str, object, object]] = [
        ("quantity", row.quantity, held.quantity),
        ("average price", row.average_price, _average(held.cost, held.quantity)),
        ("realised", row.realised_pnl, held.realised_pnl),
        ("margin", row.margin, held.margin),
        ("version", row.version, held.version),
    ]
    _agree(pairs, "risk", about, findings)


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
            ("opening balance", kept.opening_balance, known.opening_balance),
            ("realised", kept.realised_pnl, known.realised_pnl),
            ("position margin", kept.position_margin, held[kept.account_id]),
        ]
        _agree(pairs, "risk", about, findings)
        own: list[tuple[str, object, object]] = [
            ("order margin", kept.order_margin, margins.get(kept.account_id, ZERO)),
            ("open positions", kept.open_positions, in_use.get(kept.account_id, 0)),
        ]
        differ = differences(own, "risk's account", "its open orders and positions")
        findings.expect(Rule.COPIES, not differ, about, differ)
    _none_missing(map(account, missing), "risk", findings)


class HoldingState(BaseModel):
    """What the checker knows of a holding's state: open quantities by instrument and product."""

    books: dict[str, int] = {}


async def _strategy(owner: Owner, tables: Tables, findings: Findings) -> None:
    truth = {each.account_id: each for each in owner.accounts.values() if not each.deleted}
    missing = set(truth)
    async for row in tables.read(StrategyAccount):
        missing.discard(row.account_id)
        known = truth.get(row.account_id)
        copy = (row.user_id, row.name, row.active)
        pairs = [("(owner, name, active)", copy, (known.user_id, known.name, known.active) if known else None)]
        _agree(pairs, "strategy", account(row.account_id), findings)
    _none_missing(map(account, missing), "strategy", findings)
    await _holdings(owner, tables, findings)


async def _holdings(owner: Owner, tables: Tables, findings: Findings) -> None:
    """What an algo believes to hold in an account is what trading's books hold for it."""
    algos = {row.algo_id async for row in tables.read(StrategyAlgo)}
    truth: defaultdict[tuple[UUID, UUID], dict[str, int]] = defaultdict(dict)
    for (account_id, instrument, product, strategy_id), row in owner.books.items():
        if strategy_id in algos and row.quantity:
            truth[strategy_id, account_id][f"{instrument} {product}"] = row.quantity
    held: dict[tuple[UUID, UUID], dict[str, int]] = {}
    async for kept in tables.read(StrategyHolding):
        try:
            held[kept.algo_id, kept.account_id] = HoldingState.model_validate_json(kept.state).books
        except ValidationError as error:
            about = Subject(f"holding of algo {kept.algo_id}", (str(kept.algo_id), str(kept.account_id)))
            findings.expect(Rule.COPIES, False, about, f"cannot be read: {error}")
    for algo_id, account_id in truth.keys() | held.keys():
        about = Subject(f"algo {algo_id} in account {account_id}", (str(algo_id), str(account_id)))
        pairs = [("holdings", held.get((algo_id, account_id), {}), truth.get((algo_id, account_id), {}))]
        _agree(pairs, "strategy", about, findings)
