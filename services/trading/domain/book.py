"""A broker's order book and trades, held against what we know: what happened, told once, whatever order it shows in.

Fills are only ever the broker's own trades. What the book does not show proves something for one question alone:
whether an order that nobody answered for was taken, and only after it was missing long and often enough, on its day.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from libs.common.contracts.brokers import BrokerModifyRequested, BrokerOrderRequested
from libs.common.contracts.enums import Broker, ExecutionKind, OrderType
from libs.common.contracts.ids import AccountId, CallId, CorrelationId, InstrumentId, OrderId, UserId
from libs.common.contracts.venue import ExecutionReported
from services.trading.domain.accounts import trading_day
from services.trading.domain.calls import Call, Patience

STOPS = frozenset({OrderType.SL, OrderType.SL_M})
PRICED = frozenset({OrderType.LIMIT, OrderType.SL})


class Watch(StrEnum):
    """How an order of ours stands with the broker."""

    SENT = "SENT"
    """The call is under way."""
    UNKNOWN = "UNKNOWN"
    LIVE = "LIVE"
    GIVEN_UP = "GIVEN_UP"
    """Missing for so long that we took it for refused; looked for until the day is over all the same."""
    ENDED = "ENDED"


class RowState(StrEnum):
    PASSING = "PASSING"
    """On its way between broker and exchange; the terms may be old or new."""
    DORMANT = "DORMANT"
    OPEN = "OPEN"
    COMPLETE = "COMPLETE"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"


@dataclass(frozen=True, slots=True)
class Terms:
    """Prices are None where the order type has none."""

    quantity: int
    order_type: OrderType
    price: Decimal | None
    trigger_price: Decimal | None


@dataclass(frozen=True, slots=True)
class BookRow:
    broker_order_id: str
    tag: str
    state: RowState
    terms: Terms
    filled_quantity: int
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Trade:
    """`trade_id` is the exchange's; with the broker's order id it is unique for ever."""

    trade_id: str
    broker_order_id: str
    quantity: int
    price: Decimal
    at: datetime


class Book:
    """`began_at` is when we asked for it: what happened later may be missing."""

    def __init__(self, rows: Iterable[BookRow], trades: Iterable[Trade], began_at: datetime) -> None:
        self.began_at = began_at
        self._by_id: dict[str, BookRow] = {}
        self._by_tag: defaultdict[str, dict[str, BookRow]] = defaultdict(dict)
        self._trades: defaultdict[str, dict[str, Trade]] = defaultdict(dict)
        for row in rows:
            self._by_id[row.broker_order_id] = row
            self._by_tag[row.tag][row.broker_order_id] = row
        for trade in trades:
            self._trades[trade.broker_order_id][trade.trade_id] = trade

    @property
    def tags(self) -> Collection[str]:
        return self._by_tag.keys()

    def rows_of(self, order: "Watched") -> list[BookRow]:
        """By our tag, or the id that the broker gave for it; never by likeness (openalgo#1991). The known one first."""
        found = dict(self._by_tag.get(order.tag, {}))
        known = self._by_id.get(order.broker_order_id or "")
        if known is not None:
            found[known.broker_order_id] = known
        return sorted(found.values(), key=lambda r: (r.broker_order_id != order.broker_order_id, r.broker_order_id))

    def trades_of(self, rows: Iterable[BookRow]) -> list[Trade]:
        found = [trade for row in rows for trade in self._trades.get(row.broker_order_id, {}).values()]
        return sorted(found, key=lambda trade: (trade.at, trade.trade_id))


@dataclass(frozen=True, slots=True)
class Watched:
    """One order of ours at a broker. `terms`, `filled_quantity` and `trade_ids` are what was told already.

    `answer_due` is the moment after which no byte of the call can reach the broker any more, with some grace.
    """

    order_id: OrderId
    call_id: CallId
    account_id: AccountId
    user_id: UserId | None
    correlation_id: CorrelationId
    broker: Broker
    instrument: InstrumentId
    tag: str
    day: date
    state: Watch
    answer_due: datetime
    terms: Terms
    broker_order_id: str | None = None
    triggered: bool = False
    filled_quantity: int = 0
    trade_ids: tuple[str, ...] = ()
    absent_reads: int = 0
    absent_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the book changed. `settled` is the change that it answered. `alarms` are for people."""

    order: Watched
    said: tuple[ExecutionReported, ...] = ()
    settled: Call | None = None
    alarms: tuple[str, ...] = ()


def watch(call: Call, request: BrokerOrderRequested, now: datetime, patience: Patience) -> Watched:
    """From the commit before the call."""
    return Watched(
        order_id=request.order_id,
        call_id=call.call_id,
        account_id=request.account_id,
        user_id=call.user_id,
        correlation_id=call.correlation_id,
        broker=request.broker,
        instrument=request.instrument,
        tag=request.tag,
        day=trading_day(now),
        state=Watch.SENT,
        answer_due=now + patience.fresh + patience.call + patience.grace,
        terms=terms_of(request),
    )


def terms_of(request: BrokerOrderRequested | BrokerModifyRequested) -> Terms:
    return Terms(request.quantity, request.order_type, request.price, request.trigger_price)


def look(order: Watched, book: Book, change: Call | None, patience: Patience) -> Look:
    """`change` is the one of ours that the book has yet to show."""
    rows = book.rows_of(order)
    if not rows:
        return _missing(order, book, patience)
    row, trades = rows[0], book.trades_of(rows)
    if order.state is Watch.ENDED:
        order, late = _fill(order, row, trades)
        return Look(order, tuple(late), alarms=("the broker traded an order after its end",) if late else ())
    alarms = [f"the broker has {len(rows)} orders for one wish"] if len(rows) > 1 else []
    if order.state is Watch.GIVEN_UP and row.state is not RowState.REJECTED:
        alarms.append("the broker has an order that its book did not show before, and that was taken for refused")
    found, said = _find(order, row)
    found, fills = _fill(found, row, trades)
    said += fills
    found, settled = _change(found, row, change, book.began_at, patience, said)
    found = _end(found, row, said)
    return Look(found, tuple(said), settled, tuple(alarms))


def answered(order: Watched, broker_order_id: str, at: datetime) -> Look:
    """The broker's answer to our placing it, should it come after we took the order for refused, too."""
    if order.broker_order_id is not None:
        return Look(order)
    alarms = ("the broker answered that it has an order which was taken for refused",)
    kind = ExecutionKind.FOUND if order.state is Watch.GIVEN_UP else ExecutionKind.ACCEPTED
    taken = replace(order, state=Watch.LIVE, broker_order_id=broker_order_id)
    said = report(taken, kind, f"{broker_order_id}:accepted", at)
    return Look(taken, (said,), alarms=alarms if kind is ExecutionKind.FOUND else ())


def _missing(order: Watched, book: Book, patience: Patience) -> Look:
    today = trading_day(book.began_at)
    if order.state is Watch.ENDED:
        return Look(order)
    if order.state is Watch.GIVEN_UP:
        return Look(order if today == order.day else replace(order, state=Watch.ENDED))
    if order.state is Watch.SENT or book.began_at < order.answer_due:
        return Look(order)
    if order.state is Watch.LIVE and today == order.day:
        return Look(order)
    since = order.absent_since or book.began_at
    missing = replace(order, absent_reads=order.absent_reads + 1, absent_since=since)
    is_sure = missing.absent_reads >= patience.absent_reads and book.began_at - since >= patience.absent_for
    if not is_sure:
        return Look(missing)
    if order.state is Watch.LIVE:
        return _expired(missing, book)
    if today != order.day:
        alarms = ("nobody answered for the order on its day, and today's book cannot tell: look at the broker",)
        return Look(missing, alarms=alarms if order.absent_reads + 1 == patience.absent_reads else ())
    reason = f"the broker did not answer, and {missing.absent_reads} of its order books in a row lack the order"
    refused = replace(missing, state=Watch.GIVEN_UP)
    return Look(refused, (report(refused, ExecutionKind.REJECTED, f"{order.call_id}:absent", book.began_at, reason),))


def _expired(order: Watched, book: Book) -> Look:
    reason = "a day's order of an earlier day, which the broker's book does not show any more"
    ended = replace(order, state=Watch.ENDED)
    said = report(ended, ExecutionKind.EXPIRED, f"{order.broker_order_id}:expired", book.began_at, reason)
    return Look(ended, (said,), alarms=("an order ended overnight, unseen: compare its fills with the broker",))


def _find(order: Watched, row: BookRow) -> tuple[Watched, list[ExecutionReported]]:
    known = replace(
        order, broker_order_id=order.broker_order_id or row.broker_order_id, absent_reads=0, absent_since=None
    )
    if order.state is Watch.LIVE:
        return known, []
    live = replace(known, state=Watch.LIVE)
    if row.state is RowState.REJECTED and not row.filled_quantity:
        return live, []
    kind = ExecutionKind.FOUND if order.state is Watch.GIVEN_UP else ExecutionKind.ACCEPTED
    return live, [report(live, kind, f"{live.broker_order_id}:accepted", row.at)]


def _fill(order: Watched, row: BookRow, trades: Iterable[Trade]) -> tuple[Watched, list[ExecutionReported]]:
    """Each trade once, by the exchange's id, however often it shows. A stop that trades was triggered."""
    fresh = [trade for trade in trades if _trade_name(trade) not in order.trade_ids]
    said: list[ExecutionReported] = []
    if order.terms.order_type in STOPS and not order.triggered and (fresh or _is_awake(row)):
        order = replace(order, triggered=True)
        said.append(report(order, ExecutionKind.TRIGGERED, f"{order.broker_order_id}:triggered", row.at))
    for trade in fresh:
        filled = order.filled_quantity + trade.quantity
        order = replace(order, filled_quantity=filled, trade_ids=(*order.trade_ids, _trade_name(trade)))
        said.append(
            report(order, ExecutionKind.FILLED, _trade_name(trade), trade.at).model_copy(
                update={
                    "quantity": trade.quantity,
                    "price": trade.price,
                    "leaves_quantity": max(row.terms.quantity - filled, 0),
                }
            )
        )
    return order, said


def _trade_name(trade: Trade) -> str:
    return f"{trade.broker_order_id}:{trade.trade_id}"


def _is_awake(row: BookRow) -> bool:
    return row.state in (RowState.OPEN, RowState.COMPLETE)


def _change(
    order: Watched, row: BookRow, change: Call | None, at: datetime, patience: Patience, said: list[ExecutionReported]
) -> tuple[Watched, Call | None]:
    """New terms that the exchange shows, of ours or of somebody who changed the order at the broker's own screen."""
    settled = row.state in (RowState.OPEN, RowState.DORMANT)
    wanted = change.request if change else None
    if change and isinstance(wanted, BrokerModifyRequested):
        if settled and _are_same(terms_of(wanted), row.terms):
            order = replace(order, terms=terms_of(wanted))
            said.append(_modified(order, f"{order.broker_order_id}:change:{change.call_id}", row.at))
            return order, change
        is_late = change.answered_at is not None and at - change.answered_at >= patience.change_shows
        if is_over(row) or (settled and is_late):
            reason = "the order is over" if is_over(row) else "the exchange keeps the order's terms as they were"
            name = f"{change.call_id}:refused"
            said.append(report(order, ExecutionKind.MODIFY_REJECTED, name, at, reason))
            return order, change
        return order, None
    if settled and not _are_same(order.terms, row.terms):
        order = replace(order, terms=_shown(order.terms, row.terms))
        name = ":".join(map(str, (order.broker_order_id, "terms", row.at.isoformat(), *_values(order.terms))))
        said.append(_modified(order, name, row.at))
    return order, None


def is_over(row: BookRow) -> bool:
    return row.state in (RowState.COMPLETE, RowState.CANCELLED, RowState.REJECTED)


def _are_same(ours: Terms, theirs: Terms) -> bool:
    return _shown(ours, theirs) == ours


def _shown(ours: Terms, theirs: Terms) -> Terms:
    """Their terms in our words. Brokers turn market orders into limit orders: what we gave no price keeps none."""
    unpriced = ours.order_type not in PRICED and theirs.order_type in (OrderType.LIMIT, OrderType.SL, ours.order_type)
    order_type = ours.order_type if unpriced or _is_triggered(ours, theirs) else theirs.order_type
    return Terms(
        quantity=theirs.quantity,
        order_type=order_type,
        price=theirs.price if order_type in PRICED else None,
        trigger_price=(theirs.trigger_price or ours.trigger_price) if order_type in STOPS else None,
    )


def _is_triggered(ours: Terms, theirs: Terms) -> bool:
    """A stop order that shows as what it became."""
    return ours.order_type is OrderType.SL and theirs.order_type is OrderType.LIMIT


def _values(terms: Terms) -> Iterator[object]:
    yield from (terms.quantity, terms.order_type, terms.price, terms.trigger_price)


def _modified(order: Watched, name: str, at: datetime) -> ExecutionReported:
    terms = order.terms
    return report(order, ExecutionKind.MODIFIED, name, at).model_copy(
        update={
            "quantity": terms.quantity,
            "order_type": terms.order_type,
            "price": terms.price,
            "trigger_price": terms.trigger_price,
            "leaves_quantity": max(terms.quantity - order.filled_quantity, 0),
        }
    )


def _end(order: Watched, row: BookRow, said: list[ExecutionReported]) -> Watched:
    """Once every fill that the book counts was told: the trades may come later than the row that counts them."""
    if not is_over(row) or order.filled_quantity < row.filled_quantity:
        return order
    kinds = {RowState.CANCELLED: ExecutionKind.CANCELLED, RowState.REJECTED: ExecutionKind.REJECTED}
    kind = kinds.get(row.state)
    if kind is not None:
        said.append(report(order, kind, f"{order.broker_order_id}:{kind.lower()}", row.at, row.reason))
    return replace(order, state=Watch.ENDED)


def report(order: Watched, kind: ExecutionKind, execution_id: str, at: datetime, reason: str = "") -> ExecutionReported:
    """`execution_id` is the broker's own word wherever there is one: the same by whatever road it comes."""
    return ExecutionReported(
        order_id=order.order_id,
        account_id=order.account_id,
        instrument=order.instrument,
        kind=kind,
        execution_id=execution_id,
        venue_order_id=order.broker_order_id or "",
        reason=reason,
        executed_at=at,
    )
