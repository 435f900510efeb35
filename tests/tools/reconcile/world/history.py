"""What happens on a platform on paper, message by message.

Every unit that an order opens blocks ten rupees, and no order both closes and opens: so margins are easy to see.
"""

from collections import defaultdict
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from libs.common.contracts import topics
from libs.common.contracts.accounts import Account, AccountSaved
from libs.common.contracts.algos import Algo, AlgoSaved, SignalActedOn, SignalMapping, SignalSkipped
from libs.common.contracts.base import Message
from libs.common.contracts.brokers import PositionClosedAtBroker, PositionDifference, PositionsCompared
from libs.common.contracts.enums import (
    Broker,
    DenialRule,
    ExecutionKind,
    OrderStatus,
    OrderType,
    Product,
    RepeatRule,
    RiskLevel,
    SettledAs,
    Side,
    SignalType,
)
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.masters import (
    ContractSettled,
    CorporateActionKind,
    CorporateActionsImported,
    CorporateActionTerms,
)
from libs.common.contracts.orders import (
    FillReported,
    OrderAccepted,
    OrderCancelled,
    OrderCancelRequested,
    OrderCleared,
    OrderDenied,
    OrderModified,
    OrderModifyCleared,
    OrderModifyRequested,
    OrderOutcomeUnknown,
    OrderRequested,
    OrderSettled,
    OrderSubmitted,
)
from libs.common.contracts.portfolio import (
    BookAdjusted,
    FundsChanged,
    PositionAdjusted,
    PositionChanged,
    PositionSettled,
)
from libs.common.contracts.risk import (
    PanicRaised,
    PanicRequested,
    PanicReset,
    PanicResetRequested,
    RiskLimit,
    RiskLimitDeleted,
    RiskLimitSaved,
)
from libs.common.contracts.signals import SignalReceived
from libs.common.contracts.users import UserAccessChanged
from libs.common.contracts.venue import ExecutionReported, VenueModifyRequested, VenueOrderRequested
from tests.tools.reconcile.world.held import INSTRUMENT, NIL, UNIT, ZERO, Booked, Held, Placed
from tests.tools.reconcile.world.log import Log
from tools.reconcile import rows
from tools.reconcile.facts import trading_day
from tools.reconcile.record import Record


class History(Log):
    """One user with one account. Its methods are what happens, said on the log and kept in mind for the tables."""

    def __init__(self, capital: Decimal = Decimal(100_000)) -> None:
        super().__init__()
        self.rows: dict[type[rows.Row], list[Any]] = defaultdict(list)
        self.common: dict[tuple[type[rows.Row], str], list[Any]] = defaultdict(list)
        self.day = trading_day(self.now)
        self.orders: dict[UUID, Placed] = {}
        self.nets: defaultdict[str, Held] = defaultdict(Held)
        self.books: defaultdict[tuple[str, UUID], Held] = defaultdict(Held)
        self.versions: defaultdict[str, int] = defaultdict(int)
        self.panics: list[rows.Panic] = []
        self.access: tuple[bool, int] | None = None
        """Whether the user may trade, and the version of that, once he was shut out."""
        self.fills: list[Booked] = []
        self.settled: list[PositionSettled] = []
        self.worth: Decimal | None = None
        self.epochs: dict[str, tuple[int, bool]] = {}
        self.algos = 0
        """Versions of the one that there is."""
        self.limits: dict[RiskLimit, tuple[int, bool]] = {}
        """The version of each, and whether it was deleted."""
        self.compared: PositionsCompared | None = None
        self.capital = self.opening = capital
        self.realised = ZERO
        self.used = ZERO
        self.funds_version = 0
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

    def request(self, terms: dict[str, Any], *, by: str = "gateway") -> Record:
        wish = OrderRequested(**terms, expires_at=self.now + timedelta(seconds=10))
        return self.say(topics.ORDER_REQUESTS, wish, terms["order_id"], service=by)

    def place(
        self, terms: dict[str, Any], *, epoch: int | None = None, opens: bool = True, by: str = "gateway"
    ) -> UUID:
        """Asked for, cleared, submitted, sent, accepted."""
        self.request(terms, by=by)
        epoch = sum(each for each, _ in self.epochs.values()) if epoch is None else epoch
        margin = UNIT * terms["quantity"] if opens else ZERO
        self.say(topics.RISK_DECISIONS, OrderCleared(**terms, epoch=epoch, margin=margin, unit_margin=UNIT))
        self.submit(terms, epoch, margin)
        return self.accept(terms["order_id"])

    def submit(self, terms: dict[str, Any], epoch: int, margin: Decimal) -> None:
        self.say(topics.TRADING_EVENTS, OrderSubmitted(**terms, epoch=epoch, margin=margin, unit_margin=UNIT))
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

    def execute(
        self,
        order_id: UUID,
        kind: ExecutionKind,
        quantity: int = 0,
        price: Decimal | None = None,
        execution_id: str | None = None,
    ) -> str:
        placed = self.orders[order_id]
        execution_id = execution_id or f"{order_id.hex}-{len(placed.executions) + 1}"
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
            "average_price": placed.average_price,
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
        held, set_aside = abs(net.quantity), placed.margin
        gain = net.take(signed, price)
        book.take(signed, price)
        placed.margin = min(UNIT * (placed.quantity - placed.filled), placed.margin)
        self._tell_position(strategy_id, order_id, quantity)
        moved = placed.margin - set_aside + UNIT * (abs(net.quantity) - held)
        self.realised += gain
        if gain or moved:
            self._move(moved)

    def expire(self, price: str) -> None:
        """The instrument was a future: marketdata tells what it was worth, trading settles what each book holds."""
        at = Decimal(price)
        whole = {"instrument": INSTRUMENT, "expiry": self.day, "price": at, "spot": "NSE:SPOT", "spot_price": at}
        self.say(topics.SETTLEMENTS, ContractSettled(**whole, spot_minute=self.now, source="SIMULATED"))
        self.worth = at
        for (_, strategy_id), book in self.books.items():
            if book.quantity:
                self.settle_book(strategy_id, at)

    def give_bonus(self) -> None:
        """One share for every two that are held, from this day on."""
        terms: dict[str, Any] = {"kind": CorporateActionKind.BONUS, "ex_date": self.day, "old": 2, "new": 1}
        told = CorporateActionTerms(instrument=InstrumentId(INSTRUMENT), **terms)
        imported = CorporateActionsImported(import_id=self.new_id(), user_id=self.user_id, actions=(told,))
        self.say(topics.CORPORATE_ACTIONS, imported)
        net = self.nets[INSTRUMENT]
        before, margin, exact = net.quantity, net.margin, Decimal(net.quantity) * 3 / 2
        books = {strategy_id: book for (_, strategy_id), book in self.books.items() if book.quantity}
        of_each = {strategy_id: book.quantity for strategy_id, book in books.items()}
        for held in (net, *books.values()):
            held.cost *= Decimal(held.quantity * 3 // 2) / (Decimal(held.quantity) * 3 / 2)
            held.quantity = held.quantity * 3 // 2
        net.blocked = (margin * net.quantity / exact).quantize(Decimal("0.01"))
        event = PositionAdjusted(
            adjustment_id=self.new_id(),
            account_id=self.account_id,
            user_id=self.user_id,
            instrument=InstrumentId(INSTRUMENT),
            product=Product.MIS,
            before=before,
            quantity=net.quantity,
            books=tuple(
                BookAdjusted(
                    strategy_id=None if strategy_id == NIL else strategy_id,
                    before=of_each[strategy_id],
                    quantity=book.quantity,
                )
                for strategy_id, book in books.items()
            ),
            **terms,
        )
        self.say(topics.TRADING_EVENTS, event)
        for strategy_id in books:
            self._tell_position(None if strategy_id == NIL else strategy_id, next(reversed(self.orders)), 0)
        self._move(net.blocked - margin)

    def close_at_broker(self, price: str) -> None:
        """Trades past us close all that is held, as a broker's own square-off does, and trading books it."""
        at = Decimal(price)
        told = PositionClosedAtBroker(
            account_id=self.account_id,
            instrument=INSTRUMENT,
            product=Product.MIS,
            quantity=self.nets[INSTRUMENT].quantity,
            price=at,
            version=self.versions[INSTRUMENT],
            closed_at=self.now,
        )
        self.say(topics.BROKER_EXECUTIONS, told)
        for (_, strategy_id), book in self.books.items():
            if book.quantity:
                self.settle_book(strategy_id, at, expired=False)

    def settle_book(
        self, strategy_id: UUID, price: Decimal, quantity: int | None = None, *, expired: bool = True
    ) -> None:
        book, net = self.books[INSTRUMENT, strategy_id], self.nets[INSTRUMENT]
        signed = -book.quantity if quantity is None else quantity
        event = PositionSettled(
            fill_id=self.new_id(),
            account_id=self.account_id,
            user_id=self.user_id,
            strategy_id=None if strategy_id == NIL else strategy_id,
            instrument=INSTRUMENT,
            product=Product.MIS,
            side=Side.BUY if signed > 0 else Side.SELL,
            quantity=abs(signed),
            price=price,
            expiry=self.day,
            spot="NSE:SPOT" if expired else INSTRUMENT,
            spot_price=price,
            settled_at=self.now,
        )
        self.say(topics.TRADING_EVENTS, event)
        self.settled.append(event)
        held = abs(net.quantity)
        gain = net.take(signed, price)
        book.take(signed, price)
        self._tell_position(event.strategy_id, next(reversed(self.orders)), 0)
        self.realised += gain
        self._move(UNIT * (abs(net.quantity) - held))

    def cancel(self, order_id: UUID) -> None:
        whose = {"order_id": order_id, "account_id": self.account_id, "user_id": self.user_id}
        self.say(topics.TRADING_REQUESTS, OrderCancelRequested(**whose))
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

    def ask_for_change(self, order_id: UUID, quantity: int) -> UUID:
        """The story that begins with it."""
        whose = {"order_id": order_id, "account_id": self.account_id, "user_id": self.user_id}
        story = self.new_id()
        wish = OrderModifyRequested(**whose, quantity=quantity, expires_at=self.now + timedelta(seconds=10))
        self.say(topics.ORDER_REQUESTS, wish, story)
        return story

    def modify(self, order_id: UUID, quantity: int, *, epoch: int | None = None) -> None:
        """Of a resting order without a fill: ten rupees for each unit, as ever."""
        placed, story = self.orders[order_id], self.ask_for_change(order_id, quantity)
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

    def algo(self, group_id: UUID, on_repeat: RepeatRule = RepeatRule.IGNORE) -> UUID:
        """An algo that buys on the alerts of a group; a while later everybody knows it."""
        self.algos += 1
        mapping = SignalMapping(group_id=group_id, entry_on=SignalType.ENTRY)
        algo = Algo(
            algo_id=self.strategy_id,
            user_id=self.user_id,
            name="own",
            legs=(),
            product=Product.MIS,
            accounts=(),
            mappings=(mapping,),
            on_repeat=on_repeat,
        )
        whose = {"algo_id": self.strategy_id, "user_id": self.user_id}
        self.say(topics.ALGOS, AlgoSaved(**whose, algo=algo, version=self.algos))
        self.now += timedelta(seconds=2)
        return group_id

    def alert(self) -> UUID:
        """An alert makes an algo buy in one account, and not in another."""
        group_id = self.algo(self.new_id())
        terms = self.wish(Side.BUY, 2, "85.00", strategy_id=self.strategy_id)
        signal_id = self.new_id()
        signal = SignalReceived(
            signal_id=signal_id,
            group_id=group_id,
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
        self.say(topics.STRATEGY_DECISIONS, SignalSkipped(**acted, reason="account other is inactive"))
        return self.place(terms, by="strategy")

    def panic(self, scope: str | None = None, *, by_admin: bool = False) -> None:
        name = scope or f"ACCOUNT:{self.account_id}"
        panic_id, epoch = self.new_id(), self.epochs.get(name, (0, False))[0] + 1
        level = RiskLevel(name.partition(":")[0])
        whose = {"panic_id": panic_id, "scope": name, "level": level, "reason": "enough"}
        self.say(topics.PANIC_REQUESTS, PanicRequested(**whose, requested_by=self.user_id, by_admin=by_admin))
        self.panics.append(rows.Panic(panic_id, name, epoch, self.now))
        self.say(topics.PANICS, PanicRaised(**whose, epoch=epoch, raised_by=self.user_id))
        self.epochs[name] = (epoch, True)

    def reset(self, scope: str | None = None) -> None:
        name = scope or f"ACCOUNT:{self.account_id}"
        level, epoch = RiskLevel(name.partition(":")[0]), self.epochs[name][0]
        whose = {"panic_id": self.new_id(), "scope": name, "level": level}
        self.say(topics.PANIC_REQUESTS, PanicResetRequested(**whose, requested_by=self.user_id))
        self.say(topics.PANICS, PanicReset(**whose, epoch=epoch, reset_by=self.user_id))
        self.epochs[name] = (epoch, False)

    def limit(self, **amounts: Any) -> RiskLimit:
        """Of the account."""
        scope = {"user_id": self.user_id, "level": RiskLevel.ACCOUNT, "account_id": self.account_id}
        limit = RiskLimit(limit_id=self.new_id(), **scope, **amounts)
        whose = {"limit_id": limit.limit_id, "user_id": self.user_id}
        self.say(topics.RISK_LIMITS, RiskLimitSaved(**whose, limit=limit, version=1))
        self.limits[limit] = (1, False)
        return limit

    def delete_limit(self, limit: RiskLimit) -> None:
        self.say(topics.RISK_LIMITS, RiskLimitDeleted(limit_id=limit.limit_id, user_id=self.user_id))
        self.limits[limit] = (2, True)

    def shut_out(self, *, may_trade: bool = False) -> None:
        version = self.access[1] + 1 if self.access else 1
        self.say(topics.USERS, UserAccessChanged(user_id=self.user_id, may_trade=may_trade, version=version))
        self.access = (may_trade, version)

    def settle_by_hand(self, terms: dict[str, Any], quantity: int, price: str, *, is_told: bool = True) -> UUID:
        """Its venue never answered, its day is over, and a person tells that a part was filled, the rest cancelled."""
        self.request(terms)
        epoch = sum(each for each, _ in self.epochs.values())
        margin = UNIT * terms["quantity"]
        self.say(topics.RISK_DECISIONS, OrderCleared(**terms, epoch=epoch, margin=margin, unit_margin=UNIT))
        self.submit(terms, epoch, margin)
        order_id: UUID = terms["order_id"]
        self.step(order_id, OrderOutcomeUnknown, OrderStatus.OUTCOME_UNKNOWN, reason="silence")
        settled = {"settled_by": self.user_id, "outcome": SettledAs.CANCELLED, "reason": "the contract note"}
        traded = {"traded_quantity": quantity, "traded_price": Decimal(price)}
        if is_told:
            self.step(order_id, OrderSettled, OrderStatus.OUTCOME_UNKNOWN, **settled, **traded)
        execution_id = f"{order_id}:settled:filled"
        self.execute(order_id, ExecutionKind.FILLED, quantity, Decimal(price), execution_id)
        placed = self.orders[order_id]
        placed.filled_by.append(execution_id)
        placed.broker_order_id = f"WF-{order_id.hex}"
        self.step(order_id, OrderAccepted, OrderStatus.ACCEPTED, broker_order_id=placed.broker_order_id)
        self.report_fill(order_id, quantity, Decimal(price), execution_id)
        self.book(order_id, quantity, Decimal(price))
        self.execute(order_id, ExecutionKind.CANCELLED, execution_id=f"{order_id}:settled:cancelled")
        self.step(order_id, OrderCancelled, OrderStatus.CANCELLED, reason="the contract note")
        self._move(-placed.margin)
        return order_id

    def compare(self) -> None:
        """The broker has none of what we hold."""
        self.compared = PositionsCompared(
            account_id=self.account_id,
            user_id=self.user_id,
            broker=Broker.ZERODHA,
            differences=(
                PositionDifference(
                    broker_symbol=INSTRUMENT,
                    instrument=InstrumentId(INSTRUMENT),
                    product=Product.MIS,
                    ours=self.nets[INSTRUMENT].quantity,
                    theirs=0,
                ),
            ),
            version=1,
            compared_at=self.now,
        )
        self.say(topics.TRADING_EVENTS, self.compared)

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
                margin=net.margin,
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
