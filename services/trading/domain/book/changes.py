"""New terms that the exchange shows: those that we asked for, or somebody else's."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from libs.common.contracts.brokers import BrokerModifyRequested
from libs.common.contracts.enums import ExecutionKind, OrderType
from libs.common.contracts.venue import ExecutionReported
from services.trading.domain.book.shown import BookRow, RowState, is_over
from services.trading.domain.book.watched import PRICED, STOPS, Terms, Watched, report, terms_of
from services.trading.domain.calls import Call, Patience


def change_of(
    order: Watched, row: BookRow, change: Call | None, at: datetime, patience: Patience, said: list[ExecutionReported]
) -> tuple[Watched, Call | None]:
    """New terms that the exchange shows, of ours or of somebody who changed the order at the broker's own screen.

    An order may be complete under them before they show. One made smaller is, for us, only once we know of that.
    """
    settled = row.state in (RowState.OPEN, RowState.DORMANT)
    is_complete = row.state is RowState.COMPLETE
    wanted = change.request if change else None
    if change and isinstance(wanted, BrokerModifyRequested):
        if (settled or is_complete) and _is_shown(terms_of(wanted), order.terms, row.terms):
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
    is_resized = is_complete and order.terms.quantity != row.terms.quantity
    if is_resized or (settled and not _are_same(order.terms, row.terms)):
        order = replace(order, terms=_shown(order.terms, row.terms))
        name = ":".join(map(str, (order.broker_order_id, "terms", row.at.isoformat(), *_values(order.terms))))
        said.append(_modified(order, name, row.at))
    return order, None


def _is_shown(wanted: Terms, before: Terms, theirs: Terms) -> bool:
    """A limit order is one at the market too, as brokers show those; but not the very one that was to become one."""
    is_another = before.order_type in PRICED and wanted.order_type not in PRICED
    return _are_same(wanted, theirs) and not (is_another and _are_same(before, theirs))


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
