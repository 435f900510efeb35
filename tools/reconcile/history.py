"""An order's history as trading told it, held against the table of legal paths as it is read."""

from collections.abc import Iterator

from libs.common.contracts.enums import OrderStatus
from libs.common.contracts.orders import (
    FillReported,
    OrderAccepted,
    OrderDenied,
    OrderFact,
    OrderModified,
    OrderOutcomeUnknown,
    OrderReopened,
    OrderSettled,
    OrderSubmitted,
)
from tools.reconcile.checks.compare import differences
from tools.reconcile.facts import AVERAGE, ZERO, Fill, Order, terms_of, venue_terms_of
from tools.reconcile.paths import RESTING, is_legal
from tools.reconcile.record import Record
from tools.reconcile.rules import Findings, Rule, order


def submitted(known: Order, event: OrderSubmitted, record: Record, findings: Findings) -> None:
    known.submissions += 1
    fresh = known.status is OrderStatus.REQUESTED and known.submissions == 1
    what = f"was submitted while it was {known.status} already ({record.place})"
    if not findings.expect(Rule.HISTORY, fresh, order(known.order_id), what, record.sent_at):
        return
    known.user_id, known.strategy_id = event.user_id, event.strategy_id
    known.instrument, known.side, known.product = event.instrument, event.side, event.product
    known.purpose, known.largest = event.purpose, max(known.largest, event.quantity)
    known.takes(event)
    known.epoch, known.margin, known.version = event.epoch, event.margin, event.version
    known.unit_margin = event.unit_margin if "unit_margin" in event.model_fields_set else None
    known.submitted_at = record.time
    known.submitted_terms = hash((terms_of(event), event.epoch, event.margin))
    known.sent_terms = venue_terms_of(event)
    known.last_at = record.time
    known.passes(OrderStatus.SUBMITTED)


def denied(known: Order, event: OrderDenied, record: Record, findings: Findings) -> None:
    known.denials += 1
    fresh = known.status is OrderStatus.REQUESTED and known.denials == 1
    what = f"was denied while it was {known.status} already ({record.place})"
    if not findings.expect(Rule.HISTORY, fresh, order(known.order_id), what, record.sent_at):
        return
    known.user_id, known.strategy_id = event.user_id, event.strategy_id
    known.instrument, known.side, known.product = event.instrument, event.side, event.product
    known.purpose = event.purpose
    known.takes(event)
    known.last_at = record.time
    known.passes(OrderStatus.DENIED)


def step(known: Order, event: OrderFact, record: Record, findings: Findings, *, is_cut: bool) -> None:
    """One event after the beginning."""
    if not known.version and known.status is OrderStatus.REQUESTED and is_cut:
        _join_midway(known, event)
    elif event.version <= known.version:
        _late(known, event, record, findings)
        return
    else:
        _check_step(known, event, record, findings)
    known.version, known.last_at = event.version, record.time
    match event:
        case FillReported():
            _fill(known, event, record, findings)
        case OrderSettled():
            known.settled = event
        case OrderAccepted() | OrderReopened():
            known.broker_order_id = event.broker_order_id
            known.was_reopened |= known.status is OrderStatus.REJECTED
        case OrderOutcomeUnknown():
            known.was_lost |= known.status in RESTING
        case OrderModified():
            known.takes(event)
            known.largest = max(known.largest, event.quantity)
            known.was_changed, known.margin_is_known = True, False
        case _:
            pass
    known.passes(event.status)


def _late(known: Order, event: OrderFact, record: Record, findings: Findings) -> None:
    """A version that was told already, or one that was left out comes now; a fill counts whenever it comes."""
    what = f"{type(event).__name__} of version {event.version} comes after version {known.version}: doubled or late"
    findings.expect(Rule.HISTORY, False, order(known.order_id), f"{what} ({record.place})", record.sent_at)
    if isinstance(event, FillReported):
        filled = known.filled
        _fill(known, event, record, findings)
        known.filled = filled + event.quantity


def _join_midway(known: Order, event: OrderFact) -> None:
    """The beginning is not kept any more: what is told now is believed."""
    known.from_the_middle = True
    known.margin_is_known = False
    known.user_id, known.strategy_id, known.instrument = event.user_id, event.strategy_id, event.instrument
    known.filled = event.filled_quantity - (event.quantity if isinstance(event, FillReported) else 0)
    known.value = (event.average_price or ZERO) * known.filled


def _check_step(known: Order, event: OrderFact, record: Record, findings: Findings) -> None:
    name, about = type(event).__name__, order(known.order_id)
    legal = is_legal(name, known.status, event.status)
    what = f"{name} made {event.status} of {known.status} ({record.place})"
    findings.expect(Rule.HISTORY, legal, about, what, record.sent_at)
    strange = differences(_unchanging(known, event), "it", "the order")
    what = f"{name} is another order's: {strange} ({record.place})"
    findings.expect(Rule.HISTORY, not strange, about, what, record.sent_at)
    what = f"{name} has version {event.version} after version {known.version}: events are missing or doubled"
    findings.expect(Rule.HISTORY, event.version == known.version + 1, about, f"{what} ({record.place})", record.sent_at)
    filled = known.filled + (event.quantity if isinstance(event, FillReported) else 0)
    what = f"{name} tells of {event.filled_quantity} filled, its fills are {filled} ({record.place})"
    findings.expect(Rule.HISTORY, event.filled_quantity == filled, about, what, record.sent_at)


def _unchanging(known: Order, event: OrderFact) -> Iterator[tuple[str, object, object]]:
    """Whose it is, and of what."""
    yield "account", event.account_id, known.account_id
    yield "user", event.user_id, known.user_id
    yield "strategy", event.strategy_id, known.strategy_id
    yield "instrument", event.instrument, known.instrument
    if isinstance(event, FillReported) and not known.from_the_middle:
        yield "side", event.side, known.side
        yield "product", event.product, known.product


def _fill(known: Order, event: FillReported, record: Record, findings: Findings) -> None:
    about = order(known.order_id)
    twice = any(fill.execution_id == event.broker_fill_id for fill in known.fills)
    what = f"execution {event.broker_fill_id} is booked a second time ({record.place})"
    findings.expect(Rule.FILLS, not twice, about, what, record.sent_at)
    known.side, known.product = event.side, event.product
    known.fills.append(Fill(event.broker_fill_id, event.quantity, event.price, event.fill_id))
    known.filled = event.filled_quantity
    known.value += event.quantity * event.price
    if known.from_the_middle:
        return
    what = f"FillReported tells an average of {event.average_price}, its fills make {known.average_price}"
    near = event.average_price is not None and abs(known.value / known.filled - event.average_price) <= AVERAGE
    findings.expect(Rule.HISTORY, near, about, f"{what} ({record.place})", record.sent_at)
    complete = event.status is not OrderStatus.FILLED or known.filled >= known.quantity
    what = f"is {event.status} with {known.filled} of {known.quantity} ({record.place})"
    findings.expect(Rule.HISTORY, complete, about, what, record.sent_at)
