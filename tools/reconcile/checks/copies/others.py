"""The venue's book, what strategy believes to hold, which panics are in force, and who may not trade."""

from collections import defaultdict
from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ValidationError

from tools.reconcile.checks.compare import differences
from tools.reconcile.checks.copies.agreement import FORGETFUL, agree, none_missing
from tools.reconcile.checks.owner import PAPER, Owner
from tools.reconcile.fold import Facts
from tools.reconcile.rows import (
    PanicEpoch,
    RiskHalt,
    ShownPanic,
    SignalsUser,
    StrategyAccount,
    StrategyAlgo,
    StrategyHolding,
    StrategyUser,
    UserAccess,
    VenueOrder,
)
from tools.reconcile.rules import Findings, Rule, Subject, account, order
from tools.reconcile.tables import Tables

VENUE_STATES = frozenset({"ACCEPTED", "PARTIALLY_FILLED", "FILLED", "CANCELLED", "REJECTED", "EXPIRED"})


async def panics(tables: Tables, findings: Findings) -> None:
    truth = {row.scope: (row.epoch, row.halted) async for row in tables.read(PanicEpoch) if row.epoch}
    shown = {row.scope: (row.epoch, row.in_force) async for row in tables.read(ShownPanic) if row.epoch}
    halts = {row.scope: (row.epoch, row.halted) async for row in tables.read(RiskHalt) if row.epoch}
    for scope in truth.keys() | shown.keys() | halts.keys():
        about = Subject(f"panic scope {scope}", (scope,))
        for who, copy in (("the gateway", shown), ("risk", halts)):
            agree([("(epoch, in force)", copy.get(scope), truth.get(scope))], who, about, findings)


async def access(tables: Tables, findings: Findings) -> None:
    """Who may not trade: his webhooks are signals', his algos strategy's, and both must know."""
    truth = {row.user_id: (row.may_trade, row.version) async for row in tables.read(UserAccess)}
    signals = {row.user_id: (row.may_trade, row.version) async for row in tables.read(SignalsUser)}
    strategies = {row.user_id: (row.may_trade, row.version) async for row in tables.read(StrategyUser)}
    for user_id in truth.keys() | signals.keys() | strategies.keys():
        about = Subject(f"user {user_id}", (str(user_id),))
        for who, copy in (("signals", signals), ("strategy", strategies)):
            differ = differences([("(may trade, version)", copy.get(user_id), truth.get(user_id))], who, "the gateway")
            findings.expect(Rule.COPIES, not differ, about, differ)


async def venue(facts: Facts, owner: Owner, tables: Tables, now: datetime, findings: Findings) -> None:
    """The paper venue's, which has no order of an account at a broker."""
    elsewhere = {each.account_id: each.broker for each in owner.accounts.values() if each.broker != PAPER}
    sent = (known for known in facts.orders.values() if known.venue_requests)
    asked = {known.order_id for known in sent if known.account_id not in elsewhere}
    async for row in tables.read(VenueOrder):
        asked.discard(row.order_id)
        known, about = facts.orders.get(row.order_id), order(row.order_id)
        if known is None:
            what = f"is {row.status} in the venue's book, and nothing on the log tells of it"
            findings.expect(Rule.VENUE, False, about, what)
            continue
        what = f"is in the paper venue's book, and its account is at {elsewhere.get(known.account_id)}"
        findings.expect(Rule.VENUE, known.account_id not in elsewhere, about, what, known.last_at)
        pairs: list[tuple[str, object, object]] = [("executions told", row.executions, known.executions)]
        pairs += [("account", row.account_id, known.account_id), ("instrument", row.instrument, known.instrument)]
        pairs.append(("side", row.side, known.side.value))
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


class HoldingState(BaseModel):
    """What the checker knows of a holding's state: open quantities by instrument and product."""

    books: dict[str, int] = {}


async def strategy(owner: Owner, tables: Tables, findings: Findings) -> None:
    truth = {each.account_id: each for each in owner.accounts.values() if not each.deleted}
    missing = set(truth)
    async for row in tables.read(StrategyAccount):
        missing.discard(row.account_id)
        known = truth.get(row.account_id)
        copy = (row.user_id, row.name, row.active)
        pairs = [("(owner, name, active)", copy, (known.user_id, known.name, known.active) if known else None)]
        agree(pairs, "strategy", account(row.account_id), findings)
    none_missing(map(account, missing), "strategy", findings)
    await _holdings(owner, tables, findings)


async def _holdings(owner: Owner, tables: Tables, findings: Findings) -> None:
    """What an algo believes to hold in an account is what trading's books hold for it."""
    algos = {row.algo_id async for row in tables.read(StrategyAlgo)}
    truth: defaultdict[tuple[UUID, UUID], dict[str, int]] = defaultdict(dict)
    for (account_id, instrument, product, strategy_id), row in owner.books.items():
        if strategy_id in algos and row.quantity:
            truth[strategy_id, account_id][f"{instrument} {product}"] = row.quantity
    held: defaultdict[tuple[UUID, UUID], dict[str, int]] = defaultdict(dict)
    async for kept in tables.read(StrategyHolding):
        try:
            held[kept.algo_id, kept.account_id] |= HoldingState.model_validate_json(kept.state).books
        except ValidationError as error:
            about = Subject(f"holding of algo {kept.algo_id}", (str(kept.algo_id), str(kept.account_id)))
            findings.expect(Rule.COPIES, False, about, f"cannot be read: {error}")
    for algo_id, account_id in truth.keys() | held.keys():
        about = Subject(f"algo {algo_id} in account {account_id}", (str(algo_id), str(account_id)))
        pairs = [("holdings", held.get((algo_id, account_id), {}), truth.get((algo_id, account_id), {}))]
        agree(pairs, "strategy", about, findings)
