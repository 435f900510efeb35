"""The tables that a sound history leaves behind: the owner's rows and the copies of the others."""

import json
from collections import defaultdict
from decimal import Decimal
from typing import Any
from uuid import UUID

from libs.common.contracts.brokers import PositionsCompared
from libs.common.contracts.enums import OrderPurpose, OrderStatus, Product, Side
from libs.common.contracts.risk import RiskLimit
from tests.tools.reconcile.world.held import INSTRUMENT, NIL, UNIT, ZERO, Held, Placed
from tests.tools.reconcile.world.history import History
from tools.reconcile import rows


def settle(world: History) -> None:
    """Write every table, the owner's and the copies."""
    for placed in world.orders.values():
        _order(world, placed)
    for name, held in world.nets.items():
        _position(world, name, held)
    for (name, strategy_id), held in world.books.items():
        _book(world, name, strategy_id, held)
    _account(world)
    _settlements(world)
    for scope, (epoch, halted) in world.epochs.items():
        world.rows[rows.PanicEpoch].append(rows.PanicEpoch(scope, epoch, halted))
        world.rows[rows.RiskHalt].append(rows.RiskHalt(scope, epoch, halted))
        world.rows[rows.ShownPanic].append(rows.ShownPanic(scope, epoch, halted))
    world.rows[rows.Panic].extend(world.panics)
    _limits(world)
    if world.access:
        for kind in (rows.UserAccess, rows.SignalsUser, rows.StrategyUser):
            world.rows[kind].append(kind(world.user_id, *world.access))
    if world.compared is not None:
        _comparison(world, world.compared)


def _limits(world: History) -> None:
    for limit, (version, deleted) in world.limits.items():
        _limit(world, limit, version, deleted=deleted)


def _limit(world: History, limit: RiskLimit, version: int, *, deleted: bool) -> None:
    kept: dict[str, Any] = {name: getattr(limit, name, None) for name in rows.columns(rows.KeptLimit).split(", ")}
    kept |= {"level": limit.level.value, "active": not deleted, "deleted": deleted, "version": version}
    world.rows[rows.KeptLimit].append(rows.KeptLimit(**kept))
    watched = {"STOP_LOSS": limit.stop_loss, "DAILY_LOSS": limit.max_daily_loss}
    for kind, amount in watched.items():
        if amount is not None and not deleted:
            world.rows[rows.KeptWatch].append(rows.KeptWatch(limit.limit_id, kind, amount))
    shown = rows.ShownLimit(limit.limit_id, 1, deleted, limit.model_dump_json())
    world.rows[rows.ShownLimit].append(shown)


def _comparison(world: History, compared: PositionsCompared) -> None:
    told = [
        {"symbol": each.broker_symbol, "product": each.product, "ours": each.ours, "theirs": each.theirs}
        for each in compared.differences
    ]
    own = rows.TradingComparison(world.account_id, compared.version, json.dumps(told), compared.problem)
    world.rows[rows.TradingComparison].append(own)
    shown = rows.ShownComparison(world.account_id, compared.version, compared.model_dump_json())
    world.rows[rows.ShownComparison].append(shown)


def _settlements(world: History) -> None:
    if world.worth is not None:
        noted = rows.TradingSettlement(INSTRUMENT, world.worth, world.worth)
        world.rows[rows.TradingSettlement].append(noted)
    for event in world.settled:
        shown = {name: getattr(event, name) for name in rows.columns(rows.ShownSettlement).split(", ")}
        world.rows[rows.ShownSettlement].append(rows.ShownSettlement(**shown))


def _order(world: History, placed: Placed) -> None:
    _owned_order(world, placed)
    _shown_order(world, placed)
    _reservation(world, placed)
    _answer(world, placed)
    if placed.status is not OrderStatus.DENIED:
        _venue_order(world, placed)
    if placed.fill_ids:
        world.rows[rows.BookedExecutions].append(rows.BookedExecutions(placed.order_id, placed.filled_by))
        whose = f"{world.account_id} {placed.terms.get('strategy_id') or 'by hand'}"
        told_of = f"{whose} {INSTRUMENT} {placed.terms['side'].value} MIS"
        shown = rows.ShownFills(placed.order_id, placed.fill_ids, placed.filled, placed.value, [told_of])
        world.rows[rows.ShownFills].append(shown)


def _terms(world: History, placed: Placed) -> dict[str, Any]:
    """What every service keeps of an order."""
    return {
        "order_id": placed.order_id,
        "account_id": world.account_id,
        "strategy_id": placed.terms.get("strategy_id"),
        "instrument": INSTRUMENT,
        "product": Product.MIS.value,
        "side": placed.terms["side"].value,
    }


def _prices(placed: Placed) -> dict[str, Any]:
    return {
        "order_type": placed.terms["order_type"].value,
        "price": placed.terms["price"],
        "trigger_price": None,
        "status": placed.status.value,
        "filled_quantity": placed.filled,
        "broker_order_id": placed.broker_order_id,
    }


def _owned_order(world: History, placed: Placed) -> None:
    world.rows[rows.TradingOrder].append(
        rows.TradingOrder(
            **_terms(world, placed),
            **_prices(placed),
            user_id=world.user_id,
            quantity=placed.quantity,
            purpose=placed.terms.get("purpose", OrderPurpose.ENTRY).value,
            is_open=not placed.status.is_final,
            version=placed.version,
            epoch=placed.epoch,
            margin=placed.margin,
            filled_value=placed.value,
            tag="TAG",
            change=None,
        )
    )


def _shown_order(world: History, placed: Placed) -> None:
    world.rows[rows.ShownOrder].append(
        rows.ShownOrder(
            **_terms(world, placed),
            **_prices(placed),
            quantity=placed.quantity,
            average_price=placed.average_price,
            version=placed.version or 1,
            requested_at=placed.terms["requested_at"],
        )
    )


def _reservation(world: History, placed: Placed) -> None:
    denied = placed.status is OrderStatus.DENIED
    opens = not denied and placed.margin > 0
    world.rows[rows.Reservation].append(
        rows.Reservation(
            **_terms(world, placed),
            quantity=0 if denied else placed.quantity,
            increasing=placed.quantity if opens else 0,
            unit_margin=ZERO if denied else UNIT,
            proposed_quantity=None,
            filled=placed.filled,
            closed=denied or placed.status is OrderStatus.CANCELLED,
            decided_at=world.now,
        )
    )


def _answer(world: History, placed: Placed) -> None:
    denied = placed.status is OrderStatus.DENIED
    status = {"status": 422, "code": "order_denied"} if denied else {"status": placed.status.value}
    body = json.dumps({"order_id": str(placed.order_id), **status}).encode()
    code = 422 if denied else 201
    world.rows[rows.Answer].append(rows.Answer(f"key {placed.order_id}", placed.order_id, code, body, world.now))


def _venue_order(world: History, placed: Placed) -> None:
    kept = rows.VenueOrder(
        placed.order_id,
        world.account_id,
        INSTRUMENT,
        placed.terms["side"].value,
        placed.quantity,
        placed.status.value,
        placed.filled,
        len(placed.executions),
    )
    world.rows[rows.VenueOrder].append(kept)


def _position(world: History, name: str, held: Held) -> None:
    margin, version, said = held.margin, world.versions[name], held.state()
    traded = (held.bought, held.sold, held.bought_value, held.sold_value)
    own = rows.TradingPosition(
        world.account_id, name, "MIS", held.quantity, held.cost, held.realised, *traded, margin, version
    )
    world.rows[rows.TradingPosition].append(own)
    world.rows[rows.ShownPosition].append(
        rows.ShownPosition(
            world.account_id, name, "MIS", held.quantity, said.average_price, held.realised, *traded, margin, version
        )
    )
    _exposure(world, name, NIL, held, margin, version)


def _book(world: History, name: str, strategy_id: UUID, held: Held) -> None:
    book = rows.TradingBook(world.account_id, name, "MIS", strategy_id, held.quantity, held.cost, held.realised)
    world.rows[rows.TradingBook].append(book)
    if strategy_id == NIL:
        return
    average = held.state().average_price
    world.rows[rows.ShownBook].append(
        rows.ShownBook(world.account_id, strategy_id, name, "MIS", held.quantity, average, held.realised)
    )
    _exposure(world, name, strategy_id, held, ZERO, world.versions[name])
    if not world.rows[rows.StrategyAlgo]:
        world.rows[rows.StrategyAlgo].append(rows.StrategyAlgo(strategy_id))
    if held.quantity:
        state = json.dumps({"books": {f"{name} MIS": held.quantity}})
        world.rows[rows.StrategyHolding].append(rows.StrategyHolding(strategy_id, world.account_id, state))


def _exposure(world: History, name: str, strategy_id: UUID, held: Held, margin: Decimal, version: int) -> None:
    pending: defaultdict[Side, int] = defaultdict(int)
    for placed in world.orders.values():
        if not placed.status.is_final and strategy_id in (NIL, placed.terms.get("strategy_id")):
            pending[placed.terms["side"]] += placed.quantity - placed.filled
    world.rows[rows.RiskExposure].append(
        rows.RiskExposure(
            world.account_id,
            strategy_id,
            name,
            "MIS",
            held.quantity,
            held.state().average_price,
            held.realised,
            margin,
            version,
            pending[Side.BUY],
            pending[Side.SELL],
        )
    )


def _account(world: History) -> None:
    blocked = sum((p.margin for p in world.orders.values() if not p.status.is_final), ZERO)
    held = sum((net.margin for net in world.nets.values()), ZERO)
    open_now = any(not p.status.is_final for p in world.orders.values())
    world.rows[rows.TradingAccount].append(
        rows.TradingAccount(
            account_id=world.account_id,
            user_id=world.user_id,
            name="own",
            broker="paper",
            active=True,
            deleted=False,
            capital=world.capital,
            version=1,
            opening_balance=world.opening,
            realised_pnl=world.realised,
            used_margin=world.used,
            funds_version=world.funds_version,
            day=world.day,
            square_offs=0,
        )
    )
    positions = int(any(net.quantity for net in world.nets.values()) or (open_now and bool(world.nets)))
    world.rows[rows.RiskAccount].append(
        rows.RiskAccount(
            world.account_id, world.user_id, True, world.opening, world.realised, blocked, held, positions, "paper"
        )
    )
    left = world.opening + world.realised - world.used
    world.rows[rows.ShownFunds].append(
        rows.ShownFunds(world.account_id, world.opening, world.realised, world.used, left, world.funds_version)
    )
    world.rows[rows.ShownAccount].append(rows.ShownAccount(world.account_id, 1, False))
    world.rows[rows.StrategyAccount].append(rows.StrategyAccount(world.account_id, world.user_id, "own", True))
