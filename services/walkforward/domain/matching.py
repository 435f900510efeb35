"""How orders meet the market: who trades, how much and at which price.

An order that comes to a market takes the opposite side's prices. One that rests waits for the market to come to it,
or to trade beyond it, and trades at its own limit price: who sold for less would have met it first, while of what was
sold at its limit others may have been first. Nobody trades at a price worse than its limit, or with what another order
took.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from libs.common.contracts.enums import ExecutionKind, Side, Validity
from libs.common.contracts.venue import ExecutionReported
from services.walkforward.domain.market import Level, Market
from services.walkforward.domain.orders import Change, Order, expire, fill, report

FURTHEST_AHEAD = timedelta(seconds=60)
"""The longest latency that can be set, and more than the clocks of two machines lie apart."""


@dataclass(frozen=True, slots=True)
class Met:
    """An order and the market after they met; the market lacks what the order took."""

    change: Change
    market: Market


@dataclass(frozen=True, slots=True)
class Sweep:
    """What one market did to an instrument's orders: those that changed, what to report, what is left to trade with."""

    orders: tuple[Order, ...]
    executions: tuple[ExecutionReported, ...]
    market: Market


def sweep(orders: Iterable[Order], market: Market, now: datetime) -> Sweep:
    """Let the orders of one instrument meet a market, one after the other in price-time priority."""
    changed: list[Order] = []
    executions: list[ExecutionReported] = []
    for order in sorted(orders, key=_priority):
        met = meet(order, market, now)
        market = met.market
        if met.change.order is not order:
            changed.append(met.change.order)
            executions.extend(met.change.executions)
    return Sweep(tuple(changed), tuple(executions), market)


def believes(order: Order, market: Market, stale_after: timedelta) -> bool:
    """An order takes no market that was old already when it became active, or got its terms, whenever it is told.

    One that was decided before may have become active by a clock that was ahead: when the market came counts then.
    """
    came = max(order.active_from, order.priority_at)
    since = came if order.seen is None else min(came, market.at)
    return market.is_fresh(since, stale_after)


def meet(order: Order, market: Market, now: datetime) -> Met:
    """Decide one order on one market; a market that it was decided on before changes nothing."""
    if not _may_meet(order, market, now):
        return Met(Change(order), market)
    change = _trigger(order, market, now)
    live = change.order
    if live.is_dormant:
        return Met(_looked(order, change, market), market)
    arriving = order.seen is None or order.is_dormant or live.limit is None
    trades, market = _take(live, market) if arriving else _wait(live, market)
    for trade in trades:
        change = change.then(fill(change.order, trade.quantity or 0, trade.price, now))
    if change.order.is_open and live.validity is Validity.IOC:
        change = change.then(expire(change.order, now))
    return Met(_looked(order, change, market), market)


def _may_meet(order: Order, market: Market, now: datetime) -> bool:
    """Times further ahead than any latency are of a clock that was set back: they hold up nothing."""
    ahead = now + FURTHEST_AHEAD
    if not order.is_open or now < order.active_from <= ahead or now >= order.expires_at:
        return False
    return order.seen is None or market.at > order.seen or order.seen > ahead


def _looked(before: Order, change: Change, market: Market) -> Change:
    """Remember the market that decided: the first one, and each one that changed the order."""
    if change.order is before and before.seen is not None:
        return change
    return Change(replace(change.order, seen=market.at), change.executions)


def _trigger(order: Order, market: Market, now: datetime) -> Change:
    """A stop wakes when its trigger price trades: upwards for a buyer, downwards for a seller."""
    if not order.is_dormant or order.trigger_price is None:
        return Change(order)
    last = market.highest if order.side is Side.BUY else market.lowest
    if not _saw_all(order, market):
        last = market.last
    if last is None or (last - order.trigger_price) * order.side.sign < 0:
        return Change(order)
    awake = replace(order, triggered=True, executions=order.executions + 1)
    return Change(awake, (report(awake, ExecutionKind.TRIGGERED, now, price=order.trigger_price),))


def _saw_all(order: Order, market: Market) -> bool:
    """The order was in the book during the whole of a folded market, so its extremes count for it."""
    return order.active_from <= market.since and (order.seen is None or order.seen < market.since)


def _take(order: Order, market: Market) -> tuple[Sequence[Level], Market]:
    """Walk the opposite side, best price first, up to the limit."""
    taken, left = _walk(market.facing(order.side), order)
    return taken, _with_facing(market, order.side, left)


def _wait(order: Order, market: Market) -> tuple[Sequence[Level], Market]:
    """Trade at the limit price with what came to it, now or at the extreme of a folded market, or traded beyond it."""
    limit = order.limit
    if limit is None:
        raise ValueError(f"{order.order_id} rests without a limit")
    taken, left = _walk(market.facing(order.side), order)
    if taken:
        return [Level(limit, _total(taken))], _with_facing(market, order.side, left)
    extreme, traded = market.extreme_facing(order.side), market.traded_facing(order.side)
    if extreme is not None and _saw_all(order, market):
        taken, left = _walk((extreme,), order)
        if taken:
            return [Level(limit, _total(taken))], _with_extreme(market, order.side, left)
    if traded is None or not _rested(order, market):
        return [], market
    taken, left = _walk((traded,), order)
    return [Level(limit, each.quantity) for each in taken], _with_traded(market, order.side, left)


def _rested(order: Order, market: Market) -> bool:
    """The order had met the market before the first of these trades was made."""
    return order.seen is not None and market.traded_since is not None and order.seen <= market.traded_since


def _walk(levels: Sequence[Level], order: Order) -> tuple[list[Level], tuple[Level, ...]]:
    """What the order takes of the levels, and what it leaves."""
    wanted = order.leaves
    taken: list[Level] = []
    left: list[Level] = []
    for level in levels:
        if wanted == 0 or not _within(level.price, order):
            left.append(level)
            continue
        quantity = wanted if level.quantity is None else min(wanted, level.quantity)
        taken.append(Level(level.price, quantity))
        wanted -= quantity
        if level.quantity is None:
            left.append(level)
        elif level.quantity > quantity:
            left.append(Level(level.price, level.quantity - quantity))
    return taken, tuple(left)


def _within(price: Decimal, order: Order) -> bool:
    limit = order.limit
    return price > 0 and (limit is None or (limit - price) * order.side.sign >= 0)


def _total(levels: Iterable[Level]) -> int:
    return sum(level.quantity or 0 for level in levels)


def _with_facing(market: Market, side: Side, left: tuple[Level, ...]) -> Market:
    return replace(market, asks=left) if side is Side.BUY else replace(market, bids=left)


def _with_extreme(market: Market, side: Side, left: tuple[Level, ...]) -> Market:
    extreme = left[0] if left else None
    return replace(market, lowest_ask=extreme) if side is Side.BUY else replace(market, highest_bid=extreme)


def _with_traded(market: Market, side: Side, left: tuple[Level, ...]) -> Market:
    traded = left[0] if left else None
    return replace(market, sold_under=traded) if side is Side.BUY else replace(market, bought_over=traded)


def _priority(order: Order) -> tuple[bool, bool, Decimal, datetime, int]:
    """Live orders before stops that this market wakes; any price before a limit; the better limit; the earlier."""
    limit = order.limit
    rank = Decimal(0) if limit is None else -limit * order.side.sign
    return order.is_dormant, limit is not None, rank, order.priority_at, order.order_id.int
