"""A small platform on paper: what a sound log and sound tables look like, message by message and row by row.

Every unit that an order opens blocks ten rupees, and no order both closes and opens: so margins are easy to see.
"""

import json
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from libs.common.contracts import topics
from libs.common.contracts.accounts import Account, AccountSaved
from libs.common.contracts.algos import SignalActedOn
from libs.common.contracts.base import Message
from libs.common.contracts.enums import (
    Broker,
    DenialRule,
    ExecutionKind,
    OrderPurpose,
    OrderStatus,
    OrderType,
    Product,
    RiskLevel,
    Side,
    SignalType,
)
from libs.common.contracts.orders import (
    FillReported,
    OrderAccepted,
    OrderCancelled,
    OrderCleared,
    OrderDenied,
    OrderModified,
    OrderModifyCleared,
    OrderRequested,
    OrderSubmitted,
)
from libs.common.contracts.portfolio import FundsChanged, PositionChanged, PositionState
from libs.common.contracts.risk import PanicRaised, PanicRequested, PanicReset, PanicResetRequested
from libs.common.contracts.signals import SignalReceived
from libs.common.contracts.venue import ExecutionReported, VenueModifyRequested, VenueOrderRequested
from libs.common.service import Topic
from tests.tools.reconcile.memory import MemoryLog, MemoryTables
from tools.reconcile import Sources, rows
from tools.reconcile.facts import trading_day
from tools.reconcile.record import Record
from tools.reconcile.rest import READERS

BEGINNING = datetime(2026, 11, 20, 5, 0, tzinfo=UTC)
UNIT = Decimal(10)
ZERO = Decimal(0)
NIL = UUID(int=0)
INSTRUMENT = "NSE:SBIN"


@dataclass
class Placed:
    """An order, and what its tables show of it."""

    terms: dict[str, Any]
    status: OrderStatus
    version: int
    margin: Decimal = ZERO
    epoch: int = 0
    quantity: int = 0
    filled: int = 0
    value: Decimal = ZERO
    broker_order_id: str | None = None
    executions: list[str] = field(default_factory=list)
    filled_by: list[str] = field(default_factory=list)
    fill_ids: list[UUID] = field(default_factory=list)

    @property
    def order_id(self) -> UUID:
        found: UUID = self.terms["order_id"]
        return found


@dataclass(frozen=True)
class Booked:
    order_id: UUID
    quantity: int
    price: Decimal


@dataclass
class Held:
    quantity: int = 0
    cost: Decimal = ZERO
    realised: Decimal = ZERO
    bought: int = 0
    sold: int = 0
    bought_value: Decimal = ZERO
    sold_value: Decimal = ZERO

    def take(self, signed: int, price: Decimal) -> Decimal:
        closes = self.quantity * signed < 0
        gain = ZERO
        if closes:
            average = self.cost / self.quantity
            gain = (average - price) * signed
            self.cost += average * signed
        else:
            self.cost += price * signed
        self.quantity += signed
        self.realised += gain
        self.bought, self.bought_value = self.bought + max(signed, 0), self.bought_value + price * max(signed, 0)
        self.sold, self.sold_value = self.sold + max(-signed, 0), self.sold_value + price * max(-signed, 0)
        return gain

    def begin_day(self) -> None:
        self.realised = self.bought_value = self.sold_value = ZERO
        self.bought = self.sold = 0

    def state(self) -> PositionState:
        return PositionState(
            quantity=self.quantity,
            average_price=abs(self.cost / self.quantity) if self.quantity else ZERO,
            realised_pnl=self.realised,
            bought_quantity=self.bought,
            sold_quantity=self.sold,
            bought_value=self.bought_value,
            sold_value=self.sold_value,
        )


class World:
    """One user with one account. Call its methods to make history, then `settle` to have its tables."""

    def __init__(self, capital: Decimal = Decimal(100_000)) -> None:
        self.records: list[Record] = []
        self.rows: dict[type[rows.Row], list[Any]] = defaultdict(list)
        self.common: dict[tuple[type[rows.Row], str], list[Any]] = defaultdict(list)
        self.lost: dict[str, int] = {}
        self.now = BEGINNING
        self.day = trading_day(self.now)
        self.orders: dict[UUID, Placed] = {}
        self.nets: defaultdict[str, Held] = defaultdict(Held)
        self.books: defaultdict[tuple[str, UUID], Held] = defaultdict(Held)
        self.versions: defaultdict[str, int] = defaultdict(int)
        self.panics: list[rows.Panic] = []
        self.fills: list[Booked] = []
        self.epochs: dict[str, tuple[int, bool]] = {}
        self.capital = self.opening = capital
        self.realised = ZERO
        self.used = ZERO
        self.funds_version = 0
        self._ids = 0
        self._ends: defaultdict[str, int] = defaultdict(int)
        self.user_id, self.account_id, self.strategy_id = self.new_id(), self.new_id(), self.new_id()
        saved = Account(
            account_id=self.account_id,
            user_id=self.user_id,
            name="own",
            broker=Broker.PAPER,
            opening_balance=capital,
        )
        self.say(
            topics.ACCOUNTS, AccountSaved(account_id=self.account_id, user_id=self.user_id, account=saved, version=1)
        )
        self._tell_funds()

    # What happens

    def new_id(self) -> UUID:
        self._ids += 1
        return UUID(int=0x01A0_0000_0000_7000_8000_0000_0000_0000 + self._ids)

    def say(self, topic: Topic, message: Message, message_id: UUID | None = None, story: UUID | None = None) -> Record:
        self.now += timedelta(milliseconds=10)
        own = message_id or self.new_id()
        offset = self._ends[topic.name]
        self._ends[topic.name] += 1
        record = Record(
            topic.name,
            0,
            offset,
            int(self.now.timestamp() * 1000),
            topic.key_of(message),
            {
                "ce_id": str(own).encode(),
                "ce_type": type(message).__name__.encode(),
                "ce_source": b"/services/test",
                "ce_time": self.now.isoformat().encode(),
                "ce_correlationid": str(story or own).encode(),
            },
            message.model_dump_json().encode(),
        )
        self.records.append(record)
        return record

    def wish(self, side: Side, quantity: int, price: str | None = None, **more: Any) -> dict[str, Any]:
        """The terms of an order; a market order without a price."""
        return {
            "order_id": self.new_id(),
            "account_id": self.account_id,
            "user_id": self.user_id,
            "instrument": INSTRUMENT,
            "side": side,
            "quantity": quantity,
            "order_type": OrderType.LIMIT if price else OrderType.MARKET,
            "product": Product.MIS,
            "price": Decimal(price) if price else None,
            "requested_at": self.now,
            **more,
        }

    def request(self, terms: dict[str, Any]) -> None:
        wish = OrderRequested(**terms, expires_at=self.now + timedelta(seconds=10))
        self.say(topics.ORDER_REQUESTS, wish, terms["order_id"])

    def place(self, terms: dict[str, Any], *, epoch: int | None = None, opens: bool = True) -> UUID:
        """Asked for, cleared, submitted, sent, accepted."""
        self.request(terms)
        epoch = sum(each for each, _ in self.epochs.values()) if epoch is None else epoch
        margin = UNIT * terms["quantity"] if opens else ZERO
        self.say(topics.RISK_DECISIONS, OrderCleared(**terms, epoch=epoch, margin=margin))
        self.submit(terms, epoch, margin)
        return self.accept(terms["order_id"])

    def submit(self, terms: dict[str, Any], epoch: int, margin: Decimal) -> None:
        self.say(topics.TRADING_EVENTS, OrderSubmitted(**terms, epoch=epoch, margin=margin))
        placed = Placed(terms, OrderStatus.SUBMITTED, 1, margin, epoch, terms["quantity"])
        self.orders[placed.order_id] = placed
        self._move(margin)
        self.send(terms)

    def send(self, terms: dict[str, Any]) -> None:
        named = {name: terms[name] for name in ("order_id", "account_id", "instrument", "side", "quantity")}
        kinds = {name: terms[name] for name in ("order_type", "product", "price")}
        rest = {"validity": "DAY", "trigger_price": None, "tag": "TAG"}
        self.say(topics.VENUE_REQUESTS, VenueOrderRequested(**named, **kinds, **rest))

    def accept(self, order_id: UUID) -> UUID:
        placed = self.orders[order_id]
        placed.broker_order_id = f"WF-{order_id.hex}"
        self.execute(order_id, ExecutionKind.ACCEPTED)
        self.step(order_id, OrderAccepted, OrderStatus.ACCEPTED, broker_order_id=placed.broker_order_id)
        return order_id

    def execute(self, order_id: UUID, kind: ExecutionKind, quantity: int = 0, price: Decimal | None = None) -> str:
        placed = self.orders[order_id]
        execution_id = f"{order_id.hex}-{len(placed.executions) + 1}"
        placed.executions.append(execution_id)
        report = ExecutionReported(
            order_id=order_id,
            account_id=self.account_id,
            instrument=INSTRUMENT,
            kind=kind,
            execution_id=execution_id,
            venue_order_id=f"WF-{order_id.hex}",
            quantity=quantity,
            price=price,
            executed_at=self.now,
        )
        self.say(topics.EXECUTIONS, report)
        return execution_id

    def step(self, order_id: UUID, event: type[Message], status: OrderStatus, **more: Any) -> Record:
        placed = self.orders[order_id]
        placed.version += 1
        placed.status = status
        fact = {
            "order_id": order_id,
            "account_id": self.account_id,
            "user_id": self.user_id,
            "strategy_id": placed.terms.get("strategy_id"),
            "instrument": INSTRUMENT,
            "status": status,
            "version": placed.version,
            "filled_quantity": placed.filled,
            "average_price": (placed.value / placed.filled).quantize(Decimal("0.0001")) if placed.filled else None,
        }
        return self.say(topics.TRADING_EVENTS, event(**fact, **more))

    def fill(self, order_id: UUID, quantity: int, price: str) -> None:
        """The venue fills, trading books."""
        placed, at = self.orders[order_id], Decimal(price)
        execution_id = self.execute(order_id, ExecutionKind.FILLED, quantity, at)
        placed.filled_by.append(execution_id)
        self.report_fill(order_id, quantity, at, execution_id)
        self.book(order_id, quantity, at)

    def report_fill(self, order_id: UUID, quantity: int, price: Decimal, execution_id: str) -> None:
        placed = self.orders[order_id]
        placed.filled += quantity
        placed.value += quantity * price
        placed.fill_ids.append(self.new_id())
        self.fills.append(Booked(order_id, quantity, price))
        status = OrderStatus.FILLED if placed.filled >= placed.quantity else OrderStatus.PARTIALLY_FILLED
        self.step(
            order_id,
            FillReported,
            placed.status if placed.status.is_final and status is OrderStatus.PARTIALLY_FILLED else status,
            fill_id=placed.fill_ids[-1],
            broker_fill_id=execution_id,
            side=placed.terms["side"],
            product=Product.MIS,
            quantity=quantity,
            price=price,
            filled_at=self.now,
        )

    def book(self, order_id: UUID, quantity: int, price: Decimal) -> None:
        placed = self.orders[order_id]
        strategy_id = placed.terms.get("strategy_id")
        signed = placed.terms["side"].sign * quantity
        net, book = self.nets[INSTRUMENT], self.books[INSTRUMENT, strategy_id or NIL]
        held = abs(net.quantity)
        gain = net.take(signed, price)
        book.take(signed, price)
        placed.margin -= min(UNIT * quantity, placed.margin)
        self._tell_position(strategy_id, order_id, quantity)
        freed = UNIT * max(held - abs(net.quantity), 0)
        self.realised += gain
        if gain or freed:
            self._move(-freed)

    def cancel(self, order_id: UUID) -> None:
        placed = self.orders[order_id]
        self.execute(order_id, ExecutionKind.CANCELLED)
        self.step(order_id, OrderCancelled, OrderStatus.CANCELLED, reason="asked for")
        if placed.margin:
            self._move(-placed.margin)

    def deny(self, terms: dict[str, Any]) -> UUID:
        self.request(terms)
        denied = OrderDenied(**terms, rule=DenialRule.MARGIN, reason="too dear")
        self.say(topics.RISK_DECISIONS, denied)
        self.say(topics.TRADING_EVENTS, denied)
        self.orders[terms["order_id"]] = Placed(terms, OrderStatus.DENIED, 0, quantity=terms["quantity"])
        order_id: UUID = terms["order_id"]
        return order_id

    def modify(self, order_id: UUID, quantity: int, *, epoch: int | None = None) -> None:
        """Of a resting order without a fill: ten rupees for each unit, as ever."""
        placed, story = self.orders[order_id], self.new_id()
        price, kind = placed.terms["price"], placed.terms["order_type"]
        epoch = sum(each for each, _ in self.epochs.values()) if epoch is None else epoch
        change: dict[str, Any] = {"quantity": quantity, "order_type": kind, "price": price, "trigger_price": None}
        whose = {"order_id": order_id, "account_id": self.account_id}
        cleared = OrderModifyCleared(**whose, user_id=self.user_id, **change, margin=UNIT * quantity, epoch=epoch)
        self.say(topics.RISK_DECISIONS, cleared, story=story)
        self.say(topics.VENUE_REQUESTS, VenueModifyRequested(**whose, instrument=INSTRUMENT, **change), story=story)
        self.execute(order_id, ExecutionKind.MODIFIED, quantity, price)
        placed.quantity = quantity
        self.step(order_id, OrderModified, placed.status, **change)
        self._move(UNIT * quantity - placed.margin)
        placed.margin = UNIT * quantity

    def alert(self) -> UUID:
        """An alert makes an algo buy."""
        terms = self.wish(Side.BUY, 2, "85.00", strategy_id=self.strategy_id)
        signal_id = self.new_id()
        signal = SignalReceived(
            signal_id=signal_id,
            group_id=self.new_id(),
            user_id=self.user_id,
            signal_type=SignalType.ENTRY,
            action=Side.BUY,
            symbol=None,
            quantity=None,
            price=None,
            account_id=None,
            alert_name=None,
            received_at=self.now,
        )
        self.rows[rows.AcceptedAlert].append(rows.AcceptedAlert(signal_id, self.now))
        self.say(topics.SIGNALS, signal)
        acted = {"algo_id": self.strategy_id, "user_id": self.user_id, "signal_id": signal_id}
        said = SignalActedOn(**acted, signal_type=SignalType.ENTRY, order_ids=(str(terms["order_id"]),))
        self.say(topics.STRATEGY_DECISIONS, said)
        return self.place(terms)

    def panic(self, scope: str | None = None) -> None:
        name = scope or f"ACCOUNT:{self.account_id}"
        panic_id, epoch = self.new_id(), self.epochs.get(name, (0, False))[0] + 1
        level = RiskLevel(name.partition(":")[0])
        wish = PanicRequested(panic_id=panic_id, scope=name, level=level, requested_by=self.user_id, reason="enough")
        self.say(topics.PANIC_REQUESTS, wish)
        self.panics.append(rows.Panic(panic_id, name, epoch, self.now))
        said = PanicRaised(
            panic_id=panic_id, scope=name, level=level, epoch=epoch, raised_by=self.user_id, reason="enough"
        )
        self.say(topics.PANICS, said)
        self.epochs[name] = (epoch, True)

    def reset(self, scope: str | None = None) -> None:
        name = scope or f"ACCOUNT:{self.account_id}"
        level, epoch = RiskLevel(name.partition(":")[0]), self.epochs[name][0]
        whose = {"panic_id": self.new_id(), "scope": name, "level": level}
        self.say(topics.PANIC_REQUESTS, PanicResetRequested(**whose, requested_by=self.user_id))
        self.say(topics.PANICS, PanicReset(**whose, epoch=epoch, reset_by=self.user_id))
        self.epochs[name] = (epoch, False)

    def begin_day(self) -> None:
        """Midnight: the day's profit becomes balance, quantities and averages carry over (openalgo#1426)."""
        self.now = (self.now + timedelta(days=1)).replace(hour=18, minute=30)
        self.day = trading_day(self.now)
        self.opening, self.realised = self.opening + self.realised, ZERO
        self._tell_funds()
        last = next(reversed(self.orders))
        self.nets[INSTRUMENT].begin_day()
        for (_, strategy_id), book in self.books.items():
            book.begin_day()
            self._tell_position(strategy_id if strategy_id != NIL else None, last, 0)

    def _tell_position(self, strategy_id: UUID | None, order_id: UUID, quantity: int) -> None:
        net = self.nets[INSTRUMENT]
        self.versions[INSTRUMENT] += 1
        self.say(
            topics.TRADING_EVENTS,
            PositionChanged(
                account_id=self.account_id,
                user_id=self.user_id,
                instrument=INSTRUMENT,
                product=Product.MIS,
                net=net.state(),
                strategy_id=strategy_id,
                book=self.books[INSTRUMENT, strategy_id or NIL].state(),
                margin=UNIT * abs(net.quantity),
                version=self.versions[INSTRUMENT],
                order_id=order_id,
                fill_quantity=quantity,
            ),
        )

    def _move(self, margin: Decimal) -> None:
        self.used += margin
        self._tell_funds()

    def _tell_funds(self) -> None:
        self.funds_version += 1
        self.say(
            topics.TRADING_EVENTS,
            FundsChanged(
                account_id=self.account_id,
                user_id=self.user_id,
                opening_balance=self.opening,
                realised_pnl=self.realised,
                used_margin=self.used,
                available=self.opening + self.realised - self.used,
                version=self.funds_version,
            ),
        )

    # What the tables show

    def settle(self) -> "World":
        """Write every table, the owner's and the copies."""
        for placed in self.orders.values():
            self._settle_order(placed)
        for name, held in self.nets.items():
            self._settle_position(name, held)
        for (name, strategy_id), held in self.books.items():
            self._settle_book(name, strategy_id, held)
        self._settle_account()
        for scope, (epoch, halted) in self.epochs.items():
            self.rows[rows.PanicEpoch].append(rows.PanicEpoch(scope, epoch, halted))
            self.rows[rows.RiskHalt].append(rows.RiskHalt(scope, epoch, halted))
            self.rows[rows.ShownPanic].append(rows.ShownPanic(scope, epoch, halted))
        self.rows[rows.Panic].extend(self.panics)
        return self

    def _settle_order(self, placed: Placed) -> None:
        terms, status = placed.terms, placed.status
        side, kind, strategy_id = terms["side"].value, terms["order_type"].value, terms.get("strategy_id")
        price, product, average = terms["price"], Product.MIS.value, None
        if placed.filled:
            average = (placed.value / placed.filled).quantize(Decimal("0.0001"))
        self.rows[rows.TradingOrder].append(
            rows.TradingOrder(
                order_id=placed.order_id,
                account_id=self.account_id,
                user_id=self.user_id,
                strategy_id=strategy_id,
                instrument=INSTRUMENT,
                side=side,
                quantity=placed.quantity,
                order_type=kind,
                product=product,
                price=price,
                trigger_price=None,
                purpose=terms.get("purpose", OrderPurpose.ENTRY).value,
                status=status.value,
                is_open=not status.is_final,
                version=placed.version,
                epoch=placed.epoch,
                margin=placed.margin,
                filled_quantity=placed.filled,
                filled_value=placed.value,
                broker_order_id=placed.broker_order_id,
                tag="TAG",
                change=None,
            )
        )
        self.rows[rows.ShownOrder].append(
            rows.ShownOrder(
                order_id=placed.order_id,
                account_id=self.account_id,
                strategy_id=strategy_id,
                instrument=INSTRUMENT,
                side=side,
                quantity=placed.quantity,
                order_type=kind,
                product=product,
                price=price,
                trigger_price=None,
                status=status.value,
                filled_quantity=placed.filled,
                average_price=average,
                broker_order_id=placed.broker_order_id,
                version=placed.version or 1,
                requested_at=terms["requested_at"],
            )
        )
        closed = status in (OrderStatus.CANCELLED, OrderStatus.DENIED)
        opens = status is not OrderStatus.DENIED and placed.margin > 0
        self.rows[rows.Reservation].append(
            rows.Reservation(
                order_id=placed.order_id,
                account_id=self.account_id,
                strategy_id=strategy_id,
                instrument=INSTRUMENT,
                product=product,
                side=side,
                quantity=placed.quantity if status is not OrderStatus.DENIED else 0,
                increasing=placed.quantity if opens else 0,
                unit_margin=UNIT if opens else ZERO,
                proposed_quantity=None,
                filled=placed.filled,
                closed=closed,
                decided_at=self.now,
            )
        )
        body = {"order_id": str(placed.order_id), "status": status.value}
        denied = status is OrderStatus.DENIED
        answer = json.dumps({**body, "status": 422, "code": "order_denied"} if denied else body).encode()
        code = 422 if denied else 201
        self.rows[rows.Answer].append(rows.Answer(f"key {placed.order_id}", placed.order_id, code, answer, self.now))
        if not denied:
            self._settle_venue(placed)
        if placed.fill_ids:
            self.rows[rows.BookedExecutions].append(rows.BookedExecutions(placed.order_id, placed.filled_by))
            shown = rows.ShownFills(placed.order_id, placed.fill_ids, placed.filled, placed.value)
            self.rows[rows.ShownFills].append(shown)

    def _settle_venue(self, placed: Placed) -> None:
        kept = rows.VenueOrder(
            placed.order_id,
            self.account_id,
            INSTRUMENT,
            placed.terms["side"].value,
            placed.quantity,
            placed.status.value,
            placed.filled,
            len(placed.executions),
        )
        self.rows[rows.VenueOrder].append(kept)

    def _settle_position(self, name: str, held: Held) -> None:
        margin, version, said = UNIT * abs(held.quantity), self.versions[name], held.state()
        traded = (held.bought, held.sold, held.bought_value, held.sold_value)
        own = rows.TradingPosition(
            self.account_id, name, "MIS", held.quantity, held.cost, held.realised, *traded, margin, version
        )
        self.rows[rows.TradingPosition].append(own)
        self.rows[rows.ShownPosition].append(
            rows.ShownPosition(
                self.account_id, name, "MIS", held.quantity, said.average_price, held.realised, *traded, margin, version
            )
        )
        self._settle_exposure(name, NIL, held, margin, version)

    def _settle_book(self, name: str, strategy_id: UUID, held: Held) -> None:
        book = rows.TradingBook(self.account_id, name, "MIS", strategy_id, held.quantity, held.cost, held.realised)
        self.rows[rows.TradingBook].append(book)
        if strategy_id == NIL:
            return
        average = held.state().average_price
        self.rows[rows.ShownBook].append(
            rows.ShownBook(self.account_id, strategy_id, name, "MIS", held.quantity, average, held.realised)
        )
        self._settle_exposure(name, strategy_id, held, ZERO, self.versions[name])
        if not self.rows[rows.StrategyAlgo]:
            self.rows[rows.StrategyAlgo].append(rows.StrategyAlgo(strategy_id))
        if held.quantity:
            state = json.dumps({"books": {f"{name} MIS": held.quantity}})
            self.rows[rows.StrategyHolding].append(rows.StrategyHolding(strategy_id, self.account_id, state))

    def _settle_exposure(self, name: str, strategy_id: UUID, held: Held, margin: Decimal, version: int) -> None:
        pending: defaultdict[Side, int] = defaultdict(int)
        for placed in self.orders.values():
            if not placed.status.is_final and strategy_id in (NIL, placed.terms.get("strategy_id")):
                pending[placed.terms["side"]] += placed.quantity - placed.filled
        self.rows[rows.RiskExposure].append(
            rows.RiskExposure(
                self.account_id,
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

    def _settle_account(self) -> None:
        blocked = sum((p.margin for p in self.orders.values() if not p.status.is_final), ZERO)
        held = sum((UNIT * abs(net.quantity) for net in self.nets.values()), ZERO)
        open_now = any(not p.status.is_final for p in self.orders.values())
        self.rows[rows.TradingAccount].append(
            rows.TradingAccount(
                account_id=self.account_id,
                user_id=self.user_id,
                name="own",
                broker="paper",
                active=True,
                deleted=False,
                capital=self.capital,
                version=1,
                opening_balance=self.opening,
                realised_pnl=self.realised,
                used_margin=self.used,
                funds_version=self.funds_version,
                day=self.day,
                square_offs=0,
            )
        )
        positions = int(any(net.quantity for net in self.nets.values()) or (open_now and bool(self.nets)))
        self.rows[rows.RiskAccount].append(
            rows.RiskAccount(self.account_id, self.user_id, True, self.opening, self.realised, blocked, held, positions)
        )
        left = self.opening + self.realised - self.used
        self.rows[rows.ShownFunds].append(
            rows.ShownFunds(self.account_id, self.opening, self.realised, self.used, left, self.funds_version)
        )
        self.rows[rows.ShownAccount].append(rows.ShownAccount(self.account_id, 1, False))
        self.rows[rows.StrategyAccount].append(rows.StrategyAccount(self.account_id, self.user_id, "own", True))

    # What tests do to it

    def sources(self, *, behind: str | None = None, **more: Any) -> Sources:
        """`behind` is a service that has handled nothing yet."""
        ends = {each.topic: each.offset + 1 for each in self.records}
        for service in READERS:
            at = {} if service == behind else ends
            self.common[rows.OffsetRow, service] = [rows.OffsetRow(topic, 0, end) for topic, end in at.items()]
        return Sources(MemoryLog(self.records, self.lost), MemoryTables(self.rows, self.common), **more)

    def change(self, kind: type[rows.Row], place: int = 0, **values: Any) -> None:
        """Corrupt a row."""
        self.rows[kind][place] = replace(self.rows[kind][place], **values)

    def drop(self, kind: type[rows.Row], place: int = 0) -> None:
        del self.rows[kind][place]

    def find(self, name: str, place: int = 0) -> Record:
        """A message by its type."""
        return [each for each in self.records if each.type == name][place]

    def repeat(self, name: str) -> None:
        """The same message once more on the wire."""
        known = self.find(name)
        self.records.append(replace(known, offset=self._ends[known.topic]))
        self._ends[known.topic] += 1

    def unsay(self, name: str, place: int = 0) -> None:
        """As if a message had never been written."""
        gone = self.find(name, place)
        self._ends[gone.topic] -= 1
        later = [each for each in self.records if each is not gone]
        self.records = [
            replace(each, offset=each.offset - 1) if each.topic == gone.topic and each.offset > gone.offset else each
            for each in later
        ]

    def falsify(self, name: str, place: int = 0, **values: Any) -> None:
        """Other values in a message that was said."""
        record = self.find(name, place)
        body = {**json.loads(record.value), **values}
        changed = replace(record, value=json.dumps(body, default=str).encode())
        self.records[self.records.index(record)] = changed


def busy_world() -> World:
    """A bit of everything: bought by hand and by an algo, sold at a profit, resting, changed, cancelled, denied,
    stopped by a panic, squared off, and begun again."""
    world = World()
    bought = world.place(world.wish(Side.BUY, 10))
    world.fill(bought, 6, "100.00")
    world.fill(bought, 4, "105.00")
    by_algo = world.place(world.wish(Side.BUY, 10, "101.00", strategy_id=world.strategy_id))
    world.fill(by_algo, 10, "101.00")
    sold = world.place(world.wish(Side.SELL, 5, "110.00"), opens=False)
    world.fill(sold, 5, "110.00")
    world.cancel(world.place(world.wish(Side.BUY, 3, "90.00")))
    world.deny(world.wish(Side.BUY, 1_000_000, "90.00"))
    world.panic()
    exits = world.place(world.wish(Side.SELL, 5, purpose=OrderPurpose.SQUARE_OFF), opens=False)
    world.fill(exits, 5, "99.00")
    world.reset()
    world.place(world.wish(Side.BUY, 7, "80.00"))
    changed = world.place(world.wish(Side.BUY, 4, "81.00"))
    world.modify(changed, 6)
    world.alert()
    return world
