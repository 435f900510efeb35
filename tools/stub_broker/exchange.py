"""The orders it has, and what became of them. Kite's words throughout."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count

from libs.common.clock import Clock
from libs.common.trading_calendar import IST

OVER = ("COMPLETE", "CANCELLED", "REJECTED")


class Refusal(Exception):
    """An answer of 400 or 403, with Kite's error type."""

    def __init__(self, error_type: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.error_type, self.message, self.status = error_type, message, status


@dataclass
class Resting:
    """`hidden_reads`: in so many further readings of the book it does not show."""

    fields: dict[str, object]
    hidden_reads: int = 0

    @property
    def order_id(self) -> str:
        return str(self.fields["order_id"])

    @property
    def is_over(self) -> bool:
        return self.fields["status"] in OVER

    def number(self, name: str) -> int:
        return int(str(self.fields[name]))


@dataclass
class Exchange:
    """`placed` has every order ever taken, by tag. Market orders fill at once at `last_price` when `fills_market`."""

    clock: Clock
    last_price: float = 100.0
    fills_market: bool = True
    orders: dict[str, Resting] = field(default_factory=dict)
    trades: list[dict[str, object]] = field(default_factory=list)
    placed: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    arrived: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    elsewhere: list[tuple[str, str, str, str, int]] = field(default_factory=list)
    """What an account traded without us: account, exchange, symbol, product, signed quantity."""
    first_number: int = 1
    _numbers: "count[int]" = field(init=False)

    def __post_init__(self) -> None:
        self._numbers = count(self.first_number)

    def place(self, form: Mapping[str, str], account: str) -> Resting:
        now = self.clock.now().astimezone(IST)
        number = next(self._numbers)
        order_type = form["order_type"]
        stop = order_type in ("SL", "SL-M")
        if order_type in ("MARKET", "SL-M") and not form.get("market_protection"):
            raise Refusal("InputException", "market orders need market_protection")
        order = Resting(
            {
                "placed_by": account,
                "order_id": f"{now:%y%m%d}{number:09d}",
                "exchange_order_id": f"{number:016d}",
                "status": "TRIGGER PENDING" if stop else "OPEN",
                "status_message": None,
                "order_timestamp": f"{now:%Y-%m-%d %H:%M:%S}",
                "exchange_update_timestamp": f"{now:%Y-%m-%d %H:%M:%S}",
                "variety": "regular",
                "exchange": form["exchange"],
                "tradingsymbol": form["tradingsymbol"],
                "transaction_type": form["transaction_type"],
                "order_type": order_type,
                "product": form["product"],
                "validity": form.get("validity", "DAY"),
                "quantity": int(form["quantity"]),
                "price": float(form.get("price", 0)),
                "trigger_price": float(form.get("trigger_price", 0)),
                "average_price": 0,
                "filled_quantity": 0,
                "pending_quantity": int(form["quantity"]),
                "cancelled_quantity": 0,
                "tag": form.get("tag") or None,
            }
        )
        self.orders[order.order_id] = order
        self.placed[form.get("tag", "")].append(order.order_id)
        if order_type == "MARKET" and self.fills_market:
            self.fill(order.order_id, int(form["quantity"]))
        return order

    def fill(self, order_id: str, quantity: int, price: float | None = None) -> str:
        """One trade; its id."""
        order = self.orders[order_id]
        now = self.clock.now().astimezone(IST)
        trade_id = f"{len(self.trades) + 1:08d}"
        paid = price or float(str(order.fields["price"])) or self.last_price
        self.trades.append(
            {
                "trade_id": trade_id,
                "order_id": order_id,
                "exchange": order.fields["exchange"],
                "tradingsymbol": order.fields["tradingsymbol"],
                "product": order.fields["product"],
                "transaction_type": order.fields["transaction_type"],
                "average_price": paid,
                "quantity": quantity,
                "fill_timestamp": f"{now:%Y-%m-%d %H:%M:%S}",
            }
        )
        filled = order.number("filled_quantity") + quantity
        pending = order.number("quantity") - filled
        order.fields |= {"filled_quantity": filled, "pending_quantity": max(pending, 0), "average_price": paid}
        if pending <= 0:
            order.fields["status"] = "COMPLETE"
        elif order.fields["status"] == "TRIGGER PENDING":
            order.fields["status"] = "OPEN"
        return trade_id

    def change(self, order_id: str, form: Mapping[str, str]) -> Resting:
        order = self._open(order_id)
        quantity = int(form["quantity"])
        order.fields |= {
            "quantity": quantity,
            "pending_quantity": quantity - order.number("filled_quantity"),
            "order_type": form["order_type"],
            "price": float(form.get("price", 0)),
            "trigger_price": float(form.get("trigger_price", 0)),
        }
        return order

    def cancel(self, order_id: str, reason: str | None = None) -> Resting:
        order = self._open(order_id)
        pending = order.number("pending_quantity")
        order.fields |= {"status": "CANCELLED", "cancelled_quantity": pending, "status_message": reason}
        return order

    def reject(self, order_id: str, reason: str) -> Resting:
        order = self._open(order_id)
        order.fields |= {"status": "REJECTED", "status_message": reason}
        return order

    def _open(self, order_id: str) -> Resting:
        order = self.orders.get(order_id)
        if order is None:
            raise Refusal("OrderException", f"there is no order {order_id}")
        if order.is_over:
            raise Refusal("OrderException", f"the order is {order.fields['status']} already")
        return order

    def book(self, account: str) -> list[dict[str, object]]:
        """What one reading shows of the account's orders."""
        shown = []
        for order in self.orders.values():
            if order.fields["placed_by"] != account:
                continue
            if order.hidden_reads > 0:
                order.hidden_reads -= 1
                continue
            shown.append(dict(order.fields))
        return shown

    def trades_of(self, account: str) -> list[dict[str, object]]:
        visible = {
            order.order_id
            for order in self.orders.values()
            if order.fields["placed_by"] == account and order.hidden_reads <= 0
        }
        return [dict(trade) for trade in self.trades if trade["order_id"] in visible]

    def positions_of(self, account: str) -> list[dict[str, object]]:
        """Net, of this day: what was filled here, and what the account's owner or the broker itself traded."""
        traded: defaultdict[tuple[str, str, str], list[int]] = defaultdict(list)
        for trade in self.trades:
            fields = self.orders[str(trade["order_id"])].fields
            if fields["placed_by"] == account:
                key = str(fields["exchange"]), str(fields["tradingsymbol"]), str(fields["product"])
                sign = 1 if fields["transaction_type"] == "BUY" else -1
                traded[key].append(sign * int(str(trade["quantity"])))
        for owner, exchange, symbol, product, signed in self.elsewhere:
            if owner == account:
                traded[exchange, symbol, product].append(signed)
        return [
            {
                "exchange": exchange,
                "tradingsymbol": symbol,
                "product": product,
                "quantity": sum(signed),
                "overnight_quantity": 0,
                "day_buy_quantity": sum(each for each in signed if each > 0),
                "day_sell_quantity": -sum(each for each in signed if each < 0),
                "average_price": self.last_price,
            }
            for (exchange, symbol, product), signed in traded.items()
        ]
