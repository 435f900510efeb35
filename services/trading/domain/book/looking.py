"""One look at the book for one order: is it there, what of it traded, what ended."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from libs.common.contracts.enums import ExecutionKind
from libs.common.contracts.venue import ExecutionReported
from services.trading.domain.accounts import trading_day
from services.trading.domain.book.changes import change_of
from services.trading.domain.book.shown import Book, BookRow, RowState, Trade, is_over
from services.trading.domain.book.watched import STOPS, Look, Watch, Watched, report
from services.trading.domain.calls import Call, Patience


def look(order: Watched, book: Book, change: Call | None, patience: Patience, cancel: Call | None = None) -> Look:
    """`change` and `cancel` are those of ours that the book has yet to show."""
    found = _look(order, book, change, patience)
    if change is not None and found.settled is None and found.order.state in (Watch.ENDED, Watch.UNKNOWN):
        name, reason = f"{change.call_id}:refused", "the order is over"
        said = report(found.order, ExecutionKind.MODIFY_REJECTED, name, book.began_at, reason)
        found = replace(found, said=(*found.said, said), settled=change)
    return found if cancel is None else _answer(cancel, found, book, patience)


def _answer(cancel: Call, found: Look, book: Book, patience: Patience) -> Look:
    """Any end of the order answers its cancel. One that rests on at the exchange was not cancelled there."""
    order, row = found.order, next(iter(book.rows_of(found.order)), None)
    if order.state is not Watch.LIVE or (row is not None and is_over(row)):
        return replace(found, answered=cancel)
    is_late = cancel.answered_at is not None and book.began_at - cancel.answered_at >= patience.change_shows
    if row is None or row.state is RowState.PASSING or not is_late:
        return found
    reason = "the exchange keeps the order open"
    said = report(order, ExecutionKind.CANCEL_REJECTED, f"{cancel.call_id}:refused", book.began_at, reason)
    return replace(found, said=(*found.said, said), answered=cancel)


def _look(order: Watched, book: Book, change: Call | None, patience: Patience) -> Look:
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
    found, settled = change_of(found, row, change, book.began_at, patience, said)
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
        return _unseen(missing, book)
    if today != order.day:
        alarms = ("nobody answered for the order on its day, and today's book cannot tell: look at the broker",)
        return Look(missing, alarms=alarms if order.absent_reads + 1 == patience.absent_reads else ())
    reason = f"the broker did not answer, and {missing.absent_reads} of its order books in a row lack the order"
    refused = replace(missing, state=Watch.GIVEN_UP)
    return Look(refused, (report(refused, ExecutionKind.REJECTED, f"{order.call_id}:absent", book.began_at, reason),))


def _unseen(order: Watched, book: Book) -> Look:
    """It may have filled: taken for expired, an exit would be asked for anew, and close twice."""
    reason = "its day ended while nobody read the broker's book, which does not show it any more: see what it filled"
    lost = replace(order, state=Watch.UNKNOWN)
    said = report(lost, ExecutionKind.UNSEEN, f"{order.broker_order_id}:unseen", book.began_at, reason)
    return Look(lost, (said,), alarms=("an order ended overnight, unseen: look at the broker, and settle it",))


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


def _end(order: Watched, row: BookRow, said: list[ExecutionReported]) -> Watched:
    """Once every fill that the book counts was told: the trades may come later than the row that counts them."""
    if not is_over(row) or order.filled_quantity < row.filled_quantity:
        return order
    kinds = {RowState.CANCELLED: ExecutionKind.CANCELLED, RowState.REJECTED: ExecutionKind.REJECTED}
    kind = kinds.get(row.state)
    if kind is not None:
        said.append(report(order, kind, f"{order.broker_order_id}:{kind.lower()}", row.at, row.reason))
    return replace(order, state=Watch.ENDED)
