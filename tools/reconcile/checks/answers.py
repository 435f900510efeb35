"""What clients were told of orders: by the gateway's stored answers, and by what a load generator wrote down."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TypeAlias
from uuid import UUID

from pydantic import BaseModel, ValidationError

from libs.common.contracts.enums import OrderStatus, OrderType
from tools.reconcile.facts import Order, shown_terms_of
from tools.reconcile.fold import Facts
from tools.reconcile.rows import Answer
from tools.reconcile.rules import Findings, Rule, order
from tools.reconcile.tables import Tables

TAKEN = frozenset({200, 201, 202})
CARRIED_OUT = 200
REFUSED = 422


@dataclass(frozen=True, slots=True)
class Answered:
    """A client's own note: this order was answered so (HTTP status)."""

    order_id: UUID
    status: int


@dataclass(frozen=True, slots=True)
class AlertAnswered:
    """A client's own note: an alert was answered so, and this is the signal that it named."""

    signal_id: UUID
    status: int


Note: TypeAlias = Answered | AlertAnswered


class AnswerBody(BaseModel):
    """What an answer tells of an order; a problem's `code` where it was refused."""

    order_id: UUID | None = None
    status: OrderStatus | int | None = None
    quantity: int | None = None
    order_type: OrderType | None = None
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    code: str | None = None


async def check_answers(facts: Facts, tables: Tables, answered: Iterable[Note], findings: Findings) -> None:
    async for row in tables.read(Answer):
        if row.status is not None and row.body:
            _stored(facts, row, findings)
    for note in answered:
        if isinstance(note, Answered):
            _noted(facts, note, findings)


def _stored(facts: Facts, row: Answer, findings: Findings) -> None:
    try:
        body = AnswerBody.model_validate_json(row.body or b"")
    except ValidationError:
        return  # an answer about something else, or a page of orders
    if body.order_id is None:
        return
    known = facts.orders.get(body.order_id)
    if row.status in TAKEN:
        if _exists(known, body.order_id, f"was answered {row.status} (key {row.key})", row.created_at, findings):
            _was(known, body.status, row, findings)
            _had(known, body, row, findings)
            if row.status == CARRIED_OUT:
                _was_done(facts, known, row, findings)
    elif row.status == REFUSED and body.code in ("order_denied", "order_rejected"):
        wanted = OrderStatus.DENIED if body.code == "order_denied" else OrderStatus.REJECTED
        if _exists(known, body.order_id, f"was answered {body.code} (key {row.key})", row.created_at, findings):
            _was(known, wanted, row, findings)


def _exists(known: Order | None, order_id: UUID, said: str, at: datetime | None, findings: Findings) -> bool:
    exists = known is not None and (known.requests or known.submissions or known.denials or known.from_the_middle)
    return findings.expect(Rule.ANSWERED, bool(exists), order(order_id), f"{said}, and it does not exist", at)


def _was(known: Order | None, status: OrderStatus | int | None, row: Answer, findings: Findings) -> None:
    if known is None or not isinstance(status, OrderStatus) or known.from_the_middle:
        return
    what = f"was answered {status} (key {row.key}), and it never was that: it is {known.status}"
    holds = status is OrderStatus.REQUESTED or known.has_been(status)
    findings.expect(Rule.ANSWERED, holds, order(known.order_id), what, row.created_at)


def _had(known: Order | None, body: AnswerBody, row: Answer, findings: Findings) -> None:
    """The terms that an answer tells of, be it to a new order or to a change of one."""
    if known is None or known.from_the_middle or not known.had or body.quantity is None or body.order_type is None:
        return
    told = shown_terms_of(body.quantity, body.order_type, body.price, body.trigger_price)
    terms = f"{body.quantity} {body.order_type} at {body.price}, trigger {body.trigger_price}"
    what = f"was answered as {terms} (key {row.key}), and it never was that"
    findings.expect(Rule.ANSWERED, told in known.had, order(known.order_id), what, row.created_at)


def _was_done(facts: Facts, known: Order | None, row: Answer, findings: Findings) -> None:
    """200 says that the change, or the cancel, which was asked for has happened."""
    if known is None or known.from_the_middle:
        return
    about = order(known.order_id)
    if (known.order_id, str(row.message_id)) in facts.changes:
        what = f"was answered 200 to a change (key {row.key}), and it was never changed"
        findings.expect(Rule.ANSWERED, known.was_changed, about, what, row.created_at)
    if str(row.message_id) in facts.cancels:
        what = f"was answered 200 to a cancel (key {row.key}), and it never was cancelled: it is {known.status}"
        findings.expect(Rule.ANSWERED, known.has_been(OrderStatus.CANCELLED), about, what, row.created_at)


def _noted(facts: Facts, note: Answered, findings: Findings) -> None:
    known = facts.orders.get(note.order_id)
    if note.status in TAKEN:
        _exists(known, note.order_id, f"was answered {note.status} to a client", None, findings)
    elif note.status == REFUSED and known is not None:
        refused = known.has_been(OrderStatus.DENIED) or known.has_been(OrderStatus.REJECTED)
        what = f"was answered {note.status} to a client, and it is {known.status}"
        findings.expect(Rule.ANSWERED, refused or known.from_the_middle, order(note.order_id), what)
